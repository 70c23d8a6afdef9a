"""How well predicted regions agree with true ones."""

from __future__ import annotations

from typing import Any

import torch
from ludwig.constants import PREDICTIONS
from torch import Tensor

from ludwig_losses.functional._numerics import is_counted, is_static, summation_dtype
from ludwig_losses.host.metrics import PackMetric
from ludwig_losses.host.registry import register_feature_metric
from ludwig_losses.host.schema import IMAGE


@register_feature_metric(features=[IMAGE], tensor=PREDICTIONS)
class SegmentationMetric(PackMetric):
    """``mean_iou``, ``dice_coefficient`` and ``pixel_accuracy``, and ``iou_0``, ``iou_1``, ... of the single classes.

    All follow from one count of the pixels by true and predicted class, over all the images evaluated. With ``TP``,
    ``FP`` and ``FN`` the pixels of a class that are right, wrongly predicted and missed, ``iou`` is
    ``TP / (TP + FP + FN)``; ``mean_iou`` is its mean over the classes, and ``dice_coefficient`` that of
    ``2 TP / (2 TP + FP + FN)``.
    ``pixel_accuracy`` is the share of pixels predicted right.

    A class that is neither present nor predicted leaves the means, and has no ``iou``. Pixels of the classes that the
    loss ignores count nowhere, and these classes leave the means. Without any pixel that counts the metrics are 0.
    """

    NAMES = ("mean_iou", "dice_coefficient", "pixel_accuracy")

    def __init__(self, num_classes: int, ignored: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init__()
        self.num_classes, self.ignored = num_classes, ignored
        # Rows are true classes, columns predicted ones.
        counts = torch.zeros(num_classes, num_classes, dtype=torch.long)
        self.add_state("counts", default=counts, dist_reduce_fx="sum")

    @classmethod
    def for_feature(cls, feature: Any) -> SegmentationMetric:
        """Return the metric of an output feature of Ludwig's."""
        return cls(feature.decoder_obj.num_classes, tuple(getattr(feature.loss, "ignored_classes", ())))

    def update(self, preds: Tensor, target: Tensor) -> None:
        target = target.long()
        # Ludwig's decoders squeeze images of height 1.
        cell = target * self.num_classes + preds.long().view_as(target)
        counted = is_counted(target, self.ignored or None)
        cells = self.num_classes**2
        if counted is not None:  # what does not count has a cell of its own
            cell = cell.where(counted, cells)
        self.counts += _count(cell.flatten(), cells + 1)[:cells].view_as(self.counts)

    def compute(self) -> dict[str, Tensor]:
        true, predicted, right = self.counts.sum(dim=1), self.counts.sum(dim=0), self.counts.diagonal()
        size, right = true + predicted, right.to(summation_dtype(self.counts.device))
        sizes = size.tolist()
        kept = [c for c in range(self.num_classes) if c not in self.ignored and sizes[c]]
        iou, dice = right / (size - right), 2 * right / size
        values = {f"iou_{c}": iou[c] for c in kept}
        if not true.sum():
            return {name: right.new_zeros(()) for name in self.NAMES}
        means = (iou[kept].mean(), dice[kept].mean(), right.sum() / true.sum())
        return {**dict(zip(self.NAMES, means, strict=True)), **values}


def _count(cell: Tensor, cells: int) -> Tensor:
    """Return how often each number below ``cells`` occurs."""
    if is_static(cell):  # bincount would have to look for the largest one
        return cell.new_zeros(cells).scatter_add_(0, cell, torch.ones_like(cell))
    return torch.bincount(cell, minlength=cells)
