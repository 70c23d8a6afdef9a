"""Focal loss: cross-entropy that turns its attention from easy to hard examples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ludwig_losses.functional._numerics import full_precision, true_class_loss

# Elements at a time, so that the temporaries of the binary loss stay small; large enough for every thread.
_BLOCK = 2**16


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
    return _SigmoidFocalLoss.apply(full_precision(logits), target.to(torch.bool), alpha, gamma)


class _SigmoidFocalLoss(torch.autograd.Function):
    """Computes the derivative along with the loss, from one logarithm, and keeps nothing else."""

    @staticmethod
    def forward(ctx, logits: Tensor, positive: Tensor, alpha: Tensor | None, gamma: float) -> Tensor:
        loss, slope = (torch.empty_like(logits, memory_format=torch.contiguous_format) for _ in range(2))
        parts = (tensor.reshape(-1).split(_BLOCK) for tensor in (logits, positive))
        for i, (z, y) in enumerate(zip(*parts)):
            block = slice(i * _BLOCK, i * _BLOCK + len(z))
            loss.view(-1)[block], slope.view(-1)[block] = _sigmoid_focal_terms(z, y, alpha, gamma)
        ctx.save_for_backward(logits, positive, alpha, slope)
        ctx.gamma = gamma
        return loss

    @staticmethod
    def backward(ctx, grad: Tensor):
        logits, positive, alpha, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, of what depends on the logits
            _, slope = _sigmoid_focal_terms(logits, positive, alpha, ctx.gamma)
        return grad * slope, None, None, None


def _sigmoid_focal_terms(z: Tensor, positive: Tensor, alpha: Tensor | None, gamma: float) -> tuple[Tensor, Tensor]:
    """Return the loss and its derivative by the logit."""
    sign = 1 - 2 * positive.to(z.dtype)
    wrong_way = z * sign
    # sigmoid(wrong_way) is 1 - p_t without a subtraction. Its power is never divided by it, hence finite at 0.
    miss, nll = wrong_way.sigmoid(), -logsigmoid(-wrong_way)
    weight = miss**gamma
    if alpha is not None:
        of_negative, of_positive = alpha.to(z).unbind()
        weight = weight * (of_negative + (of_positive - of_negative) * positive)
    return weight * nll, weight * (miss + gamma * (1 - miss) * nll) * sign


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
    loss = true_class_loss(logits, target, _focal_of_nll, gamma)
    return loss if alpha is None else loss * alpha.to(loss)[target.long()]


def _focal_of_nll(nll: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    # 1 - p_t = -expm1(-nll). The clamp gives nll / miss its limit, 1, where p_t rounds to 1.
    nll = nll.clamp_min(torch.finfo(nll.dtype).tiny)
    miss = -torch.expm1(-nll)
    weight = miss**gamma
    return weight * nll, weight * (1 + gamma * (1 - miss) * (nll / miss))
