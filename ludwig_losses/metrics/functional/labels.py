"""Predicted sets of labels, and the probabilities of all labels."""

from __future__ import annotations

import numpy as np
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
    if score.device.type == "cpu" and score.dtype == torch.float32 and not (score < 0).any():
        return torch.from_numpy(_average_precisions_on_cpu(score.numpy(), true.numpy()))
    wide = summation_dtype(score.device)
    falling, order = score.T.contiguous().sort(dim=1, descending=True)
    hit = true.T.gather(1, order)
    # Of equal scores, all count: up to the last one.
    rows = torch.searchsorted(-falling, -falling, right=True)
    precision = hit.cumsum(dim=1).gather(1, rows - 1).to(wide) / rows
    return (precision * hit).sum(dim=1) / hit.sum(dim=1)


def _average_precisions_on_cpu(score: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the same by one sort of integers, in a fifth of the time: float32 numbers that are not negative have the
    order of their bits, to which the truth is added as the lowest one."""
    keys = np.ascontiguousarray((score.T + np.float32(0)).view(np.uint32) << 1 | true.T)
    keys.sort(axis=1)
    hit, rows = keys & 1, keys.shape[1]
    hits_from_here = hit[:, ::-1].cumsum(axis=1, dtype=np.int64)[:, ::-1]
    # Of equal scores, all count: from the first one.
    is_first = np.diff(keys >> 1, axis=1, prepend=np.uint32(2**31)) != 0
    first = np.maximum.accumulate(np.where(is_first, np.arange(rows, dtype=np.int32), 0), axis=1)
    label, place = hit.nonzero()
    place = first[label, place]
    precision = hits_from_here[label, place] / (rows - place)
    return np.bincount(label, precision, minlength=len(keys)) / hits_from_here[:, 0]
