"""How well a score ranks."""

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import summation_dtype


def order_of(score: Tensor) -> Tensor:
    """Return the place of each score, from 0, equal ones for equal scores."""
    return torch.unique(score, return_inverse=True)[1]


def as_probabilities(order: Tensor) -> Tensor:
    """Return numbers in (0, 1) in the same order.

    torchmetrics takes what lies outside of [0, 1] for logits, and its sigmoid makes different scores equal.
    """
    return (1 + order).to(summation_dtype(order.device)) / (2 + order.max())
