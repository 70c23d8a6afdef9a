"""Metrics that need the roles of the classes: their order, or which of them is the background.

One loss of a comparison may know the roles; then all losses are measured by them, on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ludwig_losses.comparison.outcome import KNOWN_SCORE
from ludwig_losses.metrics.functional import Values
from ludwig_losses.metrics.functional.open_set import open_set_values
from ludwig_losses.metrics.functional.ordinal import rank_sums, rank_values

# Two classes with numeric names, such as 0 and 1, are no ordinal problem.
_FEWEST_NUMBERS = 3


@dataclass(frozen=True)
class Roles:
    """Args:
    order: the names of the classes from low to high.
    background: the names of those that stand for everything unknown.
    """

    order: list[str] | None
    background: list[str] | None

    @classmethod
    def shared(cls, found: Iterable[Mapping[str, Any]]) -> Roles:
        """Return what the first loss that knows it says; the order of numbers where no loss knows one.

        Args:
            found: what :func:`ludwig_losses.host.model.held_out.describe_roles` has returned for each run.
        """
        found = [*found]

        def first(part: str) -> list[str] | None:
            return next((roles[part] for roles in found if roles.get(part)), None)

        numbers = first("numbers") or []
        return cls(first("order") or (numbers if len(numbers) >= _FEWEST_NUMBERS else None), first("background"))

    def measure(self, kept: Mapping[str, np.ndarray]) -> Values:
        """Return the metrics of what a run has kept of its predictions."""
        if "probabilities" not in kept:
            return {}
        values: dict[str, Tensor] = {}
        if self.order is not None:
            values |= rank_values(rank_sums(*map(torch.from_numpy, ranks(kept, self.order))))
        if self.background is not None:
            score, is_right, is_known = map(torch.from_numpy, known(kept, self.background))
            values |= open_set_values(score, is_right.long(), is_known.long(), [0])
        return {name: float(value) for name, value in values.items()}


def _indices(kept: Mapping[str, np.ndarray], names: list[str]) -> list[int]:
    classes = [*map(str, kept["classes"])]
    return [classes.index(name) for name in names if name in classes]


def ranks(kept: Mapping[str, np.ndarray], order: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted and the true rank of each row, -1 for a true class without one; instead of a predicted class
    without one, as ``<UNK>``, the most probable of the others counts."""
    indices = _indices(kept, order)
    rank = np.full(kept["probabilities"].shape[1], -1)
    rank[indices] = np.arange(len(indices))
    predicted = kept["predicted"]
    predicted = np.where(rank[predicted] >= 0, predicted, _most_probable(kept, indices))
    return rank[predicted], rank[kept["truth"]]


def known(kept: Mapping[str, np.ndarray], background: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the score of each row for being of a known class, whether its most probable known class is right, and
    whether it is of one; the score of a loss without one is the probability of the most probable known class."""
    unknown = _indices(kept, background)
    others = [index for index in range(kept["probabilities"].shape[1]) if index not in unknown]
    score = kept.get(KNOWN_SCORE, kept["probabilities"][:, others].max(axis=1))
    return score, _most_probable(kept, others) == kept["truth"], ~np.isin(kept["truth"], unknown)


def _most_probable(kept: Mapping[str, np.ndarray], among: list[int]) -> np.ndarray:
    return np.array(among)[kept["probabilities"][:, among].argmax(axis=1)]
