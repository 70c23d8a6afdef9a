"""Entmax-1.5 and sparsemax: projections with exact zeros, and the Fenchel-Young losses that train them.

Both are one family: for the Tsallis entropy ``H_a(p) = (1 - sum p**a) / (a (a - 1))`` the projection is
``p* = argmax_p p^T z + H_a(p)`` and its loss ``(p* - e_y)^T z + H_a(p*)``, with gradient ``p* - e_y``.
``a = 1.5`` is entmax-1.5, ``a = 2`` sparsemax (and ``a = 1`` would be softmax with cross-entropy).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ludwig_losses.functional._numerics import check_class_logits, full_precision


# Rows wider than this, of which more than one in so many logits is a candidate, are searched again for candidates
# above the threshold of every so many-th class, less its rounding.
_WIDE, _MANY, _SAMPLED, _SLACK = 512, 16, 16, 1e-6


def entmax15(logits: Tensor) -> Tensor:
    """Project logits ``[..., C]`` on the simplex with entmax-1.5: ``relu(z / 2 - tau)**2``, most entries exactly 0.

    Returns:
        Probabilities in the shape of ``logits``, float32 (float64 for float64 logits), differentiable once. Train
        with :func:`entmax15_loss`, whose gradient needs no derivative of the projection.

    Source: Peters et al., "Sparse Sequence-to-Sequence Models", ACL 2019.
    """
    return _project(logits, 1.5)


def sparsemax(logits: Tensor) -> Tensor:
    """Project logits ``[..., C]`` on the simplex with sparsemax: ``relu(z - tau)``, the nearest point in it.

    Returns:
        Probabilities in the shape of ``logits``, float32 (float64 for float64 logits), differentiable once. Train
        with :func:`sparsemax_loss`, whose gradient needs no derivative of the projection.

    Source: Martins & Astudillo, "From Softmax to Sparsemax", ICML 2016.
    """
    return _project(logits, 2.0)


def entmax15_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Fenchel-Young loss of :func:`entmax15`: 0 once the true class leads every other by 2, never negative.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class.
        target: ``[...]``, class indices of any integer type.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits), differentiable once.

    Raises:
        ValueError: ``target`` does not have the shape of ``logits`` without its last dimension.

    Source: Peters et al., "Sparse Sequence-to-Sequence Models", ACL 2019, equation 10.
    """
    return _fenchel_young_loss(logits, target, 1.5)


def sparsemax_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Fenchel-Young loss of :func:`sparsemax`: 0 once the true class leads every other by 1, never negative.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class.
        target: ``[...]``, class indices of any integer type.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits), differentiable once.

    Raises:
        ValueError: ``target`` does not have the shape of ``logits`` without its last dimension.

    Source: Martins & Astudillo, "From Softmax to Sparsemax", ICML 2016, equation 24.
    """
    return _fenchel_young_loss(logits, target, 2.0)


def _project(logits: Tensor, alpha: float) -> Tensor:
    """Return ``relu((alpha - 1) z - tau)**(1 / (alpha - 1))`` with the ``tau`` that makes each row sum to 1.

    ``f(tau) = sum relu(x - tau)**r - 1`` is convex and decreasing, so Newton's steps from the left of its root never
    pass it; each shrinks ``f |f'|`` at least fourfold. TorchScript compiles this function into exported models.
    """
    r = 1.0 / (alpha - 1.0)
    z = logits if logits.dtype == torch.float64 else logits.float()
    attached = (alpha - 1.0) * (z - z.detach().amax(dim=-1, keepdim=True))
    tau, slope = _threshold(attached.detach(), r)
    # One more step with the logits attached: its derivative is that of the implicit function tau(z).
    tau = tau + ((attached - tau).clamp_min(0.0).pow(r).sum(dim=-1, keepdim=True) - 1.0) / slope
    p = (attached - tau).clamp_min(0.0).pow(r)
    return p / p.sum(dim=-1, keepdim=True)


def _threshold(x: Tensor, r: float) -> tuple[Tensor, Tensor]:
    """Return ``tau`` and ``-f'(tau)`` for rows ``x <= 0``; where ``f(-1) < 0``, -1 (without those that it misses)."""
    tolerance = 1e-15 if x.dtype == torch.float64 else 4e-7
    tau = torch.full_like(x[..., :1], -1.0)
    slope = torch.ones_like(tau)
    steps = 0
    searching = True
    while searching and steps < 64:
        excess = (x - tau).clamp_min_(0.0)
        if r == 1.0:
            power = (excess > 0).to(x.dtype)
        elif r == 2.0:
            power = excess
        else:
            power = excess.pow(r - 1.0)
        slope = r * power.sum(dim=-1, keepdim=True)
        step = ((power * excess).sum(dim=-1, keepdim=True) - 1.0) / slope
        tau = tau + step.clamp_min(0.0)
        steps += 1
        # It has rarely converged before, so only then it is worth to look.
        searching = steps < 4 or bool((step > tolerance).any())
    return tau, slope


def _fenchel_young_loss(logits: Tensor, target: Tensor, alpha: float) -> Tensor:
    check_class_logits(logits, target, class_dim=-1)
    rows, labels = full_precision(logits).reshape(-1, logits.shape[-1]).contiguous(), target.long().reshape(-1)
    if torch.compiler.is_compiling():
        loss, _ = _fenchel_young(rows, labels, alpha)
    else:
        loss = _FenchelYoung.apply(rows, labels, alpha)
    return loss.reshape(target.shape)


