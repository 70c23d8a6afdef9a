"""Focal loss: cross-entropy that turns its attention from easy to hard examples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ludwig_losses.functional._numerics import full_precision, true_class_nll


def sigmoid_focal_loss(logits: Tensor, target: Tensor, *, alpha: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    r"""Binary focal loss, ``-alpha_t (1 - p_t)**gamma log p_t`` with ``p = sigmoid(logits)``.

    Equal to :func:`softmax_focal_loss` of the two logits ``[0, z]``.

    Args:
        logits: any shape, one logit per element.
        target: the same shape; bool or any number type, 1 for the positive class.
        alpha: ``[2]``, the weights of the negative and of the positive class; ``None`` for no balance.
        gamma: focusing parameter, >= 0; 0 gives binary cross-entropy.

    Returns:
        The unreduced loss in the shape of ``logits``, float32 (float64 for float64 logits).

    Raises:
        ValueError: the shapes differ.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5.
    """
    if logits.shape != target.shape:
        raise ValueError(
            f"target must have the shape of logits; got logits {tuple(logits.shape)} and target {tuple(target.shape)}."
        )
    positive = target.to(torch.bool)
    z = full_precision(logits)
    wrong_way = torch.where(positive, -z, z)
    # sigmoid(wrong_way) is 1 - p_t without a subtraction, and its logarithm keeps the power differentiable at 0.
    loss = -torch.exp(gamma * logsigmoid(wrong_way)) * logsigmoid(-wrong_way)
    return loss if alpha is None else loss * alpha.to(loss)[positive.long()]


def softmax_focal_loss(logits: Tensor, target: Tensor, *, alpha: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    r"""Multi-class focal loss, ``-alpha_y (1 - p_y)**gamma log p_y`` with ``p = softmax(logits)``.

    Args:
        logits: ``[B, C, ...]``.
        target: ``[B, ...]``, class indices of any integer type.
        alpha: ``[C]``, one weight per class; ``None`` for none. It is part of the loss, not of its mean: dividing
            by the sum of the weights would undo the balance that two-class ``alpha`` stands for.
        gamma: focusing parameter, >= 0; 0 gives cross-entropy.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5.
    """
    nll = true_class_nll(logits, target)
    # 1 - p_t = -expm1(-nll). The clamp keeps the derivative of x**gamma finite where p_t rounds to 1 (gamma < 1).
    miss = -torch.expm1(-nll.clamp_min(torch.finfo(nll.dtype).tiny))
    loss = miss**gamma * nll
    return loss if alpha is None else loss * alpha.to(loss)[target.long()]
