"""The value of each term of a loss that is made of several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ludwig_losses.metrics.reported.base import MeansMetric, MetricOfLoss


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


class TermsMetric(MetricOfLoss, MeansMetric):
    """The value of each term without its weight, averaged over batches as the loss itself."""

    def __init__(self, loss: Any, **kwargs: Any) -> None:
        super().__init__(loss, **kwargs)
        self.columns = 2 * len(self.loss_function.names)

    def update(self, preds: Tensor, target: Tensor) -> None:
        terms = range(len(self.loss_function.names))
        self.keep_means([self.loss_function.mean_of_term(index, preds, target) for index in terms])

    def compute(self) -> dict[str, Tensor]:
        means = self.average(*self.kept_means())
        known = (~means.isnan()).nonzero().flatten().tolist()
        return {self.loss_function.names[i]: self.loss_function.term_from_mean(i, means[i]) for i in known}
