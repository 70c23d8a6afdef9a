"""The Fenchel-Young losses that train entmax, entmax-1.5 and sparsemax.

With the Tsallis entropy ``H_a`` and its projection ``p*`` (see :mod:`ludwig_losses.functional.projections`) the loss is
``(p* - e_y)^T z + H_a(p*)``, with gradient ``p* - e_y`` (``a = 1`` would be cross-entropy).

With label smoothing the loss is that of the smoothed label ``q``, ``(p* - q)^T z + H_a(p*) - H_a(q)``: never negative,
0 where ``p* = q``, with gradient ``p* - q`` (Peters & Martins, "Smoothing and Shrinking the Sparse Seq2Seq Search
Space", NAACL 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ludwig_losses.functional._candidates import Places, behind_top, gather_candidates, scatter_candidates
from ludwig_losses.functional._derivatives import CustomFunction, differentiable_once
from ludwig_losses.functional._numerics import (
    as_input,
    as_output,
    as_rows,
    check_class_logits,
    check_number,
    full_precision,
    is_static,
    loss_where_counted,
    naming_the_target,
    shaped_as,
)
from ludwig_losses.functional.projections import (
    NEAR_1,
    check_alpha,
    project_near_1,
    sorts_any_width,
    threshold,
    threshold_in_little_memory,
)

# Rows up to this width are not searched for candidates: a Newton step on all classes costs less than the search, unless
# it takes real powers.
_NARROW = 256
# Elements of which the loss is computed at a time on a CPU: 1 MB of float32, which stays in its cache.
_BLOCK = 2**18


def entmax_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 1.5,
    label_smoothing: float = 0.0,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    """Fenchel-Young loss of :func:`entmax`: 0 once the true class leads every other by ``1 / (alpha - 1)``.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class.
        target: ``[...]``, class indices of any integer type.
        alpha: in (1, 2]; 1.5 gives :func:`entmax15_loss`, 2 :func:`sparsemax_loss`, near 1 cross-entropy.
        label_smoothing: the part of each label that is spread evenly over all classes that are not masked, in [0, 1].
        ignore_index: ignored classes, whose loss is 0; also numbers that are no class.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits), differentiable once.

    Raises:
        TypeError: ``logits`` are no floating-point numbers, ``target`` or ``ignore_index`` no integers, or a
            hyperparameter no number.
        ValueError: a hyperparameter is out of range, or ``target`` does not have the shape of ``logits`` without its
            last dimension.
        IndexError: a target that is not ignored is no class (on an accelerator an error of torch's).

    Source: Peters et al., "Sparse Sequence-to-Sequence Models", ACL 2019, equation 10.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([0, 0])
        >>> entmax_loss(logits, target, alpha=1.2)
        tensor([0.0066, 0.3033])
    """
    check_alpha(alpha)
    return loss_and_probabilities(logits, target, alpha, label_smoothing, ignore_index)[0]


def entmax15_loss(
    logits: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    """Fenchel-Young loss of :func:`entmax15`: 0 once the true class leads every other by 2, never negative.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class.
        target: ``[...]``, class indices of any integer type.
        label_smoothing, ignore_index: as for :func:`entmax_loss`.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits), differentiable once.

    Raises:
        TypeError, ValueError, IndexError: as :func:`entmax_loss`.

    Source: Peters et al., "Sparse Sequence-to-Sequence Models", ACL 2019, equation 10.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([0, 0])
        >>> entmax15_loss(logits, target)
        tensor([0.0000, 0.0996])
    """
    return loss_and_probabilities(logits, target, 1.5, label_smoothing, ignore_index)[0]


def sparsemax_loss(
    logits: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    """Fenchel-Young loss of :func:`sparsemax`: 0 once the true class leads every other by 1, never negative.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class.
        target: ``[...]``, class indices of any integer type.
        label_smoothing, ignore_index: as for :func:`entmax_loss`.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits), differentiable once.

    Raises:
        TypeError, ValueError, IndexError: as :func:`entmax_loss`.

    Source: Martins & Astudillo, "From Softmax to Sparsemax", ICML 2016, equation 24.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.0, 0.0]]), torch.tensor([0, 0])
        >>> sparsemax_loss(logits, target)
        tensor([0.0000, 0.0833])
    """
    return loss_and_probabilities(logits, target, 2.0, label_smoothing, ignore_index)[0]


def loss_and_probabilities(
    logits: Tensor, target: Tensor, alpha: float, label_smoothing: float, ignore_index: int | Sequence[int] | None
) -> tuple[Tensor, Tensor | None]:
    """Return the loss, and the projection of the logits if it was found for all of them, without a gradient."""
    check_class_logits(logits, target, class_dim=-1)
    check_number("label_smoothing", label_smoothing, minimum=0, maximum=1)
    if ignore_index is None:
        inputs = logits, target, alpha, label_smoothing
        return naming_the_target(_loss_and_probabilities, inputs, target, logits.shape[-1])

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss per element, as if all of them counted."""
        return _loss_and_probabilities(logits, target, alpha, label_smoothing)[0]

    # Ignored logits without a projection become others, so that the one that is found is not that of all logits.
    return loss_where_counted(loss, logits, target, ignore_index, class_dim=-1), None


