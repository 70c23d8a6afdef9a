"""Focal loss, Lin et al., ICCV 2017: ``-alpha_t (1 - p_t)**gamma log p_t``.

Reduced focal loss, Sergievskiy & Ponamarev, 2019: the factor is 1 for ``p_t < threshold``, else it is divided by
``threshold**gamma``. A smoothed label costs what its classes cost, each by its share.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from oracles._rows import per_row, smoothed_label


def sigmoid_focal_loss(logits: Tensor, target: Tensor, *, ignore_index: int | None = None, **options) -> Tensor:
    """One logit ``z`` is the pair ``[0, z]``: its softmax is ``[1 - sigmoid(z), sigmoid(z)]``."""
    pairs = torch.stack([torch.zeros_like(logits), logits], dim=-1).reshape(-1, 2)
    labels = target.flatten().long()
    return softmax_focal_loss(pairs, labels, ignore_index=ignore_index, **options).reshape(target.shape)


def softmax_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: Tensor | None = None,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    reduced_threshold: float | None = None,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    """``1 - p_t`` is the probability of all the other classes together."""

    def of_class(z: Tensor, y: int) -> Tensor:
        # From the largest logit on, so that a large constant in all of them does not cost digits.
        z = z - z.detach().max()
        log_p = z - z.logsumexp(0)
        others = [log_p[c] for c in range(len(z)) if c != y and z[c] > -torch.inf]
        if not others:
            return 0 * z[y]
        # As a power of e, whose derivative is finite at 0.
        log_miss = torch.stack(others).logsumexp(0)
        weight = 1.0 if alpha is None else alpha[y].item()
        factor = (gamma * log_miss).exp()
        if reduced_threshold is not None:
            is_hard = log_p[y].exp() < reduced_threshold
            factor = 1.0 if is_hard else (gamma * (log_miss - math.log(reduced_threshold))).exp()
        return -weight * factor * log_p[y]

    def loss(z: Tensor, y: int) -> Tensor:
        label = smoothed_label(z, y, label_smoothing)
        return sum(q * of_class(z, c) for c, q in enumerate(label) if q > 0)

    return per_row(loss, logits, target, class_dim=1, ignore_index=ignore_index)
