"""How good quantiles, and the intervals between them, are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def interval_values(quantiles: Tensor, target: Tensor, levels: Tensor) -> dict[str, Tensor]:
    """Return for each target ``[...]`` what says how good its quantiles are.

    ``pinball_loss`` is the mean over the quantiles of ``max(t u, (t - 1) u)``. The others are those of the outermost
    pair, if there are two quantiles: ``interval_coverage`` whether the target is inside, bounds included,
    ``interval_width``, and ``interval_score`` (Winkler), ``width + 2 / a * distance`` of targets outside, with ``a``
    the share that the interval promises to have outside.

    Args:
        quantiles: ``[..., K]``, ascending.
        target: ``[...]``.
        levels: ``[K]``.
    """
    target = target.to(quantiles)
    t = levels.to(quantiles)
    found = {"pinball_loss": _pinball(quantiles, target, t).mean(dim=-1)}
    if len(levels) > 1:
        low, high = quantiles[..., 0], quantiles[..., -1]
        outside = (low - target).clamp_min(0) + (target - high).clamp_min(0)
        found["interval_coverage"] = (outside == 0).to(quantiles)
        found["interval_width"] = high - low
        found["interval_score"] = high - low + 2 / (1 - (t[-1] - t[0])) * outside
    return found


def interval_means(quantiles: Tensor, target: Tensor, levels: Tensor) -> dict[str, Tensor]:
    """Return the means of :func:`interval_values` over all targets."""
    return {name: values.mean() for name, values in interval_values(quantiles, target, levels).items()}


def crps_values(quantiles: Tensor, target: Tensor, levels: Sequence[float]) -> Tensor | None:
    """Return the continuous ranked probability score ``[...]`` of each target by its quantiles ``[..., K]``: the sum of
    :func:`crps_weights` times pinball losses; ``None`` where the levels have no such weights."""
    weights = crps_weights(levels)
    if weights is None:
        return None
    pinball = _pinball(quantiles, target.to(quantiles), torch.tensor(levels).to(quantiles))
    return (pinball * torch.tensor(weights).to(quantiles)).sum(dim=-1)


def _pinball(quantiles: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    u = target.unsqueeze(-1) - quantiles
    return torch.maximum(levels * u, (levels - 1) * u)


def crps_weights(levels: Sequence[float]) -> list[float] | None:
    """Return weights ``w`` by which ``sum(w * pinball)`` approximates the continuous ranked probability score.

    That is ``2 * integral of pinball_t over t in (0, 1)`` (Gneiting & Ranjan, JBES 2011). Each level stands for the
    part of (0, 1) that is nearer to it than to another one, so ``w`` is twice the length of that part: levels that are
    not equally far from each other count differently. The score of the median alone is the absolute error.

    Returns:
        ``None`` where levels lie on one side of 0.5 only: such a part does not stand for the other one.
    """
    if not levels[0] <= 0.5 <= levels[-1] or (len(levels) > 1 and 0.5 in (levels[0], levels[-1])):
        return None
    middles = [(low + high) / 2 for low, high in itertools.pairwise(levels)]
    return [2 * (high - low) for low, high in zip([0.0, *middles], [*middles, 1.0], strict=True)]
