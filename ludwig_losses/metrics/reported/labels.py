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
    """``hamming_distance``, ``micro_f1``, ``macro_f1`` and ``average_precision`` of the labels, and Ludwig's
    ``jaccard``, see :func:`label_values`.

    The column of ``<UNK>`` is no label, and labels that the loss ignores are left out. The probabilities of all rows
    are kept until the end; all metrics are computed from them together, since one more metric costs every batch more.
    """

    features = (SET,)
    tensor = PROBABILITIES
    NAMES = ("hamming_distance", "micro_f1", "macro_f1", "average_precision")
    LOWER_IS_BETTER = lower_is_better(NAMES)

    def __init__(self, kept: list[int], count: int, threshold: float, **kwargs: Any) -> None:
        super().__init__()
        self.kept, self.threshold, self.columns = kept, threshold, 2 * count

    @classmethod
    def suits(cls, feature: Any) -> bool:
        """Features with a loss of Ludwig's own report what they do without this package."""
        return isinstance(feature.loss, LossConfig)

    @classmethod
    def for_feature(cls, feature: Any) -> LabelsMetric:
        """Return the metric of an output feature of Ludwig's."""
        count, ignored = feature.decoder_obj.config.num_classes, feature.loss.ignored_classes
        return cls([index for index in range(count) if index not in ignored], count, feature.threshold)

    def update(self, preds: Tensor, target: Tensor) -> None:
        probabilities = preds.float()
        self.rows.append(torch.cat([probabilities, target.to(probabilities)], dim=1).flatten())

    def compute(self) -> dict[str, Tensor]:
        if not len(self.rows):
            return {}
        probabilities, true = dim_zero_cat(self.rows).view(-1, 2, self.columns // 2)[..., self.kept].unbind(dim=1)
        return label_values(probabilities >= self.threshold, true.bool(), probabilities)
