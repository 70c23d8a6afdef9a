"""Entmax, Peters et al., ACL 2019, with the threshold found by bisection.

``L = (p* - q)^T z + H(p*) - H(q)`` for the label ``q``, ``e_y`` or smoothed, with ``H(p) = (1 - sum p**a) / (a (a - 1))`` and ``p*`` the maximiser of
``p^T z + H(p)``. The maximiser is a constant for autograd (Danskin), so the gradient of ``L`` comes out as
``p* - q``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from oracles._rows import per_row, smoothed_label


def entmax15(logits: Tensor) -> Tensor:
    return _project_rows(logits, 1.5)


def sparsemax(logits: Tensor) -> Tensor:
    return _project_rows(logits, 2.0)


def entmax(logits: Tensor, alpha: float = 1.5) -> Tensor:
    return _project_rows(logits, alpha)


def entmax15_loss(logits: Tensor, target: Tensor, **options) -> Tensor:
    return entmax_loss(logits, target, alpha=1.5, **options)


def sparsemax_loss(logits: Tensor, target: Tensor, **options) -> Tensor:
    return entmax_loss(logits, target, alpha=2.0, **options)


def entmax_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 1.5,
    label_smoothing: float = 0.0,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    def loss(z: Tensor, y: int) -> Tensor:
        return _loss(z, smoothed_label(z, y, label_smoothing), alpha)

    return per_row(loss, logits, target, class_dim=-1, ignore_index=ignore_index)


def _loss(z: Tensor, label: list[float], a: float) -> Tensor:
    p = _project(z.detach(), a)
    support = p > 0
    # From the largest logit on, so that a large constant in all of them does not cost digits.
    top = z.detach().max()
    wished = sum(q * (z[c] - top) for c, q in enumerate(label) if q > 0)
    return (p[support] * (z[support] - top)).sum() - wished + _entropy(p.tolist(), a) - _entropy(label, a)


def _entropy(p: list[float], a: float) -> float:
    """``(1 - sum p**a) / (a (a - 1))``, for a sum of 1."""
    return math.fsum(x - x**a for x in p) / (a * (a - 1))


def _project_rows(logits: Tensor, a: float) -> Tensor:
    rows = logits.reshape(-1, logits.shape[-1])
    return torch.stack([_project(z, a) for z in rows]).reshape(logits.shape)


def _project(z: Tensor, a: float) -> Tensor:
    """``relu((a - 1) z - tau)**(1 / (a - 1))``: with its largest logit at 0, a row sums to 1 for a tau in [-1, 0]."""
    x = (a - 1) * (z - z.detach().max())
    fixed = x.detach().numpy()
    tau, high = -1.0, 0.0
    while tau < (middle := (tau + high) / 2) < high:
        p = np.maximum(fixed - middle, 0) ** (1 / (a - 1))
        tau, high = (middle, high) if p.sum() > 1 else (tau, middle)
    # By the implicit function theorem the threshold moves by a mean of the changes in the support.
    support = x.detach() > tau
    weights = (x.detach()[support] - tau) ** ((2 - a) / (a - 1))
    moved = (weights / weights.sum() * (x - x.detach())[support]).sum()
    return (x - tau - moved).clamp_min(0) ** (1 / (a - 1))
