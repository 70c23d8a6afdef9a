"""How well anomaly scores, and the flags that follow from them, agree with labels."""

from __future__ import annotations

from typing import Any

import torch
from ludwig.constants import PREDICTIONS
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from ludwig_losses.host.metrics import RowsMetric
from ludwig_losses.host.registry import register_feature_metric
from ludwig_losses.host.schema import ANOMALY


class _OfLabelledRows(RowsMetric):
    """Keeps what is predicted and labelled; reports nothing where one of the two labels is missing."""

    columns = 2

    @classmethod
    def for_feature(cls, feature: Any) -> _OfLabelledRows:
        """Return the metric of an output feature of Ludwig's."""
        return cls()

    def update(self, preds: Tensor, target: Tensor) -> None:
        # Which rows have a label is asked once, at the end.
        self.keep(preds.float(), target.float())

    def compute(self) -> dict[str, Tensor]:
        rows = self.kept()
        if rows is None:
            return {}
        predicted, labels = rows
        labelled = labels >= 0
        anomalous = labels[labelled] == 1
        if anomalous.all() or not anomalous.any():
            return {}
        return dict(zip(self.NAMES, self.measure(predicted[labelled], anomalous), strict=True))


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
