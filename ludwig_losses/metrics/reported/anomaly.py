"""How well anomaly scores, and the flags that follow from them, agree with labels."""

from __future__ import annotations

from ludwig.constants import PREDICTIONS
from torch import Tensor

from ludwig_losses.declare.schema import ANOMALY
from ludwig_losses.metrics.functional.anomaly import anomaly_values, threshold_values
from ludwig_losses.metrics.reported.base import FeatureMetric, RowsMetric


class _OfLabelledRows(FeatureMetric, RowsMetric):
    """Keeps what is predicted and labelled; reports nothing where one of the two labels is missing."""

    features = (ANOMALY,)
    columns = 2

    def update(self, preds: Tensor, target: Tensor) -> None:
        # Which rows have a label is asked once, at the end.
        self.keep_rows(preds.float(), target.float())

    def compute(self) -> dict[str, Tensor]:
        rows = self.kept_rows()
        return {} if rows is None else self.values(*rows)

    @staticmethod
    def values(predicted: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Return the metrics of some rows."""
        raise NotImplementedError


class AnomalyRankingMetric(_OfLabelledRows):
    """How well the score ranks anomalies before normal rows, see :func:`anomaly_values`."""

    tensor = "anomaly_score"
    NAMES = ("anomaly_auroc", "anomaly_average_precision", "f1_max")
    values = staticmethod(anomaly_values)


class AnomalyThresholdMetric(_OfLabelledRows):
    """How well the flags agree with the labels, see :func:`threshold_values`."""

    tensor = PREDICTIONS
    NAMES = ("precision_at_threshold", "recall_at_threshold")
    values = staticmethod(threshold_values)
