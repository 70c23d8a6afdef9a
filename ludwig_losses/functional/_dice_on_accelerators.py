"""The Dice loss in as few operators as it takes: on a GPU a mask is done sooner than its operators are started.

Written down step by step, the loss and what autograd does with it are some forty operators, most of them on a handful
of numbers per image and class. Here the whole loss is one function with its derivative in closed form. With the sums
``I``, ``P`` and ``G`` of :mod:`_mask_sums`, the loss of a class is the quotient of

    mistakes    = 2 alpha P + 2 beta G - 2 (alpha + beta) I
    denominator = 2 alpha P + 2 beta G + 2 (1 - alpha - beta) I + smooth

which is one minus the score of :func:`dice_loss`, and so its derivatives are

    by P = 2 alpha (1 - loss) / denominator
    by I = -(2 (alpha + beta) + 2 (1 - alpha - beta) loss) / denominator

For one class with I = 0.9, P = 2.6, G = 2, alpha = beta = 1/2 and smooth = 1: mistakes = 4.6 - 1.8 = 2.8, denominator =
5.6, loss = 0.5; by P it is 0.5 / 5.6, and by I -2 / 5.6.

Ignored pixels have probability 0 for every class, and no true class. An image of which nothing is left has the sums 0
and therefore the loss 0; it is no part of the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ludwig_losses.functional._mask_sums import by_columns, which_are_ignored
from ludwig_losses.functional._numerics import ignored_classes, softmax_backward, summation_dtype

# A denominator that is less counts as none: float32 cannot hold the derivatives of its quotients and logarithm.
SMALLEST = 1e-30


class DiceForm(NamedTuple):
    """The options of :func:`dice_loss` that its quotient and its mean have; the classes are those of the mean."""

    smooth: float
    alpha: float
    beta: float
    squared: bool
    per_image: bool
    classes: list[int]
    ignore_index: int | Sequence[int] | None


def dice_in_few_operators(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None,
    form: DiceForm,
    by_operators: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return the mean loss for logits ``[B, C, ...]`` in full precision.

    Args:
        by_operators: from the logits to the same loss, differentiable as often as one likes; only a second derivative
            needs it.
    """
    return _DiceFunction.apply(logits, target.long(), class_weights, form, by_operators)