def _loss_and_probabilities(
    logits: Tensor, target: Tensor, alpha: float, label_smoothing: float
) -> tuple[Tensor, Tensor | None]:
    """Return the loss per element, and the projection unless only that of candidates was found."""
    rows, index = as_rows(full_precision(logits)).contiguous(), target.long().flatten()
    # Smoothing starts from the loss of the largest logit: that of a true class far behind could cancel most of it.
    first = rows.detach().argmax(dim=1) if label_smoothing else index
    loss, p, *places = _FENCHEL_YOUNG.apply(rows, first, alpha)
    if label_smoothing:
        loss = loss + _cost_of_smoothing(rows, index, first, alpha, label_smoothing)
        # Rounding may leave a loss of 0 a little below it; its gradient stays.
        loss = loss + (-loss).detach().clamp_min(0)
    if places:
        return shaped_as(loss, target), None
    return shaped_as(loss, target), p if p.shape == logits.shape else p.reshape(logits.shape)


def _cost_of_smoothing(logits: Tensor, target: Tensor, first: Tensor, alpha: float, label_smoothing: float) -> Tensor:
    """``(e_m - q)^T z - H(q)`` for the smoothed label ``q``, which adds to the loss of the class ``m = first``."""
    masked = logits.isneginf()
    others = (~masked).sum(dim=1).to(logits) - 1
    behind = logits.gather(1, first.unsqueeze(1)) - logits
    spread = behind.masked_fill(masked, 0.0).sum(dim=1)
    share = label_smoothing / (others + 1)
    remaining = (1 - label_smoothing) + share
    entropy = _entropy_term(remaining, alpha) + others * _entropy_term(share, alpha)
    cost = share * spread - entropy
    if label_smoothing == 1:  # nothing is left for the true class, which may be masked
        return cost
    return cost + (1 - label_smoothing) * behind.gather(1, target.unsqueeze(1)).squeeze(1)


def _entropy_term(p: Tensor, alpha: float) -> Tensor:
    """``(p - p**alpha) / (alpha (alpha - 1))``, which sums to the entropy; exact to the last digits near alpha 1."""
    return torch.where(p > 0, -p * torch.expm1((alpha - 1) * p.log()) / (alpha * (alpha - 1)), 0)


