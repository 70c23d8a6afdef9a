"""The loss of an evaluation, which Ludwig reports as a metric; and the device of metrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ludwig.modules import loss_modules
from ludwig.modules.metric_modules import LossMetric, LudwigMetric
from torch import Tensor

from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import BaseLossConfig
from ludwig_losses.metrics.reported.base import MeansMetric


def move_metric(original: Callable, metric: LudwigMetric, *args: Any, **kwargs: Any) -> LudwigMetric:
    """Move a metric; one that stays in place is not moved to the device where it is.

    Ludwig moves every metric for every batch, and torchmetrics then visits each tensor of each state.
    """
    is_there = getattr(metric, "stays_in_place", False) and args == (metric.device,) and not kwargs
    return metric if is_there else original(metric, *args, **kwargs)


class DeclaredLossMetric(MeansMetric, LossMetric):
    """The evaluation metric of every declared loss; Ludwig demands one under the name of the loss.

    Ludwig's own average gives all batches the same weight, and synchronises after each to check for NaN. This one is
    the loss of all rows as one batch, as far as that is made of means, and synchronises at the end.
    """

    def __init__(self, config: BaseLossConfig, **kwargs: Any) -> None:
        super().__init__()
        self.loss_function = loss_modules.create_loss(config)
        self.columns = 2 * self.loss_function.num_means

    def reuse(self, loss: Loss) -> None:
        """Evaluate the training loss, which caches the values of batches, or what it learns; Ludwig makes the metric
        before the loss."""
        self.loss_function = loss if loss.of_batch_alone else self.loss_function.learning_from(loss)

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.keep_means(self.loss_function.batch_means(preds, target))

    def compute(self) -> Tensor:
        values, denominators = self.kept_means()
        if values.isnan().any():
            warnings.warn("The loss of some batches is not a number; they do not count in its average.", stacklevel=2)
        elif values.numel() and not denominators.any():
            warnings.warn("No row of the data counts in the loss: its value says nothing.", stacklevel=2)
        return self.loss_function.from_means(self.average(values, denominators))

    def get_current_value(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch, which Ludwig has mostly just updated the metric with."""
        return self.loss_function.value_of(preds, target)