class _DiceFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, class_weights: Tensor | None, form: DiceForm, by_operators: Callable
    ) -> Tensor:
        """Return the mean loss, and keep the probabilities, the loss of each class, its denominator and its share."""
        p = logits.flatten(2).softmax(dim=1)
        ignored = which_are_ignored(target, form.ignore_index)
        if ignored is not None:
            if not {*ignored_classes(form.ignore_index)} <= {*range(p.shape[1])}:  # 255 has no probability
                target = target.masked_fill(ignored, 0)
            p.masked_fill_(ignored.flatten(1).unsqueeze(1), 0.0)
        overlap, true = _true_sums(p, target, ignored, form.per_image)
        predicted = (p.square() if form.squared else p).sum(dim=2 if form.per_image else (0, 2))
        share = _shares(true, class_weights, form, p.dtype)
        loss, denominator = _quotient(overlap, predicted.view_as(true), true, form)
        ctx.save_for_backward(logits, target.flatten(1).unsqueeze(1), p, loss, denominator, share)
        ctx.form, ctx.by_operators = form, by_operators
        if share is None:
            return loss.mean() if loss.numel() > 0 else loss.sum()
        return (share * loss).sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient by the logits."""
        logits, index, p, loss, denominator, share = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative
            (by_logits,) = torch.autograd.grad(ctx.by_operators(logits), logits, grad, create_graph=True)
            return by_logits, None, None, None, None
        grad = grad / max(loss.numel(), 1) if share is None else grad * share
        by_overlap, by_predicted = _slopes(grad / denominator, loss, ctx.form)
        by_p = by_predicted.unsqueeze(2).expand_as(p)
        by_p = 2 * by_p * p if ctx.form.squared else by_p
        by_true_p = by_overlap.expand(p.shape[:2]).gather(1, index.squeeze(1)).unsqueeze(1)
        # Not in place: the expanded tensor has no memory, and one operator makes it and adds.
        by_p = by_p.scatter_add(1, index, by_true_p)
        return softmax_backward(by_p, p).view_as(logits), None, None, None, None


def _true_sums(p: Tensor, target: Tensor, ignored: Tensor | None, per_image: bool) -> tuple[Tensor, Tensor]:
    """Return the overlap and the true mass ``[B, C]``, or ``[1, C]`` of the batch as one image, without rounding."""
    dtype = summation_dtype(p.device)
    index = by_columns(target)
    hit = p.gather(1, target.flatten(1).unsqueeze(1)).view_as(index)
    zeros, dims = p.new_zeros((), dtype=dtype), -1 if per_image else (0, -1)
    if ignored is None:  # ones without memory of their own
        per_pixel = hit.to(dtype), hit.new_ones((), dtype=dtype).expand_as(index)
        zeros = zeros.expand(len(p), p.shape[1], index.shape[2])
        overlap, true = (zeros.scatter_add(1, index, each).sum(dim=dims) for each in per_pixel)
    else:
        both = hit.new_empty(len(hit), 2, *hit.shape[1:], dtype=dtype)
        both[:, 0].copy_(hit)
        torch.logical_not(ignored.view_as(hit), out=both[:, 1])
        zeros = zeros.expand(len(p), 2, p.shape[1], index.shape[2])
        sums = zeros.scatter_add(2, index.unsqueeze(1).expand_as(both), both).sum(dim=dims)
        overlap, true = sums.unbind(dim=-2)
    return overlap.view(-1, p.shape[1]), true.view(-1, p.shape[1])


def _shares(true: Tensor, class_weights: Tensor | None, form: DiceForm, dtype: torch.dtype) -> Tensor | None:
    """Return what the loss of each image and class counts for in the mean, ``[B, C]``, in sum 1; ``None`` for equal
    shares. If nothing is left, it is 0."""
    dropped = [c for c in range(true.shape[1]) if c not in form.classes]
    if form.ignore_index is None and class_weights is None and not dropped:
        return None
    share = torch.ones_like(true, dtype=dtype) if form.ignore_index is None else true.any(dim=1, keepdim=True)
    share = share.expand_as(true).to(dtype) if class_weights is None else share * class_weights.to(true.device, dtype)
    for c in dropped:  # a list of them would have to be copied to the device
        share[:, c].zero_()
    return share / share.sum().clamp_min(torch.finfo(dtype).tiny)


def _quotient(overlap: Tensor, predicted: Tensor, true: Tensor, form: DiceForm) -> tuple[Tensor, Tensor]:
    """Return the loss of each class and its denominator; computed in the memory of ``predicted``.

    Each operator computes in the type of the sums and rounds once, without conversions of its own.
    """
    alpha, beta = form.alpha, form.beta
    size = predicted if alpha == 0.5 else predicted.mul_(2 * alpha)
    size.add_(true, alpha=2 * beta)
    denominator = size if alpha + beta == 1 else torch.add(size, overlap, alpha=2 * (1 - alpha - beta)).to(size.dtype)
    denominator = denominator + form.smooth
    if form.smooth < SMALLEST:  # where there is nothing to overlap, the loss and its gradient are 0
        denominator.masked_fill_(denominator < SMALLEST, torch.inf)
    mistakes = size.sub_(overlap, alpha=2 * (alpha + beta))
    return mistakes.div_(denominator), denominator


def _slopes(factor: Tensor, loss: Tensor, form: DiceForm) -> tuple[Tensor, Tensor]:
    """Return the derivatives of the loss by the overlap and by the predicted mass; the factor has the denominator."""
    total = form.alpha + form.beta
    by_predicted = torch.addcmul(factor, factor, loss, value=-1)
    if form.alpha != 0.5:
        by_predicted.mul_(2 * form.alpha)
    by_overlap = -2 * total * factor
    if total != 1:
        by_overlap.addcmul_(factor, loss, value=-2 * (1 - total))
    return by_overlap, by_predicted
