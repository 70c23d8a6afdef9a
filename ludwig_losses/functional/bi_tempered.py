"""Bi-tempered logistic loss: a bounded loss on heavy-tailed probabilities, for noisy labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ludwig_losses.functional._derivatives import is_differentiated, with_escort_derivative, with_gradient
from ludwig_losses.functional._numerics import (
    as_rows,
    check_class_logits,
    check_floating,
    check_number,
    full_precision,
    is_on_accelerator,
    is_small,
    is_static,
    loss_where_counted,
    naming_the_target,
    shaped_as,
    summation_dtype,
)

# Newton's steps where no value may be read: enough for the digits of each type in the hardest rows of the tests.
_STEPS_OF_FLOAT32, _STEPS_OF_FLOAT64 = 9, 12
# Shifts that are compared at once, each of which takes a copy of the logits, and Newton's steps from the best of them.
# With 18 and 4 the hardest known rows have an error of 2e-8, with 3 steps of 1e-4.
_SHIFTS, _STEPS_FROM_BEST = 18, 4


def tempered_softmax(logits: Tensor, t: float = 1.0) -> Tensor:
    """Return ``exp_t(z - lambda(z))``, which sums to 1, with ``exp_t(u) = [1 + (1 - t) u]_+ ** (1 / (1 - t))``.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class.
        t: temperature, in [1, 10]; 1 gives softmax, more gives heavier tails.

    Returns:
        Probabilities in the shape of ``logits``, float32 (float64 for float64 logits), differentiable any
        number of times. Train with :func:`bi_tempered_logistic_loss`, whose gradient needs no derivative of them.

    Raises:
        TypeError: ``logits`` are no floating-point numbers, or ``t`` is no number.
        ValueError: ``t`` is out of range.

    Source: Amid et al., "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", NeurIPS 2019, section 2.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([0.0, 2.0, 4.0])
        >>> tempered_softmax(logits)  # softmax
        tensor([0.0159, 0.1173, 0.8668])
        >>> tempered_softmax(logits, t=2.0)
        tensor([0.1731, 0.2647, 0.5623])
    """
    if not torch.jit.is_scripting():
        check_floating("logits", logits)
        check_number("t", t, minimum=1, maximum=10)
    z = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
    if t == 1.0:
        p = z.softmax(dim=-1)
    elif torch.jit.is_scripting():
        p = _project(z, t, z.is_cuda)
    else:
        p = with_escort_derivative(_project, z, t, t)
    return p if logits.dtype == torch.float64 else p.float()


def bi_tempered_logistic_loss(
    logits: Tensor,
    target: Tensor,
    *,
    t1: float = 1.0,
    t2: float = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    r"""Bregman divergence between the labels ``y`` and the tempered probabilities ``q = exp_t2(z - lambda(z))``.

    .. math:: \sum_i y_i (\log_{t_1} y_i - \log_{t_1} q_i) - (y_i^{2 - t_1} - q_i^{2 - t_1}) / (2 - t_1)

    with ``log_t(u) = (u**(1 - t) - 1) / (1 - t)``. ``t1 = t2 = 1`` is cross-entropy (with label smoothing: less the
    entropy of the smoothed label, which is constant).

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class, which as the true class costs as much as any can: infinitely
            much where ``t1`` is 1.
        target: ``[...]``, class indices of any integer type.
        t1: in [0, 1]; below 1 the loss is bounded by ``1 / (1 - t1)``, for outliers far from the boundary.
        t2: in [1, 10]; above 1 the probabilities have heavy tails, for noisy labels near the boundary.
        label_smoothing: the part of each label that is spread evenly over all classes that are not masked, in
            [0, 1].
        ignore_index: ignored classes, whose loss and gradient are 0, whatever their logits; also numbers that
            are no class.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits), differentiable once.

    Raises:
        TypeError: ``logits`` are no floating-point numbers, ``target`` no integers, or a hyperparameter no number.
        ValueError: ``target`` does not have the shape of ``logits`` without its last dimension, or a hyperparameter is
            out of range.
        IndexError: a target that is not ignored is no class (on an accelerator an error of torch's).

    Source: Amid et al., "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", NeurIPS 2019, equation 6.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([[4.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 1])
        >>> bi_tempered_logistic_loss(logits, target)  # cross-entropy
        tensor([0.0181, 4.0181])
        >>> bi_tempered_logistic_loss(logits, target, t1=0.2, t2=2.0)  # at most 1 / (1 - 0.2)
        tensor([0.0470, 0.7696])
    """
    return loss_and_probabilities(logits, target, t1, t2, label_smoothing, ignore_index)[0]


def loss_and_probabilities(
    logits: Tensor,
    target: Tensor,
    t1: float,
    t2: float,
    label_smoothing: float,
    ignore_index: int | Sequence[int] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the loss, and the tempered softmax of the logits if it was found for all of them, without a gradient."""
    check_class_logits(logits, target, class_dim=-1)
    check_number("t1", t1, minimum=0, maximum=1)
    check_number("t2", t2, minimum=1, maximum=10)
    check_number("label_smoothing", label_smoothing, minimum=0, maximum=1)
    if ignore_index is None:
        return _loss_and_probabilities(logits, target, t1, t2, label_smoothing)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss per element, as if all of them counted."""
        return _loss_and_probabilities(logits, target, t1, t2, label_smoothing)[0]

    # Ignored logits without a projection become others, so that the one that is found is not that of all logits.
    return loss_where_counted(loss, logits, target, ignore_index, class_dim=-1), None


def _loss_and_probabilities(
    logits: Tensor, target: Tensor, t1: float, t2: float, label_smoothing: float
) -> tuple[Tensor, Tensor | None]:
    """Return the loss per element, and the tempered softmax of the logits if the gradient needs it."""
    rows = as_rows(full_precision(logits))
    index, wanted = target.long().flatten(), is_differentiated(rows)
    inputs = rows.detach(), index, t1, t2, label_smoothing, wanted
    loss, found = naming_the_target(_loss_and_gradient, inputs, index, rows.shape[1])
    if found is None:
        return shaped_as(loss, target), None
    gradient, p = found
    return shaped_as(with_gradient(loss, rows, gradient), target), (p if logits.ndim == 2 else p.reshape(logits.shape))


def _project(z: Tensor, t: float, static: bool) -> Tensor:
    """Return the tempered softmax for ``t > 1``, in a fixed number of steps if ``static``. TorchScript compiles it."""
    behind = _behind(z, t)
    shift = _shift_by_newton(behind, t, tolerance=1e-7, steps=12 if static else 0)  # _STEPS_OF_FLOAT64
    return _at_shift(behind, shift, t)[1]


def _tempered(logits: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``log q``, ``q`` and a multiple of ``q**t`` for ``q = exp_t(z - lambda)``, of which each row sums to 1."""
    z = logits.to(summation_dtype(logits.device))
    if t == 1.0:
        log_q = z.log_softmax(dim=-1)
        q = log_q.exp()
        return log_q, q, q
    behind, is_double = _behind(z, t), logits.dtype == torch.float64
    if not is_static(logits):
        shift = _shift_by_newton(behind, t, tolerance=1e-7 if is_double else 1e-3)
    elif is_small(logits) and not is_double and logits.numel() > 0:  # no row: torch does not compile its norms
        shift = _shift_in_few_operators(behind, t)
    else:
        shift = _shift_by_newton(behind, t, steps=_STEPS_OF_FLOAT64 if is_double else _STEPS_OF_FLOAT32)
    return _at_shift(behind, shift, t)


def _behind(z: Tensor, t: float) -> Tensor:
    """Return how far each logit is behind the largest of its row, in units of ``1 / (t - 1)``.

    In these units ``q = (shift + behind)**(1 / (1 - t))``: what has to be found is the ``shift`` of each row, 1 more
    than ``lambda``. Two logits of 0 with ``t = 2`` have ``1 / shift + 1 / shift = 1``, so it is 2, and ``q`` is 0.5.
    """
    return (z.amax(dim=-1, keepdim=True) - z) * (t - 1.0)


def _at_shift(behind: Tensor, shift: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``log q``, ``q`` and a multiple of ``q**t``."""
    base = behind + (shift - 1.0)  # less 1, since log1p keeps the digits where t is close to 1
    # Rounding the shift, which matters where t is close to 1, changes all classes of a row alike: the sum takes it out.
    log_q = base.log1p().div_(1.0 - t).log_softmax(dim=-1)
    q = log_q.exp()
    return log_q, q, q / (base + 1.0)


def _shift_by_newton(behind: Tensor, t: float, tolerance: float = 0.0, steps: int = 0) -> Tensor:
    """Return the shift with which each row of ``q`` sums to 1.

    With ``S`` the sum, ``S**(1 - t)`` is concave and increasing in the shift, nearly straight: Newton's steps from the
    left never pass the root, and there are at most about 9.

    Args:
        tolerance: the last step relative to ``1 + lambda``. What it leaves is about a tenth of its square.
        steps: how many steps are taken where no value may be read; 0 goes on to the tolerance.
    """
    shift = torch.ones_like(behind[..., :1])
    taken = 0
    searching = True
    while searching:
        base = shift + behind
        q = base.pow(1.0 / (1.0 - t))
        total = q.sum(dim=-1, keepdim=True)
        previous = shift
        shift = torch.addcdiv(shift, total.pow(t) - total, (q / base).sum(dim=-1, keepdim=True))
        taken += 1
        if steps > 0:
            searching = taken < steps
        elif taken > 2:
            searching = taken < 64 and bool((shift - previous > tolerance * (shift + (t - 2.0))).any())
    return shift


def _shift_in_few_operators(behind: Tensor, t: float) -> Tensor:
    """The same to the digits of float32, for small inputs on an accelerator, where each operator costs its start.

    Many first shifts are compared at once, and from the best one few steps are left. ``S**(1 - t)`` is a norm of
    ``shift + behind`` with the power ``1 / (1 - t)``, and its slope a quotient of two norms: six operators a step.
    """
    power = 1.0 / (1.0 - t)
    base = behind + _best_of_many_shifts(behind, t)
    for _ in range(_STEPS_FROM_BEST):
        norm = torch.linalg.vector_norm(base, power, dim=-1, keepdim=True)
        of_slope = torch.linalg.vector_norm(base, power - 1.0, dim=-1, keepdim=True)
        base = torch.addcmul(base, 1.0 - norm, (norm / of_slope).pow(power - 1.0))
    return base.amin(dim=-1, keepdim=True)  # the largest logit is behind by 0


def _best_of_many_shifts(behind: Tensor, t: float) -> Tensor:
    """Return the largest of some shifts that is not right of the root.

    They grow by a constant factor from 1, the least shift there is, to ``C**(t - 1)``, the largest, that of ``C`` equal
    logits. For 10 classes, ``t = 2`` and 4 shifts: 1, 2.2, 4.6 and 10.
    """
    # By the base and not by a logarithm, which the compiler of torch 2.4 does not take of a size.
    shifts = torch.logspace(
        0.0, t - 1.0, _SHIFTS, base=float(behind.shape[-1]), dtype=behind.dtype, device=behind.device
    )
    shifts = shifts.view(_SHIFTS, *[1] * behind.dim())
    norms = torch.linalg.vector_norm(shifts + behind, 1.0 / (1.0 - t), dim=-1, keepdim=True)
    return shifts.masked_fill(norms > 1.0, 1.0).amax(dim=0)


def _loss_and_gradient(
    logits: Tensor, target: Tensor, t1: float, t2: float, label_smoothing: float, wanted: bool
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Loss ``[N]`` and its gradient and probabilities ``[N, C]``, if they are wanted, for logits ``[N, C]``.

    With ``d = (q - y) q**(t2 - t1)`` and the escort distribution ``e = q**t2 / sum q**t2``, it is ``d - e sum d``.
    """
    log_q, q, slope = _tempered(logits, t2)
    index = target.unsqueeze(1)
    y: Tensor | None = None
    masses: Tensor | float = 1.0
    if label_smoothing:
        y = _smoothed(~logits.isneginf(), index, label_smoothing, q.dtype)
        masses = (y ** (2 - t1)).sum(dim=1)
        agreement = torch.where(y > 0, y * (_log_t(log_q, t1) - _log_t(y.log(), t1)), 0).sum(dim=1)
    else:
        agreement = _log_t(log_q.gather(1, index), t1).squeeze(1)
    loss = (_power(q, log_q, 2 - t1).sum(dim=1) - masses) / (2 - t1) - agreement
    # Rounding may leave a loss of 0 a little below it.
    loss = loss.clamp_min(0).to(logits.dtype)
    if not wanted:
        return loss, None
    wrong = q.scatter_add(1, index, q.new_full(index.shape, -1)) if y is None else q - y
    direction = wrong * _power(q, log_q, t2 - t1) if t2 > t1 else wrong
    share = direction.sum(dim=1, keepdim=True) / slope.sum(dim=1, keepdim=True)
    gradient = torch.addcmul(direction, slope, share, value=-1)
    return loss, (gradient.to(logits.dtype), q.to(logits.dtype))


def _power(q: Tensor, log_q: Tensor, exponent: float) -> Tensor:
    """``q**exponent``: one operator on an accelerator, two on a CPU, which together take less time there."""
    return q.pow(exponent) if is_on_accelerator(q) else (exponent * log_q).exp()


def _smoothed(competing: Tensor, index: Tensor, label_smoothing: float, dtype: torch.dtype) -> Tensor:
    """Return labels of which a part is spread over the classes that compete, those that are not masked."""
    y = competing * (label_smoothing / competing.sum(dim=1, keepdim=True).to(dtype))
    return y.scatter_add(1, index, y.new_full((), 1 - label_smoothing).expand(index.shape))


def _log_t(log_u: Tensor, t: float) -> Tensor:
    """``(u**(1 - t) - 1) / (1 - t)`` of ``log u``."""
    return log_u if t == 1 else torch.expm1((1 - t) * log_u) / (1 - t)
