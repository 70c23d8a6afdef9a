"""How good predicted quantiles are, and the interval between the outermost ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ludwig_losses.metrics.catalogue import lower_is_better
from ludwig_losses.metrics.functional.intervals import interval_means
from ludwig_losses.metrics.reported.base import MeansMetric, MetricOfLoss


class IntervalMetric(MetricOfLoss, MeansMetric):
    """``pinball_loss``, and with several quantiles ``interval_coverage``, ``interval_width`` and ``interval_score``.

    See :func:`interval_means`. Like Ludwig's metrics, in the units of the normalised target."""

    NAMES = ("pinball_loss", "interval_coverage", "interval_width", "interval_score")
    LOWER_IS_BETTER = lower_is_better(NAMES)

    def __init__(self, loss: Any, **kwargs: Any) -> None:
        super().__init__(loss, **kwargs)
        self.names = self.NAMES if len(loss.levels) > 1 else self.NAMES[:1]
        self.columns = 2 * len(self.names)
        self.share = float(loss.levels[-1] - loss.levels[0])

    def update(self, preds: Tensor, target: Tensor) -> None:
        loss = self.loss_function
        means = interval_means(loss.intervals.of(preds), target, loss.levels, self.share)
        self.keep_means([(means[name], target.numel()) for name in self.names])

    def compute(self) -> dict[str, Tensor]:
        means = self.average(*self.kept_means())
        return {name: mean for name, mean in zip(self.names, means, strict=True) if not mean.isnan()}
