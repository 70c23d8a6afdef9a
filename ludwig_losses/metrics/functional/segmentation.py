"""How well predicted regions agree with true ones."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import is_counted, is_static, summation_dtype


def pixel_counts(predicted: Tensor, true: Tensor, num_classes: int, ignored: tuple[int, ...] = ()) -> Tensor:
    """Return how many pixels there are of each true class (row) and predicted class (column).

    Args:
        predicted: class indices, as many as there are in ``true``.
        true: class indices.
        num_classes: ``C``, of the result ``[C, C]``.
        ignored: classes whose pixels are ignored.
    """
    true = true.long()
    # Ludwig's decoders squeeze images of height 1.
    cell = true * num_classes + predicted.long().view_as(true)
    counted = is_counted(true, ignored or None)
    cells = num_classes**2
    if counted is not None:  # ignored pixels get an additional cell
        cell = cell.where(counted, cells)
    return _count(cell.flatten(), cells + 1)[:cells].view(num_classes, num_classes)


def _count(cell: Tensor, cells: int) -> Tensor:
    """Return how often each of the numbers from 0 occurs."""
    if is_static(cell):  # bincount would synchronise to find the largest one
        return cell.new_zeros(cells).scatter_add_(0, cell, torch.ones_like(cell))
    return torch.bincount(cell, minlength=cells)


def mask_values(counts: Tensor, ignored: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Return the metrics of masks by the counts of their pixels; nothing without a pixel.

    With ``TP``, ``FP`` and ``FN`` the pixels of a class that are right, wrongly predicted and missed, ``iou_0``,
    ``iou_1``, ... are ``TP / (TP + FP + FN)``; ``mean_iou`` is their mean over the classes, and ``dice_coefficient``
    that of ``2 TP / (2 TP + FP + FN)``. ``pixel_accuracy`` is the share of pixels predicted right.

    The means exclude a class that is neither present nor predicted, which has no ``iou``, and ignored classes.

    Args:
        counts: ``[C, C]``, pixels by true class (row) and predicted class (column).
        ignored: classes whose pixels are not among them.
    """
    true, predicted = counts.sum(dim=1), counts.sum(dim=0)
    sizes = (true + predicted).tolist()
    if not true.sum():
        return {}
    kept = [c for c in range(len(counts)) if c not in ignored and sizes[c]]
    return area_values(torch.stack([counts.diagonal(), true, predicted]), kept)


def area_values(areas: Tensor, kept: list[int]) -> dict[str, Tensor]:
    """Return the metrics of masks by the areas of their classes.

    Args:
        areas: ``[..., 3, C]``, pixels of each class that are right, true, and predicted; a class without any leaves the
            means.
        kept: the classes to measure.
    """
    right, true, predicted = areas.to(summation_dtype(areas.device)).unbind(dim=-2)
    size = true + predicted
    iou, dice = right / (size - right), 2 * right / size
    return {
        "mean_iou": iou[..., kept].nanmean(dim=-1),
        "dice_coefficient": dice[..., kept].nanmean(dim=-1),
        "pixel_accuracy": right.sum(dim=-1) / true.sum(dim=-1),
        **{f"iou_{c}": iou[..., c] for c in kept},
    }


def smallest_class(counts: Tensor) -> int:
    """Return the class with the fewest true pixels among those that have any."""
    true = counts.sum(dim=1)
    return int(true.where(true > 0, true.max() + 1).argmin())
