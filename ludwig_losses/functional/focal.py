"""Focal loss: cross-entropy that turns its attention from easy to hard examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ludwig_losses.functional._elementwise import elementwise, is_transformed
from ludwig_losses.functional._numerics import (
    LINEAR,
    as_output,
    check_class_logits,
    check_element_logits,
    check_number,
    check_per_class,
    class_nll,
    each_element_loss,
    elements_per_block,
    full_precision,
    infinite_where_masked,
    is_counted,
    is_on_accelerator,
    is_small,
    is_static,
    loss_where_counted,
    sign_of_negatives,
    true_class_loss,
)

# Elements of the binary loss that are computed at a time. On a CPU 0.5 MB of float32, so that the temporaries stay in
# its cache, and still enough for every thread; on an accelerator 16 MB, enough to occupy it.
_BLOCK, _BLOCK_ON_ACCELERATOR = 2**17, 2**22


def sigmoid_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: Tensor | None = None,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    reduced_threshold: float | None = None,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    r"""Binary focal loss, ``-alpha_t (1 - p_t)**gamma log p_t`` with ``p = sigmoid(logits)``.

    Equal to :func:`softmax_focal_loss` of the two logits ``[0, z]``.

    Args:
        logits: any shape, one logit per element.
        target: the same shape; whole numbers, bool or of any real number type. What is not 0 is of the positive class,
            also 255 or -1.
        alpha: ``[2]``, the weights of the negative and of the positive class; ``None`` for no balance.
        gamma: focusing parameter, >= 0; 0 gives binary cross-entropy.
        label_smoothing, reduced_threshold: as for :func:`softmax_focal_loss`.
        ignore_index: ignored targets, whose loss and gradient are 0, whatever their logits.

    Returns:
        The unreduced loss in the shape of ``logits``, float32 (float64 for float64 logits).

    Raises:
        TypeError: a tensor is of a type that is not named above, or a hyperparameter is no number.
        ValueError: the shapes differ, ``alpha`` does not have two entries, a hyperparameter is out of range, or (on a
            CPU, where looking costs next to nothing) a floating-point target is no whole number.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([2.0, -1.0, 0.0]), torch.tensor([True, True, False])
        >>> sigmoid_focal_loss(logits, target)
        tensor([0.0018, 0.7019, 0.1733])
        >>> sigmoid_focal_loss(logits, target, alpha=torch.tensor([0.25, 0.75]))  # negative, positive
        tensor([0.0014, 0.5264, 0.0433])
    """
    _check_options(gamma, label_smoothing, reduced_threshold)
    check_per_class("alpha", alpha, 2)
    check_element_logits(logits, target)
    counted, z = is_counted(target, ignore_index), full_precision(logits)
    if is_transformed(z):
        options = gamma, label_smoothing, reduced_threshold
        return elementwise(_counted_sigmoid_focal, z, options, target, counted, alpha)
    return _SigmoidFocalLoss.apply(z, target, counted, alpha, gamma, label_smoothing, reduced_threshold)


def _check_options(gamma: float, label_smoothing: float, reduced_threshold: float | None) -> None:
    check_number("gamma", gamma, minimum=0)
    check_number("label_smoothing", label_smoothing, minimum=0, maximum=1)
    if reduced_threshold is not None:
        check_number("reduced_threshold", reduced_threshold, above=0, maximum=1)


class _SigmoidFocalLoss(torch.autograd.Function):
    """Computes the derivative along with the loss, and keeps nothing else.

    *What.* A million logits are computed in blocks, one after the other. Each block writes its loss and its derivative
    into its part of two tensors that were allocated before.

    *Why.* The formula has about ten temporaries. Of a block they fit the cache of a CPU, and the peak memory is that of
    two tensors instead of twelve.

    *Example.* For five logits in blocks of two, ``loss`` is filled from left to right::

        block 0            block 1            block 2
        [a, b, ., ., .]    [a, b, c, d, .]    [a, b, c, d, e]
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        counted: Tensor | None,
        alpha: Tensor | None,
        gamma: float,
        label_smoothing: float,
        threshold: float | None,
    ) -> Tensor:
        """Return the loss, and keep its derivative by the logits."""
        ctx.options = gamma, label_smoothing, threshold
        whole = is_on_accelerator(logits) and counted is None and _is_one_block(logits)
        if whole or is_small(logits):
            loss, slope = _counted_sigmoid_focal(logits, ctx.options, target, counted, alpha)
        else:
            loss, slope = _sigmoid_focal_in_blocks(logits, target, counted, alpha, ctx.options)
        ctx.save_for_backward(logits, target, counted, alpha, slope)
        return as_output(loss)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply with the derivative by the logits."""
        logits, target, counted, alpha, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, of what depends on the logits
            _, slope = _counted_sigmoid_focal(logits, ctx.options, target, counted, alpha)
        return grad * slope, None, None, None, None, None, None


def _is_one_block(logits: Tensor) -> bool:
    return logits.numel() <= elements_per_block(logits, _BLOCK, _BLOCK_ON_ACCELERATOR)


def _sigmoid_focal_in_blocks(
    logits: Tensor,
    target: Tensor,
    counted: Tensor | None,
    alpha: Tensor | None,
    options: tuple[float, float, float | None],
) -> tuple[Tensor, Tensor]:
    """Return the loss and its derivative by the logit, 0 where a target is ignored."""
    loss, slope = (torch.empty_like(logits, memory_format=torch.contiguous_format) for _ in range(2))
    size = elements_per_block(logits, _BLOCK, _BLOCK_ON_ACCELERATOR)
    blocks = zip(*(x.reshape(-1).split(size) for x in (logits, target)), strict=True)
    ignored = None if counted is None else (~counted).reshape(-1)
    for i, (z, y) in enumerate(blocks):
        block = slice(i * size, i * size + len(z))
        of_block = loss.view(-1)[block], slope.view(-1)[block]
        _sigmoid_focal(z, y, alpha, *options, out=of_block)
        if ignored is not None:
            for part in of_block:
                part.masked_fill_(ignored[block], 0.0)
    return loss, slope


def _counted_sigmoid_focal(
    z: Tensor,
    options: tuple[float, float, float | None],
    target: Tensor,
    counted: Tensor | None,
    alpha: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the loss and its derivative by the logit, 0 where a target is ignored."""
    if counted is None:
        return _sigmoid_focal(z, target, alpha, *options)
    loss, slope = _sigmoid_focal(z.masked_fill(~counted, 0.0), target, alpha, *options)
    return loss.masked_fill(~counted, 0.0), slope.masked_fill(~counted, 0.0)


