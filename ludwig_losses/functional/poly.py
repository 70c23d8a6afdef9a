"""PolyLoss: cross-entropy with its leading polynomial coefficient changed."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import true_class_loss


def poly_loss(logits: Tensor, target: Tensor, *, epsilon: float = 1.0) -> Tensor:
    r"""Poly-1 loss, ``-log p_y + epsilon (1 - p_y)`` with ``p = softmax(logits)``.

    Args:
        logits: ``[B, C, ...]``.
        target: ``[B, ...]``, class indices of any integer type.
        epsilon: coefficient of the first term of the expansion, >= -1; 0 gives cross-entropy.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension.

    Source: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", ICLR 2022.
    """
    return true_class_loss(logits, target, _poly_of_nll, epsilon)


def _poly_of_nll(nll: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    minus_miss = torch.expm1(-nll)
    return nll - epsilon * minus_miss, 1 + epsilon * (1 + minus_miss)
