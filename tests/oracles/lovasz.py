"""Lovász-Softmax, Berman et al., CVPR 2018, from set functions."""

from __future__ import annotations

import torch
from torch import Tensor


def jaccard_loss(wrong: set[int], foreground: set[int]) -> float:
    """``1 - IoU`` of a class when the pixels ``wrong`` are mispredicted: ``|wrong| / |foreground or wrong|``."""
    return len(wrong) / len(foreground | wrong) if wrong else 0.0


def lovasz_softmax_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the present classes of ``sum_k m_k (J(first k pixels) - J(first k - 1))``, largest error first."""
    labels = target.flatten().tolist()
    losses = []
    for c in sorted(set(labels)):
        p = logits.softmax(dim=1).movedim(1, 0)[c].flatten()
        foreground = {i for i, y in enumerate(labels) if y == c}
        errors = [1 - p[i] if i in foreground else p[i] for i in range(len(labels))]
        order = sorted(range(len(labels)), key=lambda i: errors[i].item(), reverse=True)
        jaccard = [jaccard_loss(set(order[:k]), foreground) for k in range(len(order) + 1)]
        losses.append(sum(errors[i] * (jaccard[k + 1] - jaccard[k]) for k, i in enumerate(order)))
    return torch.stack(losses).mean()
