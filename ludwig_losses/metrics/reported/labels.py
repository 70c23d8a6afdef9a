"""How well labels are predicted, of which a row has several."""

from __future__ import annotations

from typing import Any

import torch
from ludwig.constants import PROBABILITIES
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.schema import SET
from ludwig_losses.metrics.catalogue import lower_is_better
from ludwig_losses.metrics.functional.labels import label_values
from ludwig_losses.metrics.reported.base import FeatureMetric, RowsMetric


class LabelsMetric(FeatureMetric, RowsMetric):
    """``hamming_distance``, ``micro_f1``, ``macro_f1`` and ``average_precision`` of the labels, see
    :func:`label_values`.

    The column of ``<UNK>`` is no label, and labels that the loss ignores are left out. The probabilities of all rows
    are kept until the end.
    """

    features = (SET,)
    tensor = PROBABILITIES
    NAMES = ("hamming_distance", "micro_f1", "macro_f1", "average_precision")
    LOWER_IS_BETTER = lower_is_better(NAMES)

    def __init__(self, kept: list[int], threshold: float, **kwargs: Any) -> None:
        super().__init__()
        self.runs, self.threshold, self.columns = _runs(kept), threshold, 2 * len(kept)

    @classmethod
    def suits(cls, feature: Any) -> bool:
        """Features with a loss of Ludwig's own report what they do without this package."""
        return isinstance(feature.loss, LossConfig)

    @classmethod
    def for_feature(cls, feature: Any) -> LabelsMetric:
        """Return the metric of an output feature of Ludwig's."""
        count, ignored = feature.decoder_obj.config.num_classes, feature.loss.ignored_classes
        return cls([index for index in range(count) if index not in ignored], feature.threshold)

    def update(self, preds: Tensor, target: Tensor) -> None:
        if not self.runs:
            return
        probabilities = preds.float()
        both = probabilities, target.to(probabilities)
        # Slices, since a list of columns would be copied to an accelerator for each batch, and waited for.
        self.rows.append(torch.cat([each[:, run] for each in both for run in self.runs], dim=1).flatten())

    def compute(self) -> dict[str, Tensor]:
        if not len(self.rows) or not self.columns:
            return {}
        probabilities, true = dim_zero_cat(self.rows).view(-1, 2, self.columns // 2).unbind(dim=1)
        values = label_values(probabilities >= self.threshold, true.bool(), probabilities)
        return {name: values[name] for name in self.NAMES if name in values}


def _runs(indices: list[int]) -> list[slice]:
    """Return ascending indices as slices of consecutive ones."""
    runs: list[slice] = []
    for index in indices:
        if runs and runs[-1].stop == index:
            runs[-1] = slice(runs[-1].start, index + 1)
        else:
            runs.append(slice(index, index + 1))
    return runs
