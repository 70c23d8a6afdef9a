"""How far predicted classes are from true ones, where classes have an order."""

from __future__ import annotations

from typing import Any

import torch
from ludwig.modules.loss_modules import create_loss
from torch import Tensor

from ludwig_losses.host.metrics import PackMetric

_SUMS = ("count", "distance", "square", "true", "predicted", "squares")


class OrdinalMetric(PackMetric):
    """``rank_mae`` and ``quadratic_weighted_kappa`` of predicted ranks ``p`` and true ranks ``t``.

    ``rank_mae`` is the mean of ``|p - t|``, the lower the better. ``quadratic_weighted_kappa`` (Cohen 1968) is
    ``1 - mean((p - t)**2) / E``, with ``E`` what the mean would be if predictions and truths with the same frequencies
    had nothing to do with each other: 1 is perfect, 0 no better than chance. It is left out where all predictions and
    truths are one and the same class. Examples of classes without a rank do not count.
    """

    NAMES = ("rank_mae", "quadratic_weighted_kappa")
    LOWER_IS_BETTER = ("rank_mae",)

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__()
        self.loss_function = create_loss(config)
        for name in _SUMS:
            self.add_state(name, default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        predicted, true = self.loss_function.judge(preds, target)
        has_rank = true >= 0
        predicted, true = predicted * has_rank, true * has_rank
        distance = (predicted - true).abs()
        self.count += has_rank.sum()
        self.distance += distance.sum()
        self.square += distance.square().sum()
        self.true += true.sum()
        self.predicted += predicted.sum()
        self.squares += (true.square() + predicted.square()).sum()

    def compute(self) -> dict[str, Tensor]:
        # Whole numbers up to here: nothing is lost in differences.
        by_chance = self.count * self.squares - 2 * self.true * self.predicted
        some, several = torch.stack([self.count, by_chance]).tolist()
        if not some:
            return {}
        values = {"rank_mae": self.distance / self.count}
        if several:
            values["quadratic_weighted_kappa"] = 1 - self.count * self.square / by_chance
        return values
