"""Deep SVDD (Ruff et al., ICML 2018), Deep SAD (ICLR 2020) and DROCC (Goyal et al., ICML 2020), row by row."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def squared_distance(hidden: Tensor, center: Tensor) -> Tensor:
    return _stack(hidden, [sum((z - c) ** 2 for z, c in zip(row, center, strict=True)) for row in hidden])


def initial_center(mean: Tensor, *, margin: float = 0.1) -> Tensor:
    return _stack(mean, [m if abs(m) >= margin else m * 0 + (-margin if m < 0 else margin) for m in mean])


def deep_svdd_loss(
    distance: Tensor, *, nu: float = 0.1, radius2: float | Tensor | None = None, cutoff: float | Tensor | None = None
) -> Tensor:
    """Hard boundary: ``d``. Soft boundary: ``R2 + max(0, d - R2) / nu``. No ``d`` is above the cutoff."""
    distance = _truncated(distance, cutoff)
    if nu == 0:
        return _stack(distance, list(distance))
    return _stack(distance, [radius2 + (d - radius2) / nu if d > radius2 else radius2 + 0 * d for d in distance])


def deep_sad_loss(
    distance: Tensor, target: Tensor, *, eta: float = 1.0, eps: float = 1e-6, cutoff: float | Tensor | None = None
) -> Tensor:
    """Unlabelled: ``d``, at most the cutoff. Labelled: ``eta * (d + eps) ** y``, ``y`` +1 for normal rows and -1
    for anomalies."""
    y = {0: 1, 1: -1}
    rows = zip(distance, _truncated(distance, cutoff), target.tolist(), strict=True)
    return _stack(distance, [eta * (d + eps) ** y[label] if label in y else u for d, u, label in rows])


def drocc_loss(
    score: Tensor, adversarial_score: Tensor, *, mu: float = 1.0, cutoff: float | Tensor | None = None
) -> Tensor:
    """``l(f(x), +1) + mu * l(f(x + h), -1)``, ``l`` the logistic loss ``log(1 + exp(-y f))``; ``l(f(x), -1)`` for a row
    that scores below the cutoff."""

    def logistic(f: Tensor, y: int) -> Tensor:
        return torch.logaddexp(0 * f, -y * f)

    limits = _cutoffs(score, -math.inf if cutoff is None else cutoff)
    rows = zip(score, adversarial_score, limits, strict=True)
    return _stack(score, [logistic(f, -1) if f < q else logistic(f, 1) + mu * logistic(g, -1) for f, g, q in rows])


def drocc_adversary(
    score_fn: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    radius: float,
    gamma: float,
    num_steps: int,
    step_size: float,
    start: Tensor,
) -> Tensor:
    """Algorithm 1 for one row after the other: up the logistic loss of the label -1, back between the two spheres."""

    def project(h: Tensor) -> Tensor:
        length = (h**2).sum().sqrt()
        if length < radius:
            return h * (radius / length)
        return h * (gamma * radius / length) if length > gamma * radius else h

    rows = []
    for row, first in zip(x, start, strict=True):
        h = project(first)
        for _ in range(num_steps):
            h = h.detach().requires_grad_()
            loss = torch.log1p(torch.exp(score_fn((row + h).unsqueeze(0))[0]))
            (gradient,) = torch.autograd.grad(loss, h)
            h = project((h + step_size * gradient / (gradient**2).sum().sqrt()).detach())
        rows.append(h.detach())
    return torch.stack(rows)


def _truncated(distance: Tensor, cutoff: float | Tensor | None) -> Tensor:
    limits = _cutoffs(distance, math.inf if cutoff is None else cutoff)
    return _stack(distance, [0 * d + q if d > q else d for d, q in zip(distance, limits, strict=True)])


def _cutoffs(rows: Tensor, cutoff: float | Tensor) -> list[float]:
    return torch.as_tensor(cutoff, dtype=torch.float64).expand(len(rows)).tolist()


def _stack(like: Tensor, rows: list[Tensor]) -> Tensor:
    """One number for each row of a tensor, which may have none."""
    return torch.stack(rows) if rows else like.flatten(1)[:, :0].sum(dim=1) if like.dim() > 1 else like * 0