class _CompiledFenchelYoung(torch.autograd.Function):
    """The loss of rows with its gradient, ``p* - e_y``: keeps the probabilities of the candidates, and makes one tensor
    of the logits' size, the gradient."""

    @staticmethod
    def forward(logits: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, ...]:
        """Return the loss, the probabilities and, if they are those of candidates, their two tensors of places."""
        loss, p, places = _solve(as_input(logits), target, alpha)
        return as_output(loss), as_output(p), *(places or ())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep what the derivatives are made of, for both modes."""
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:2], *output[1:])
        ctx.save_for_forward(*inputs[:2], *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        """Return the gradient by the logits."""
        if grad is None:
            return None, None, None
        logits, target, p, *places = ctx.saved_tensors
        column = grad.detach().unsqueeze(1)
        gradient = scatter_candidates(p * column, _places(places), logits.shape)
        gradient = gradient.scatter_add_(1, target.unsqueeze(1), -column)
        return differentiable_once(gradient, logits), None, None


class _FenchelYoung(_CompiledFenchelYoung):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Return the derivative of the loss along the tangent of the logits."""
        logits, target, p, *places = ctx.saved_tensors
        of_true = tangent.gather(1, target.unsqueeze(1)).squeeze(1)
        of_all = (scatter_candidates(p, _places(places), logits.shape) * tangent).sum(dim=1)
        return of_all - of_true, None, *[None for _ in places]

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, logits: Tensor, target: Tensor, alpha: float
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Take all rows at once: what is mapped becomes the first dimension."""
        logits, target = (
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip((logits, target), in_dims[:2], strict=True)
        )
        loss, p, *places = _FenchelYoung.apply(logits.flatten(0, 1), target.flatten(), alpha)
        p = scatter_candidates(p, _places(places), logits.flatten(0, 1).shape)
        return (loss.unflatten(0, target.shape), p.unflatten(0, target.shape)), (0, 0)


_FENCHEL_YOUNG = CustomFunction(compiled=_CompiledFenchelYoung, transformed=_FenchelYoung)


def _places(tensors: Sequence[Tensor]) -> Places | None:
    return Places(*tensors) if tensors else None


def _solve(logits: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor, Places | None]:
    """Return the loss ``[N]`` for logits ``[N, C]``, the probabilities of the candidates and their places.

    With ``x = (alpha - 1) (z - max z)`` and ``e = p**(alpha - 1)`` the loss is
    ``sum p (x + (1 - e) / alpha) / (alpha - 1) + max z - z_y``.
    """
    if logits.numel() == 0:
        return logits.new_zeros(len(logits)), torch.zeros_like(logits), None
    if alpha in (1.5, 2.0) and sorts_any_width(logits):
        return *_solve_by_sorting(logits, target, alpha), None
    top = logits.amax(dim=1, keepdim=True)
    lead = (top - logits.gather(1, target.unsqueeze(1))).squeeze(1)
    if alpha < NEAR_1:
        p = project_near_1(logits, alpha, is_static(logits))
        margin = torch.where(p > 0, logits - top, 0)
        return ((p * margin + _entropy_term(p, alpha)).sum(dim=1) + lead).clamp_min_(0), p, None
    loss, p, places = _solve_by_threshold(logits, top, alpha)
    # Rounding may leave a loss of 0 a little below it.
    return loss.add_(lead).clamp_min_(0), p, places


def _solve_by_threshold(logits: Tensor, top: Tensor, alpha: float) -> tuple[Tensor, Tensor, Places | None]:
    """Return the loss of the largest logit, the probabilities of the candidates and their places."""
    r, static = 1 / (alpha - 1), is_static(logits)
    places: Places | None = None
    if static or (logits.shape[1] <= _NARROW and alpha in (1.5, 2.0)):
        x = behind_top(logits, top, alpha)
    else:
        x, places = gather_candidates(logits, top, alpha)
    e = x.sub(threshold(x, r, static)).clamp_min_(0)
    if static or x.numel() <= _BLOCK:
        loss = _loss_from_excess(x, e, r)
    else:
        blocks = (tensor.split(max(1, _BLOCK // x.shape[1])) for tensor in (x, e))
        loss = torch.cat([_loss_from_excess(part, excess, r) for part, excess in zip(*blocks, strict=True)])
    return loss.mul_(r), e, places


def _solve_by_sorting(logits: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The same in few operators and little memory for ``alpha`` 1.5 and 2, for an accelerator.

    In units of the logits, ``x = z - max z`` and ``p = (relu(x - tau) / r)**r`` with ``r = 1 / (alpha - 1)``. Since
    ``x = tau + relu(x - tau)`` wherever ``p > 0``, the loss is ``tau - x_y + (sum p**alpha + r) r / (r + 1)``. The
    right ``tau`` is where this is smallest, so that a rounded one changes it by the square of what was rounded.
    """
    r, top = 1 / (alpha - 1), logits.amax(dim=1, keepdim=True)
    tau = threshold_in_little_memory(logits, top, r)
    root = logits.sub(top).sub_(tau)
    loss = torch.rsub(root.gather(1, target.unsqueeze(1)), r * r / (r + 1))  # tau - x_y + r * r / (r + 1)
    root.clamp_min_(0)  # p**(1 / r), but for the factor r
    if r != 1:
        root.div_(r)
    norm = torch.linalg.vector_norm(root, r + 1, dim=1, keepdim=True, dtype=torch.float64)
    if r == 1:
        loss = torch.addcmul(loss, norm, norm, value=r / (r + 1), out=loss)
    else:
        loss = loss.add_(norm.pow_(r + 1), alpha=r / (r + 1))
    # Rounding may leave a loss of 0 a little below it.
    return loss.clamp_min_(0).squeeze(1), root if r == 1 else root.square_()


def _loss_from_excess(x: Tensor, e: Tensor, r: float) -> Tensor:
    """``sum p (x + (1 - e) / alpha)`` for ``e = relu(x - tau)``, which becomes ``p = e**r``, made to sum to 1.

    Not a vector norm, which on a CPU adds up one element after the other and loses digits where there are many.
    """
    power = e if r == 1 else e.square() if r == 2 else e.pow(r)
    e /= power.sum(dim=1, keepdim=True).pow(1 / r)
    x.add_(1 - e, alpha=r / (r + 1))
    return x.mul_(e if r == 1 else e.pow_(r)).sum(dim=1)
