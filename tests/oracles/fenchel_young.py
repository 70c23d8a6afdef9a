"""Entmax, Peters et al., ACL 2019, with the threshold found by bisection.

``L = (p* - q)^T z + H(p*) - H(q)`` for the label ``q``, ``e_y`` or smoothed, with
``H(p) = (1 - sum p**a) / (a (a - 1))`` and ``p*`` the maximiser of ``p^T z + H(p)``. The maximiser is a constant for
autograd (Danskin), so the gradient of ``L`` comes out as ``p* - q``.
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
    """``(1 - sum p**a) / (a (a - 1))``, for a sum of 1: near ``a = 1`` it is ``-sum p log p``."""
    return -math.fsum(x * math.expm1((a - 1) * math.log(x)) for x in p if x > 0) / (a * (a - 1))


def _project_rows(logits: Tensor, a: float) -> Tensor:
    if not logits.numel():
        return logits + 0
    rows = logits.reshape(-1, logits.shape[-1])
    return torch.stack([_project(z, a) for z in rows]).reshape(logits.shape)


def _project(z: Tensor, a: float) -> Tensor:
    """``relu((a - 1) z - tau)**(1 / (a - 1))``, which sums to 1.

    With the largest logit at 0 and ``tau = (a - 1) s - 1`` this is ``relu(1 + (a - 1) (z - s))**(1 / (a - 1))``, whose
    digits are not lost near ``a = 1``, where it is ``exp(z - s)``. It sums to 1 for an ``s`` in [0, 1 / (a - 1)].
    """
    x = z - z.detach().max()
    fixed = x.detach().numpy()
    s, high = 0.0, 1 / (a - 1)
    while high - s > 1e-17 and s < (middle := (s + high) / 2) < high:
        base = np.maximum((a - 1) * (fixed - middle), -1)
        p = np.exp(np.log1p(base, where=base > -1, out=np.full_like(base, -np.inf)) / (a - 1))
        s, high = (middle, high) if p.sum() > 1 else (s, middle)
    support = (a - 1) * (x.detach() - s) > -1
    fixed = x.detach()[support]
    # By the implicit function theorem the threshold moves by a mean of the changes in the support.
    weights = (torch.log1p((a - 1) * (fixed - s)) * ((2 - a) / (a - 1))).exp()
    moved = (weights / weights.sum() * (x[support] - fixed)).sum()
    p = (torch.log1p((a - 1) * (x[support] - s - moved)) / (a - 1)).exp()
    return torch.zeros_like(z).masked_scatter(support, p)