def _sigmoid_focal(
    z: Tensor,
    target: Tensor,
    alpha: Tensor | None,
    gamma: float,
    label_smoothing: float,
    threshold: float | None,
    out: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
) -> tuple[Tensor, Tensor]:
    """Return the loss and its derivative by the logit, written into the two tensors of ``out`` if they are given."""
    sign = sign_of_negatives(target, z.dtype)
    weight, nll, by_z = _sigmoid_focal_terms(z, sign, alpha, gamma, threshold)
    loss, slope = torch.mul(weight, nll, out=out[0]), torch.mul(weight, by_z, out=out[1])
    if not label_smoothing:
        return loss, slope
    # The other class has its share, unless it is masked (-inf): then it is no part of the label.
    masked = z.isneginf()
    weight, nll, by_z = _sigmoid_focal_terms(z.masked_fill(masked, 0.0), -sign, alpha, gamma, threshold)
    weight = weight.masked_fill(masked, 0.0)
    for each, of_other in ((loss, weight * nll), (slope, weight * by_z)):
        each.mul_(1 - label_smoothing / 2).add_(of_other, alpha=label_smoothing / 2)
        if label_smoothing == 1:
            each.masked_fill_(masked, 0.0)
    return loss, slope


def _sigmoid_focal_terms(
    z: Tensor, sign: Tensor, alpha: Tensor | None, gamma: float, threshold: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weight, and what it multiplies in the loss and in its derivative by the logit."""
    # The logit of the class that is not the target.
    wrong_way = z * sign
    # sigmoid(wrong_way) is 1 - p_t without a subtraction. Its power is never divided by it, hence finite at 0.
    miss, nll = wrong_way.sigmoid(), softplus(wrong_way, threshold=LINEAR)
    # A large gamma would show the digits that a subtraction loses.
    hit = 1 - miss if threshold is None and gamma <= 5 else (-wrong_way).sigmoid()
    del wrong_way
    weight, by_nll = miss, hit
    if threshold is not None:
        hard = hit < threshold
        # Before the power, which may overflow where it is not used.
        weight, by_nll = torch.where(hard, 1, miss / threshold), by_nll * ~hard
    if torch.is_grad_enabled():  # for a second derivative: that of a power is infinite at 0
        weight = weight.clamp_min(torch.finfo(weight.dtype).tiny)
    weight = weight**gamma
    if alpha is not None:
        pair = alpha.to(z).unbind() if is_static(alpha) else alpha.tolist()
        of_negative, of_positive = pair
        weight = weight * ((of_negative - of_positive) / 2 * sign + (of_negative + of_positive) / 2)
        # A weight of 0 makes nothing of an infinite loss.
        if is_static(alpha) or 0 in pair:
            nll = nll.masked_fill(weight == 0, 0.0)
    # Of a masked (-inf) true class nll is infinite, and by_nll is 0.
    finite = nll.clamp_max(torch.finfo(nll.dtype).max)
    by_wrong_way = miss.clone() if torch.is_grad_enabled() else miss
    return weight, nll, by_wrong_way.addcmul_(by_nll, finite, value=gamma).mul_(sign)


def softmax_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: Tensor | None = None,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    reduced_threshold: float | None = None,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    r"""Multi-class focal loss, ``-alpha_y (1 - p_y)**gamma log p_y`` with ``p = softmax(logits)``.

    Args:
        logits: ``[B, C, ...]``.
        target: ``[B, ...]``, class indices of any integer type.
        alpha: ``[C]``, one weight per class; ``None`` for none. Part of the loss: a mean does not divide by it.
        gamma: focusing parameter, >= 0; 0 gives cross-entropy.
        label_smoothing: the part ``s`` of each label that is spread evenly over all classes that are not masked
            (``-inf``), in [0, 1]: the loss is its mean over the smoothed label, ``sum_c q_c FL(c)``. It is infinite
            where the true class is masked (unless the smoothing is 1, or its ``alpha`` 0), as without smoothing.
        reduced_threshold: in (0, 1]; the factor ``(1 - p_t)**gamma`` becomes 1 where ``p_t`` is below the threshold,
            and ``((1 - p_t) / threshold)**gamma`` from there on. They meet at 0.5. ``None`` for focal loss.
        ignore_index: ignored classes, whose loss and gradient are 0, whatever their logits; also numbers that
            are no class.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError: the logits are no floating-point numbers, the targets no integers, or a hyperparameter is no number.
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension, ``alpha`` does not
            have an entry per class, or a hyperparameter is out of range.
        IndexError: a target that is not ignored is no class (on an accelerator an error of torch's).

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; and "Reduced Focal Loss", 2019.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
        >>> softmax_focal_loss(logits, target)
        tensor([0.0109, 0.9635])
        >>> softmax_focal_loss(logits, target, gamma=0.0)  # cross-entropy
        tensor([0.2395, 1.5514])
        >>> softmax_focal_loss(logits, target, alpha=torch.tensor([0.2, 0.3, 1.0]))
        tensor([0.0022, 0.9635])
    """
    _check_options(gamma, label_smoothing, reduced_threshold)
    check_class_logits(logits, target, class_dim=1)
    check_per_class("alpha", alpha, logits.shape[1])
    focal = (_focal_of_nll, gamma) if reduced_threshold is None else (_reduced_focal_of_nll, (gamma, reduced_threshold))

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss per element, as if all of them counted."""
        if label_smoothing:
            return _smoothed_focal_loss(logits, target, alpha, label_smoothing, *focal)
        value = true_class_loss(logits, target, *focal)
        if alpha is None:
            return value
        weight = alpha.to(value)[target.long()]
        return torch.where(weight == 0, 0, weight * value)

    return loss_where_counted(loss, logits, target, ignore_index, class_dim=1)


def _smoothed_focal_loss(
    logits: Tensor, target: Tensor, alpha: Tensor | None, label_smoothing: float, of_nll: Callable, parameter: Any
) -> Tensor:
    nll, masked = class_nll(logits)
    loss, index = each_element_loss(nll, of_nll, parameter), target.long().unsqueeze(1)
    if alpha is not None:
        loss = loss * alpha.to(loss).view(-1, *[1] * (loss.ndim - 2))
    of_true_class, competing = loss.gather(1, index).squeeze(1), (~masked).sum(dim=1).to(loss)
    loss = (1 - label_smoothing) * of_true_class + label_smoothing / competing * loss.sum(dim=1)
    if alpha is not None:  # a weight of 0 makes nothing of an infinite loss
        masked = masked & (alpha != 0).to(masked.device).view(-1, *[1] * (masked.ndim - 2))
    return infinite_where_masked(loss, masked, index, label_smoothing)


def _focal_of_nll(nll: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    finite, hit, miss = _hit_and_miss(nll)
    power = miss if gamma == 2 else miss ** (gamma - 1)
    return (power * miss).mul_(nll), torch.addcmul(miss, hit, finite, value=gamma).mul_(power)


def _reduced_focal_of_nll(nll: Tensor, parameter: tuple[float, float]) -> tuple[Tensor, Tensor]:
    gamma, threshold = parameter
    finite, hit, miss = _hit_and_miss(nll)
    hard = hit < threshold
    # Before the power, which may overflow where it is not used.
    weight = torch.where(hard, 1, miss / threshold) ** gamma
    by_miss = (hit * finite).div_(miss).mul_(gamma)
    return weight * nll, weight * (1 + by_miss * ~hard)


def _hit_and_miss(nll: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``nll`` as a finite number above 0, and its ``p`` and ``1 - p``."""
    # So nll / miss has its limits: 1 where p rounds to 1, a finite number where p is 0.
    finite = nll.clamp(torch.finfo(nll.dtype).tiny, torch.finfo(nll.dtype).max)
    log_p = -finite
    # Not one from the other: a large gamma would show the digits that a subtraction loses.
    return finite, log_p.exp(), -log_p.expm1()