class _FenchelYoung(torch.autograd.Function):
    """Keeps the probabilities of the candidates, and makes one tensor of the logits' size: the gradient."""

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor, alpha: float) -> Tensor:
        loss, p, places = _solve(logits.detach(), target, alpha)
        ctx.save_for_backward(logits, target, p, *places)
        return loss

    @staticmethod
    def backward(ctx, grad: Tensor):
        logits, target, p, *places = ctx.saved_tensors
        column = grad.detach().unsqueeze(1)
        gradient = _put(p * column, places, logits.shape).scatter_add_(1, target.unsqueeze(1), -column)
        if torch.is_grad_enabled():
            gradient = _FenchelYoungGradient.apply(gradient, logits, grad)
        return gradient, None, None


class _FenchelYoungGradient(torch.autograd.Function):
    """Makes a second derivative fail loudly instead of being 0."""

    @staticmethod
    def forward(ctx, gradient: Tensor, logits: Tensor, grad: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx, grad: Tensor):
        raise RuntimeError("fenchel_young_gradient: the entmax and sparsemax losses are differentiable once.")


def _solve(logits: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Loss ``[N]`` for logits ``[N, C]``, the probabilities of the candidates and their places.

    With ``x = (alpha - 1) (z - max z)`` and ``e = p**(alpha - 1)`` the loss is
    ``sum p (x + (1 - e) / alpha) / (alpha - 1) + max z - z_y``.
    """
    r = 1 / (alpha - 1)
    if not logits.numel():
        return logits.new_zeros(len(logits)), logits, ()
    top = logits.amax(dim=1, keepdim=True)
    x, places = _candidates(logits, top, alpha)
    tau, _ = _threshold(x, r)
    e = (x - tau).clamp_min_(0)
    e /= e.pow(r).sum(dim=1, keepdim=True).pow_(alpha - 1)
    p = e.pow(r)
    behind = (top - logits.gather(1, target.unsqueeze(1))).squeeze(1)
    loss = r * (p * x.add_(1 - e, alpha=1 / alpha)).sum(dim=1) + behind
    # Rounding may leave a loss of 0 a little below it.
    return loss.clamp_min_(0), p, places


def _candidates(logits: Tensor, top: Tensor, alpha: float) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return ``(alpha - 1) (z - top)``, at least -2, of the logits that can be in the support, and their places.

    Those are the logits within ``1 / (alpha - 1)`` of the largest one, few in a wide row: they are moved together in
    ``[N, K]``, filled with -2. Where they are many, all logits are returned, and no places.
    """
    rows, classes = logits.shape
    possible = logits >= top - 1 / (alpha - 1)
    count = _count(possible)
    if classes > _WIDE and count * _MANY > logits.numel():
        # Those above the threshold of a sample of the classes, which more classes only raise.
        tau, _ = _threshold((alpha - 1) * (logits[:, ::_SAMPLED] - top), 1 / (alpha - 1))
        possible = logits >= top + (tau - _SLACK) / (alpha - 1)
        count = _count(possible)
    if count * 2 > logits.numel():
        return (logits - top).mul_(alpha - 1).clamp_min_(-2), ()
    source = _indices(possible)
    row = source // classes
    counts = torch.bincount(row, minlength=rows)
    widest = max(int(counts.max()), 1)  # rows of NaN have no candidate, and NaN for a result
    # The k-th candidate overall is number k - (candidates in the rows before) of its row.
    shift = torch.arange(rows, device=logits.device) * widest - (counts.cumsum(0) - counts)
    position = torch.arange(count, device=logits.device) + shift[row]
    x = (logits.view(-1)[source] - top.view(-1)[row]).mul_(alpha - 1)
    together = logits.new_full((rows * widest,), -2).index_copy_(0, position, x)
    return together.view(rows, widest), (position, source)


def _count(mask: Tensor) -> int:
    return int(np.count_nonzero(mask.numpy()) if mask.device.type == "cpu" else mask.count_nonzero())


def _indices(mask: Tensor) -> Tensor:
    """Indices into the flat mask; on a CPU numpy finds few in many about ten times as fast as torch."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.view(-1).nonzero().squeeze(1)


def _put(values: Tensor, places: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """Return values ``[N, K]`` for candidates at their places among all classes, zeros elsewhere."""
    if not places:
        return values
    position, source = places
    everywhere = values.new_zeros(shape)
    everywhere.view(-1).index_copy_(0, source, values.view(-1)[position])
    return everywhere


# Custom operators: torch.compile takes them whole, although the number of candidates and of Newton steps depends on
# the data; so the probabilities that it keeps are those of all classes.
@torch.library.custom_op("ludwig_losses::fenchel_young", mutates_args=())
def _fenchel_young(logits: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Loss ``[N]`` and probabilities ``[N, C]`` for logits ``[N, C]``."""
    loss, p, places = _solve(logits.contiguous(), target, alpha)
    return loss, _put(p, places, logits.shape)


@_fenchel_young.register_fake
def _(logits: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(target, dtype=logits.dtype), torch.empty_like(logits)


# The gradient is an operator without a derivative of its own: a second derivative fails loudly instead of being 0.
@torch.library.custom_op("ludwig_losses::fenchel_young_gradient", mutates_args=())
def _fenchel_young_gradient(grad: Tensor, p: Tensor, target: Tensor) -> Tensor:
    """``grad * (p - e_y)``."""
    index, column = target.unsqueeze(1), grad.unsqueeze(1)
    return (p * column).scatter_add_(1, index, -column)


@_fenchel_young_gradient.register_fake
def _(grad: Tensor, p: Tensor, target: Tensor) -> Tensor:
    return torch.empty_like(p)


def _save_for_backward(ctx, inputs, output) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1], inputs[1])


def _backward(ctx, grad_loss: Tensor | None, _):
    gradient = None if grad_loss is None else _fenchel_young_gradient(grad_loss, *ctx.saved_tensors)
    return gradient, None, None


_fenchel_young.register_autograd(_backward, setup_context=_save_for_backward)
