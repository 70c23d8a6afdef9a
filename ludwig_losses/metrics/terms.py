"""The value of each term of a loss that is made of several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from ludwig.modules.loss_modules import create_loss
from torch import Tensor

from ludwig_losses.host.metrics import PackMetric


def names_of_terms(configs: Iterable) -> list[str]:
    """Return the name of the metric of each term: ``loss_focal_loss``, for a second one ``loss_focal_loss_2``."""
    names: list[str] = []
    for config in configs:
        first = name = name_of_term(config.type)
        count = 1
        while name in names:
            count += 1
            name = f"{first}_{count}"
        names.append(name)
    return names


def name_of_term(loss: str) -> str:
    """Return the name of the metric of a term, if it is the first one with this loss."""
    return f"loss_{loss}"


class TermsMetric(PackMetric):
    """The value of each term without its weight, averaged over batches as Ludwig averages the loss itself.

    Batches for which a loss is not a number do not count: Ludwig's own for sequences has none for a single row.
    """

    NAMES = ()

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__()
        self.loss_function = create_loss(config)
        # The sum of the values that are numbers, and how many these are.
        self.add_state("sums", default=torch.zeros(2, len(self.loss_function.names)), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        terms = range(len(self.loss_function.names))
        values = torch.stack([self.loss_function.value_of_term(index, preds, target).float() for index in terms])
        is_nan = values.isnan()
        self.sums += torch.stack([values.masked_fill(is_nan, 0.0), ~is_nan])

    def compute(self) -> dict[str, Tensor]:
        total, batches = self.sums
        values = zip(self.loss_function.names, total / batches, batches.tolist(), strict=True)
        return {name: mean for name, mean, batches in values if batches}
