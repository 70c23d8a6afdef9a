"""Focal loss, Lin et al., ICCV 2017: ``-alpha_t (1 - p_t)**gamma log p_t``."""

from __future__ import annotations

import torch
from torch import Tensor

from oracles._rows import per_row


def sigmoid_focal_loss(logits: Tensor, target: Tensor, *, alpha: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    """One logit ``z`` is the pair ``[0, z]``: its softmax is ``[1 - sigmoid(z), sigmoid(z)]``."""
    pairs = torch.stack([torch.zeros_like(logits), logits], dim=-1).reshape(-1, 2)
    return softmax_focal_loss(pairs, target.flatten().long(), alpha=alpha, gamma=gamma).reshape(target.shape)


def softmax_focal_loss(logits: Tensor, target: Tensor, *, alpha: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    """``1 - p_t`` is the probability of all the other classes together."""

    def loss(z: Tensor, y: int) -> Tensor:
        # From the largest logit on, so that a large constant in all of them does not cost digits.
        z = z - z.detach().max()
        log_p = z - z.logsumexp(0)
        others = [log_p[c] for c in range(len(z)) if c != y and z[c] > -torch.inf]
        if not others:
            return 0 * z[y]
        # As a power of e, whose derivative is finite at 0.
        log_miss = torch.stack(others).logsumexp(0)
        weight = 1.0 if alpha is None else alpha[y].item()
        return -weight * (gamma * log_miss).exp() * log_p[y]

    return per_row(loss, logits, target, class_dim=1)
