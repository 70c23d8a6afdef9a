"""Generalized cross-entropy: between cross-entropy and the mean absolute error, for noisy labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import (
    check_class_logits,
    check_number,
    full_precision,
    is_small,
    is_static,
    loss_where_counted,
    true_class_loss,
    true_class_nll,
)


def generalized_cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    q: float = 0.7,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    r"""Return ``(1 - p_y**q) / q`` with ``p = softmax(logits)``.

    It lies between cross-entropy, its limit for ``q`` to 0, and ``1 - p_y``, half the mean absolute error, for ``q`` 1.

    Args:
        logits: ``[B, C, ...]``.
        target: ``[B, ...]``, class indices of any integer type.
        q: in (0, 1]; no loss is larger than ``1 / q``.
        ignore_index: ignored classes, whose loss and gradient are 0, whatever their logits; also numbers that
            are no class.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError: the logits are no floating-point numbers, the targets no integers, or ``q`` is no number.
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension, or ``q`` is out of
            range.
        IndexError: a target that is not ignored is no class (on an accelerator an error of torch's).

    Source: Zhang & Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
    NeurIPS 2018, equation 6.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([[4.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 1])
        >>> generalized_cross_entropy_loss(logits, target)
        tensor([0.0180, 1.3428])
        >>> generalized_cross_entropy_loss(logits, target, q=1.0)  # 1 - p
        tensor([0.0180, 0.9820])
    """
    check_number("q", q, above=0, maximum=1)
    check_class_logits(logits, target, class_dim=1)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss per element, as if all of them counted."""
        if is_small(logits) and not is_static(logits):  # on a CPU torch's own derivatives are sooner called
            return _minus(true_class_nll(full_precision(logits), target), q) / -q
        return true_class_loss(logits, target, _of_nll, q)

    return loss_where_counted(loss, logits, target, ignore_index, class_dim=1)


def _of_nll(nll: Tensor, q: float) -> tuple[Tensor, Tensor]:
    minus = _minus(nll, q)
    return minus / -q, 1 + minus


def _minus(nll: Tensor, q: float) -> Tensor:
    """Return ``p**q - 1``, with the digits of a small loss."""
    return torch.expm1(-q * nll)
