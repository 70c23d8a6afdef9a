"""How far predicted classes are from true ones, where classes have an order."""

from __future__ import annotations

import torch
from torch import Tensor


def rank_sums(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the sums from which :func:`rank_values` follow, whole numbers, of rows that may be added up.

    Args:
        predicted: ``[N]``, ranks.
        true: ``[N]``, ranks, -1 for ignored rows.
    """
    has_rank = true >= 0
    predicted, true = predicted * has_rank, true * has_rank
    distance = (predicted - true).abs()
    squares = true.square() + predicted.square()
    columns = (has_rank.to(true), distance, distance.square(), true, predicted, squares)
    return torch.stack([column.sum() for column in columns])


def rank_values(sums: Tensor) -> dict[str, Tensor]:
    """Return ``rank_mae`` and ``quadratic_weighted_kappa``, as far as the rows define them.

    ``quadratic_weighted_kappa`` (Cohen 1968) is ``1 - mean((p - t)**2) / E``, with ``E`` what the mean would be if
    predictions and truths with the same frequencies had nothing to do with each other. (torchmetrics' kappa needs the
    number of classes, and a matrix of them, where six sums will do.)
    """
    count, distance, square, true, predicted, squares = sums
    # Whole numbers up to here: nothing is lost in differences.
    by_chance = count * squares - 2 * true * predicted
    some, several = torch.stack([count, by_chance]).tolist()
    if not some:
        return {}
    values = {"rank_mae": distance / count}
    if several:
        values["quadratic_weighted_kappa"] = 1 - count * square / by_chance
    return values
