"""How good quantiles, and the intervals between them, are."""

from __future__ import annotations

import torch
from torch import Tensor


def interval_means(quantiles: Tensor, target: Tensor, levels: Tensor) -> dict[str, Tensor]:
    """Return the means over all targets of what says how good quantiles are.

    ``pinball_loss`` is the mean over the quantiles of ``max(t u, (t - 1) u)``. The others are those of the outermost
    pair, if there are two quantiles: ``interval_coverage`` the share of the targets inside, bounds included,
    ``interval_width``, and ``interval_score`` (Winkler), ``width + 2 / a * distance`` of targets outside, with ``a``
    the share that the interval promises to have outside.

    Args:
        quantiles: ``[..., K]``, ascending.
        target: ``[...]``.
        levels: ``[K]``.
    """
    target = target.to(quantiles)
    u, t = target.unsqueeze(-1) - quantiles, levels.to(quantiles)
    found = {"pinball_loss": torch.maximum(t * u, (t - 1) * u).mean()}
    if len(levels) > 1:
        low, high = quantiles[..., 0], quantiles[..., -1]
        outside = (low - target).clamp_min(0) + (target - high).clamp_min(0)
        found["interval_coverage"] = (outside == 0).to(quantiles).mean()
        found["interval_width"] = (high - low).mean()
        found["interval_score"] = (high - low + 2 / (1 - (t[-1] - t[0])) * outside).mean()
    return found
