"""Soft Dice loss: overlap between predicted and true regions."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import check_class_logits, full_precision, softmax_backward, summation_dtype


def dice_loss(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    r"""One minus the soft Dice coefficient, averaged over images and classes.

    Per image and class ``1 - (2 sum(p g) + smooth) / (sum(p) + sum(g) + smooth)`` with ``p = softmax(logits)`` and
    ``g`` the indicator of the class, summed over the pixels. A class that an image does not have takes part: its
    loss is the mass predicted for it. With ``smooth = 0`` a class that is neither present nor predicted costs 0.

    Args:
        logits: ``[B, C, ...]``, with at least one pixel dimension.
        target: ``[B, ...]``, class indices of any integer type.
        smooth: added to numerator and denominator, >= 0.

    Returns:
        A scalar, float32 (float64 for float64 logits). An empty batch gives 0.

    Raises:
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension, or there is no pixel
            dimension.

    Source: Milletari et al., "V-Net", 3DV 2016, with the sums (not the squares) of the probabilities below the line.
    """
    check_class_logits(logits, target, class_dim=1)
    if logits.ndim < 3:
        raise ValueError(
            "logits must be [B, C, ...] with at least one pixel dimension; "
            f"got logits {tuple(logits.shape)} and target {tuple(target.shape)}."
        )
    overlap, mass = _ClassSums.apply(full_precision(logits).flatten(2), target.long())
    total = mass + _sums_by_class(torch.ones_like(target, dtype=torch.long), target.long(), logits.shape[1])
    numerator, denominator = 2 * overlap + smooth, total + smooth
    empty = denominator == 0
    dice = torch.where(empty, 1, numerator / torch.where(empty, 1, denominator))
    return (1 - dice).sum() / max(dice.numel(), 1)


class _ClassSums(torch.autograd.Function):
    """``sum(p g)`` and ``sum(p)`` per image and class, for logits ``[B, C, P]``.

    Scattered sums need no one-hot tensor; the gradient is built in one tensor of the logits' size.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        p = logits.softmax(dim=1)
        index = target.flatten(1).unsqueeze(1)
        ctx.save_for_backward(logits, index, p)
        # In float64, since a scatter adds one by one.
        true_p = p.gather(1, index).view_as(target).to(summation_dtype(p.device))
        return _sums_by_class(true_p, target, logits.shape[1]).to(p.dtype), p.sum(dim=2)

    @staticmethod
    def backward(ctx, grad_overlap: Tensor, grad_mass: Tensor):
        logits, index, p = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, of what depends on the logits
            p = logits.softmax(dim=1)
        by_p = grad_mass.unsqueeze(2).expand_as(p).clone(memory_format=torch.contiguous_format)
        by_p.scatter_add_(1, index, grad_overlap.gather(1, index.squeeze(1)).unsqueeze(1))
        return softmax_backward(by_p, p), None


def _sums_by_class(values: Tensor, target: Tensor, classes: int) -> Tensor:
    """Sum ``[B, ...]`` per image and class; column by column first, as additions to one sum wait for each other."""
    columns = target.shape[-1] if target.ndim > 2 else 1
    target = target.flatten(1, -2) if target.ndim > 2 else target.unsqueeze(-1)
    sums = values.new_zeros(len(target), classes, columns)
    return sums.scatter_add_(1, target, values.reshape(target.shape)).sum(dim=2)
