"""How far predicted means of counts or amounts are from the targets."""

from __future__ import annotations

from torch import Tensor

from ludwig_losses.metrics.catalogue import lower_is_better
from ludwig_losses.metrics.reported.base import MeansMetric, MetricOfLoss


class DevianceMetric(MetricOfLoss, MeansMetric):
    """``deviance``, the mean of that of each target under the distribution of the loss."""

    NAMES = ("deviance",)
    LOWER_IS_BETTER = lower_is_better(NAMES)
    columns = 2

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.keep_means([(self.loss_function.deviance(preds, target).mean(), target.numel())])

    def compute(self) -> dict[str, Tensor]:
        (mean,) = self.average(*self.kept_means())
        return {} if mean.isnan() else {"deviance": mean}
