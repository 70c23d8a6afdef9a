"""How far predicted classes are from true ones, where classes have an order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ludwig_losses.metrics.catalogue import lower_is_better
from ludwig_losses.metrics.functional.ordinal import rank_sums, rank_values
from ludwig_losses.metrics.reported.base import MetricOfLoss


class OrdinalMetric(MetricOfLoss):
    """``rank_mae`` and ``quadratic_weighted_kappa``, see :func:`rank_values`.

    The latter is missing where all predictions and targets are of one class. Examples of classes without a rank are
    ignored.
    """

    NAMES = ("rank_mae", "quadratic_weighted_kappa")
    LOWER_IS_BETTER = lower_is_better(NAMES)

    def __init__(self, loss: Any, **kwargs: Any) -> None:
        super().__init__(loss, **kwargs)
        nothing = torch.zeros(0, dtype=torch.long)
        self.add_state("sums", default=rank_sums(nothing, nothing), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.sums += rank_sums(*self.loss_function.judge(preds, target))

    def compute(self) -> dict[str, Tensor]:
        return rank_values(self.sums)
