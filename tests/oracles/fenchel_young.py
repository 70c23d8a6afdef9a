"""Entmax-1.5 and sparsemax, Peters et al., ACL 2019, with the threshold found by bisection.

``L = (p* - e_y)^T z + H(p*)`` with ``H(p) = (1 - sum p**a) / (a (a - 1))`` and ``p*`` the maximiser of
``p^T z + H(p)``. The maximiser is a constant for autograd (Danskin), so the gradient of ``L`` comes out as
``p* - e_y``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from oracles._rows import per_row


def entmax15(logits: Tensor) -> Tensor:
    return _project_rows(logits, 1.5)


def sparsemax(logits: Tensor) -> Tensor:
    return _project_rows(logits, 2.0)


def entmax15_loss(logits: Tensor, target: Tensor) -> Tensor:
    return per_row(lambda z, y: _loss(z, y, 1.5), logits, target, class_dim=-1)


def sparsemax_loss(logits: Tensor, target: Tensor) -> Tensor:
    return per_row(lambda z, y: _loss(z, y, 2.0), logits, target, class_dim=-1)


def _loss(z: Tensor, y: int, a: float) -> Tensor:
    p = _project(z.detach(), a)
    support = p > 0
    entropy = (1 - (p**a).sum()) / (a * (a - 1))
    # From the largest logit on, so that a large constant in all of them does not cost digits.
    top = z.detach().max()
    return (p[support] * (z[support] - top)).sum() - (z[y] - top) + entropy


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
