"""How well anomaly scores, and the flags that follow from them, agree with labels."""

from __future__ import annotations

from typing import Any

from ludwig.constants import PREDICTIONS
from torch import Tensor

from ludwig_losses.host.metrics import RowsMetric
from ludwig_losses.host.registry import register_feature_metric
from ludwig_losses.host.schema import ANOMALY
from ludwig_losses.metrics.functional.anomaly import anomaly_values, threshold_values


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
        return {} if rows is None else self.values(*rows)

    @staticmethod
    def values(predicted: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Return the metrics of some rows."""
        raise NotImplementedError


@register_feature_metric(features=[ANOMALY], tensor="anomaly_score")
class AnomalyRankingMetric(_OfLabelledRows):
    """How well the score ranks anomalies before normal rows, see :func:`anomaly_values`."""

    NAMES = ("anomaly_auroc", "anomaly_average_precision", "f1_max")
    values = staticmethod(anomaly_values)


@register_feature_metric(features=[ANOMALY], tensor=PREDICTIONS)
class AnomalyThresholdMetric(_OfLabelledRows):
    """How well the flags agree with the labels, see :func:`threshold_values`."""

    NAMES = ("precision_at_threshold", "recall_at_threshold")
    values = staticmethod(threshold_values)
