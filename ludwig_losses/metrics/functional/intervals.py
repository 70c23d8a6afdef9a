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
    pinball = _pinball(quantiles, target.to(quantiles), levels.to(quantiles)).mean(dim=-1)
    if len(levels) == 1:
        return {"pinball_loss": pinball}
    outside, width = _outside(quantiles, target.to(quantiles)), quantiles[..., -1] - quantiles[..., 0]
    return {
        "pinball_loss": pinball,
        "interval_coverage": (outside == 0).to(quantiles),
        "interval_width": width,
        "interval_score": width + 2 / (1 - (levels[-1] - levels[0])) * outside,
    }


def interval_means(quantiles: Tensor, target: Tensor, levels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the means of :func:`interval_values` over all targets, in few operators: each batch has them computed.

    Args:
        share: which share of the targets the outermost pair promises to have inside; 0 where there is no pair.
    """
    target = target.to(quantiles)
    found = {"pinball_loss": _pinball(quantiles, target, levels.to(quantiles)).mean()}
    if not share:
        return found
    outside, width = _outside(quantiles, target), (quantiles[..., -1] - quantiles[..., 0]).mean()
    coverage = (outside == 0).to(quantiles).mean()
    score = torch.add(width, outside.mean(), alpha=2 / (1 - share))
    return {**found, "interval_coverage": coverage, "interval_width": width, "interval_score": score}


def _outside(quantiles: Tensor, target: Tensor) -> Tensor:
    """Return by how much each target is outside of the outermost pair."""
    return (target - target.clamp(quantiles[..., 0], quantiles[..., -1])).abs()


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
