"""How well anomaly scores, and the flags that follow from them, agree with labels."""

from __future__ import annotations

from typing import Any

import torch
from ludwig.constants import PREDICTIONS
from ludwig.modules.metric_modules import LudwigMetric
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.utilities import dim_zero_cat

from ludwig_losses.host.registry import register_feature_metric
from ludwig_losses.host.schema import ANOMALY


class _OfLabelledRows(LudwigMetric):
    """Keeps what is predicted and labelled; reports nothing where one of the two labels is missing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        for state in ("predicted", "labels"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    @classmethod
    def for_feature(cls, feature: Any) -> _OfLabelledRows:
        """Return the metric of an output feature of Ludwig's."""
        return cls()

    @classmethod
    def can_report(cls, feature: Any) -> bool:
        """Ludwig would make one for each name."""
        return False

    def update(self, preds: Tensor, target: Tensor) -> None:
        # As numbers: a rank without rows gathers float32. Which rows have a label is asked once, at the end.
        self.predicted.append(preds.float())
        self.labels.append(target.float())

    def compute(self) -> dict[str, Tensor]:
        if not len(self.predicted):  # a list, or one tensor once ranks have gathered
            return {}
        labels = dim_zero_cat(self.labels)
        labelled = labels >= 0
        anomalous = labels[labelled] == 1
        if anomalous.all() or not anomalous.any():
            return {}
        return dict(zip(self.NAMES, self.measure(dim_zero_cat(self.predicted)[labelled], anomalous), strict=True))


@register_feature_metric(features=[ANOMALY], tensor="anomaly_score")
class AnomalyRankingMetric(_OfLabelledRows):
    """How well the score ranks anomalies before normal rows, whatever the threshold.

    ``anomaly_auroc`` is the probability that an anomaly has a higher score than a normal row,
    ``anomaly_average_precision`` the area under the curve of precision over recall, and ``f1_max`` the F1 of the best
    threshold that one could have chosen. All are left out where the data has not both labels.
    """

    NAMES = ("anomaly_auroc", "anomaly_average_precision", "f1_max")

    @staticmethod
    def measure(score: Tensor, anomalous: Tensor) -> tuple[Tensor, ...]:
        """Return the metrics in the order of their names."""
        # Ranks instead of scores: torchmetrics takes what lies outside of [0, 1] for logits.
        order = torch.unique(score, return_inverse=True)[1]
        rank = (1 + order).double() / (2 + order.max())
        # F1 of flagging what has at least a certain rank: 2 TP / (flagged + anomalies).
        flagged = order.bincount().flip(0).cumsum(0)
        found = order[anomalous].bincount(minlength=len(flagged)).flip(0).cumsum(0)
        best = (2 * found / (flagged + anomalous.sum())).max()
        return binary_auroc(rank, anomalous.int()), binary_average_precision(rank, anomalous.int()), best


@register_feature_metric(features=[ANOMALY], tensor=PREDICTIONS)
class AnomalyThresholdMetric(_OfLabelledRows):
    """``precision_at_threshold``: the share of anomalies among the rows above the threshold, 0 if there is none;
    ``recall_at_threshold``: the share of the anomalies that lie above it. Left out where the data has not both labels.
    """

    NAMES = ("precision_at_threshold", "recall_at_threshold")

    @staticmethod
    def measure(flagged: Tensor, anomalous: Tensor) -> tuple[Tensor, ...]:
        """Return the metrics in the order of their names."""
        found = (flagged * anomalous).sum()
        return found / flagged.sum().clamp_min(1), found / anomalous.sum()
