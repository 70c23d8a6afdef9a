"""How well anomaly scores, and the flags that follow from them, agree with labels."""

from __future__ import annotations

from torch import Tensor

from ludwig_losses.metrics.functional._ranking import as_probabilities, order_of


def anomaly_values(predicted: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return how well scores rank the rows that are labelled 1 (anomaly) before those labelled 0 (normal), whatever the
    threshold; nothing where one of the labels is missing.

    ``f1_max`` is the F1 at the best possible threshold.
    """
    score, label = predicted[label >= 0], label[label >= 0]
    is_anomaly = label == 1
    if is_anomaly.all() or not is_anomaly.any():
        return {}
    # Seconds, which the tables of a comparison do not need.
    from torchmetrics.functional import classification as tm

    rank = as_probabilities(order_of(score))
    precision, recall, _ = tm.binary_precision_recall_curve(rank, is_anomaly.int())
    return {
        "anomaly_auroc": tm.binary_auroc(rank, is_anomaly.int()),
        "anomaly_average_precision": tm.binary_average_precision(rank, is_anomaly.int()),
        "f1_max": (2 * precision * recall / (precision + recall)).nan_to_num().max(),
    }


def threshold_values(predicted: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return how well flags agree with the labels 0 and 1; nothing where one of them is missing."""
    flagged, label = predicted[label >= 0], label[label >= 0]
    is_anomaly = label == 1
    if is_anomaly.all() or not is_anomaly.any():
        return {}
    found = (flagged * is_anomaly).sum()
    return {
        "precision_at_threshold": found / flagged.sum().clamp_min(1),
        "recall_at_threshold": found / is_anomaly.sum(),
    }
