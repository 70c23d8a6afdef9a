"""How well predicted regions agree with true ones."""

from __future__ import annotations

from typing import Any

import torch
from ludwig.constants import PREDICTIONS
from torch import Tensor

from ludwig_losses.declare.schema import IMAGE
from ludwig_losses.metrics.functional.segmentation import mask_values, pixel_counts
from ludwig_losses.metrics.reported.base import FeatureMetric


class SegmentationMetric(FeatureMetric):
    """``mean_iou``, ``dice_coefficient`` and ``pixel_accuracy``, and ``iou_0``, ``iou_1``, ... of the single classes.

    See :func:`mask_values`.

    All follow from one count of the pixels by true and predicted class, over all the images evaluated. Pixels of the
    classes that the loss ignores are ignored, and the means exclude these classes. If all pixels are ignored, the
    metrics are 0.
    """

    features = (IMAGE,)
    tensor = PREDICTIONS
    NAMES = ("mean_iou", "dice_coefficient", "pixel_accuracy")

    def __init__(self, num_classes: int, ignored: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init__()
        self.num_classes, self.ignored = num_classes, ignored
        counts = torch.zeros(num_classes, num_classes, dtype=torch.long)
        self.add_state("counts", default=counts, dist_reduce_fx="sum")

    @classmethod
    def for_feature(cls, feature: Any) -> SegmentationMetric:
        """Return the metric of an output feature of Ludwig's."""
        return cls(feature.decoder_obj.num_classes, tuple(getattr(feature.loss, "ignored_classes", ())))

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.counts += pixel_counts(preds, target, self.num_classes, self.ignored)

    def compute(self) -> dict[str, Tensor]:
        values = mask_values(self.counts, self.ignored)
        return values or dict.fromkeys(self.NAMES, torch.zeros((), device=self.counts.device))
