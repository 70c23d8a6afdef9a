"""Predicted sets of labels, and the probabilities of all labels."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import summation_dtype


def jaccard(predicted: Tensor, true: Tensor) -> Tensor:
    """Return for each row of ``[N, L]`` the labels in both by those in either, 1 where there is none in either."""
    common, either = (predicted & true).sum(dim=1), (predicted | true).sum(dim=1)
    return torch.where(either > 0, common.to(summation_dtype(true.device)) / either.clamp_min(1), 1.0)


def label_values(predicted: Tensor, true: Tensor, probabilities: Tensor) -> dict[str, Tensor]:
    """Return the metrics of predicted labels; nothing without a row or a label.

    ``micro_f1`` counts all rows and labels alike; ``macro_f1`` is the mean of the F1 of the labels that occur or are
    predicted, ``average_precision`` that of :func:`average_precisions` over the labels that occur.

    Args:
        predicted, true: ``[N, L]``, bool.
        probabilities: ``[N, L]``.
    """
    if not true.numel():
        return {}
    wide = summation_dtype(true.device)
    right = (predicted & true).sum(dim=0)
    total = predicted.sum(dim=0) + true.sum(dim=0)
    values = {
        "jaccard": jaccard(predicted, true).mean(),
        "hamming_distance": (predicted != true).to(wide).mean(),
    }
    counted, occurs = total > 0, true.any(dim=0)
    if counted.any():
        values["micro_f1"] = 2 * right.sum().to(wide) / total.sum()
        values["macro_f1"] = (2 * right.to(wide) / total.clamp_min(1))[counted].mean()
    if occurs.any():
        values["average_precision"] = average_precisions(probabilities[:, occurs], true[:, occurs]).mean()
    return values


def average_precisions(score: Tensor, true: Tensor) -> Tensor:
    """Return the area ``[L]`` under the precision-recall curve of each label: the mean, over the rows that have it, of
    the precision among the rows with a score as high or higher.

    Args:
        score: ``[N, L]``.
        true: ``[N, L]``, bool; each label has a row.
    """
    wide = summation_dtype(score.device)
    falling, order = score.T.contiguous().sort(dim=1, descending=True)
    hit = true.T.gather(1, order)
    # Of equal scores, all count: up to the last one.
    rows = torch.searchsorted(-falling, -falling, right=True)
    precision = hit.cumsum(dim=1).gather(1, rows - 1).to(wide) / rows
    return (precision * hit).sum(dim=1) / hit.sum(dim=1)
