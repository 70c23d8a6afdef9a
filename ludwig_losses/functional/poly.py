"""PolyLoss: cross-entropy with its leading polynomial coefficient changed."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import true_class_nll


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
    nll = true_class_nll(logits, target)
    return nll - epsilon * torch.expm1(-nll)
