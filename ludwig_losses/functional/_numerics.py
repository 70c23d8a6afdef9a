"""Numerical helpers that every loss shares."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from ludwig_losses._ranges import range_text
from ludwig_losses.functional._elementwise import (
    ValueAndSlope,
    are_transforms_active,
    bits_as,
    elementwise,
    is_transformed,
)


def full_precision(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32, or unchanged when it is float64 already."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def full_precision_products(device: torch.device) -> AbstractContextManager:
    """Return a context in which autocast, where it is on, does not take products in half precision."""
    enabled = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if enabled else nullcontext()


def summation_dtype(device: torch.device) -> torch.dtype:
    """Return the type for sums that must not lose digits: float64, which Apple's GPUs do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


_T = TypeVar("_T")

# An ignore_index that no target has, so that cross_entropy ignores none: its default, -100, is an error here.
_NO_INDEX = -(2**62)

# From here on log(1 + exp(x)) is x, to the last digit of float64.
LINEAR = 40.0

# Below this many elements operator overhead dominates.
_SMALL = 2**14

# Elements that are computed at a time on a CPU: 0.5 MB of float32, so that the temporaries stay in its cache, and still
# enough for every thread.
_BLOCK = 2**17

# Devices where reading a value does not synchronise.
HOST_DEVICES = frozenset({"cpu"})


def is_static(tensor: Tensor) -> bool:
    """True if the path must not depend on values (accelerator, compile, functorch).

    On a CPU a loss may read values, in order to skip work or to stop early. Reading a value of an accelerator makes the
    CPU wait, and while torch compiles, exports or maps a function there are no values: then every shape and every
    number of steps is known beforehand. All losses ask here.
    """
    return torch.compiler.is_compiling() or is_on_accelerator(tensor) or are_transforms_active()


def is_on_accelerator(tensor: Tensor) -> bool:
    """True if reading a value of the tensor makes the CPU wait for another device."""
    return tensor.device.type not in HOST_DEVICES


def elements_per_block(tensor: Tensor, on_cpu: int, on_accelerator: int) -> int:
    """Return how many elements are computed at a time: few, which fit the cache of a CPU, or enough for an
    accelerator."""
    return on_accelerator if is_on_accelerator(tensor) else on_cpu


def is_small(tensor: Tensor) -> bool:
    """True if operator overhead dominates, so that the fewest operators are the fastest way, whatever their memory."""
    return tensor.numel() <= _SMALL


def as_rows(x: Tensor) -> Tensor:
    """Return ``[..., C]`` as ``[N, C]``, itself where it is so: a view would be one more step of a backward pass."""
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def shaped_as(loss: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each of ``N`` rows in the shape of the ``N`` targets, itself where it is so."""
    return loss if target.ndim == 1 else loss.reshape(target.shape)


def as_uint8(mask: Tensor) -> Tensor:
    """Return 1 where the mask is true, else 0, in the memory of the mask; while torch compiles as a conversion, since
    the compiler of torch 2.11 cannot view bool as uint8."""
    return mask.to(torch.uint8) if torch.compiler.is_compiling() else bits_as(mask, torch.uint8)


def as_input(x: Tensor) -> Tensor:
    """Return what the ``forward`` of a custom function gets, without a graph while torch compiles.

    The compiler of torch 2.4 leaves it in one, in which no operator may write into memory that is there (``out=``).
    """
    return x.detach() if torch.compiler.is_compiling() else x


def as_output(x: Tensor) -> Tensor:
    """Return what a custom function computed, as a tensor of its own while torch compiles.

    The compiler of torch 2.11 loses the gradient of an output that was changed in place.
    """
    return x.clone() if torch.compiler.is_compiling() else x


def indicator(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where the mask is true, else 0; torch converts uint8 ten times as fast as bool."""
    return as_uint8(mask).to(dtype)


def count_true(mask: Tensor) -> int:
    """Return how many elements are true. Count with NumPy: on a CPU ten times faster."""
    return int(np.count_nonzero(mask.numpy()) if _is_on_cpu(mask) else mask.count_nonzero())


def count_true_of_rows(mask: Tensor) -> list[int]:
    """Return how many elements of each row of ``[R, N]`` are true."""
    return [int(np.count_nonzero(row)) for row in mask.numpy()] if _is_on_cpu(mask) else mask.sum(dim=1).tolist()


def equal_rows(rows: Tensor) -> Tensor:
    """Return a number for each row of ``[B, D]``, the same for equal rows."""
    if not is_static(rows):
        return rows.unique(dim=0, return_inverse=True)[1]
    same = torch.ones(len(rows), len(rows), dtype=torch.bool, device=rows.device)
    for column in rows.unbind(dim=1):
        same = same & (column.unsqueeze(1) == column)
    # The number of a row is the first row that is equal; a row with a NaN is equal to itself only.
    return same.fill_diagonal_(True).int().argmax(dim=1)


def true_indices(mask: Tensor) -> Tensor:
    """Return the indices of the true elements in the flat mask, in ascending order; NumPy finds few in many sooner."""
    return torch.from_numpy(np.flatnonzero(mask.numpy())) if _is_on_cpu(mask) else mask.view(-1).nonzero().squeeze(1)


def _is_on_cpu(mask: Tensor) -> bool:
    """True if NumPy can read the tensor in place."""
    return mask.device.type == "cpu"


def class_logits(logits: Tensor) -> Tensor:
    """Return one logit per class, ``[B, C]``: for single logits ``[B]`` the pairs ``[0, z]``, of the same sigmoid."""
    return torch.stack([torch.zeros_like(logits), logits], dim=-1) if logits.dim() == 1 else logits


def unit_rows(rows: Tensor, *, zero_norm: float) -> tuple[Tensor, Tensor]:
    """Scale each row of ``[B, D]`` to length 1, and return what it was divided by, ``[B, 1]``.

    Squares neither over- nor underflow: few rows are summed in a wider type, and others are divided by their largest
    element first.

    Args:
        zero_norm: rows that are no longer than this count as 0 and are divided by 1.
    """
    if rows.shape[1] == 0:
        return rows, rows.new_ones(len(rows), 1)
    wide = summation_dtype(rows.device)
    if is_small(rows) and rows.dtype != wide:
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=wide)
        length = length.masked_fill(length <= zero_norm, 1.0)
        return (rows / length).to(rows.dtype), length
    largest = torch.linalg.vector_norm(rows, torch.inf, dim=1, keepdim=True)
    largest = largest.masked_fill(largest <= zero_norm, 1.0)
    scaled = rows / largest
    # Less than 1 only where a row counts as 0.
    norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True).clamp_min_(1)
    return scaled / norm, largest * norm


def check_number(
    name: str,
    value: float,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float = sys.float_info.max,
) -> None:
    """Raise unless a hyperparameter is a finite number in its range; ``above`` excludes its bound.

    This and the other checks look at what is known before anything is computed (types, shapes, hyperparameters), so
    they cost nothing under ``torch.compile``.

    Raises:
        TypeError: ``value`` is no number.
        ValueError: it is out of range.
    """
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        raise TypeError(f"{name} must be a number{_range(minimum, above, maximum)}; got {value!r}.")
    low = value >= minimum if minimum is not None else above is None or value > above
    if not (low and value <= maximum):
        raise ValueError(f"{name} must be a number{_range(minimum, above, maximum)}; got {value}.")


def _range(minimum: float | None, above: float | None, maximum: float) -> str:
    return range_text(minimum, above, None if maximum == sys.float_info.max else maximum)


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise ``TypeError`` unless a tensor is of real floating-point numbers."""
    if not tensor.dtype.is_floating_point:
        raise TypeError(f"{name} must be of a floating-point type; got {tensor.dtype}.")


def check_indices(name: str, tensor: Tensor) -> None:
    """Raise ``TypeError`` unless a tensor is of whole numbers (or bool): 0.3 of a class would become class 0."""
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        raise TypeError(f"{name} must be of an integer type; got {tensor.dtype}. Convert whole numbers with .long().")


def check_whole_numbers(name: str, tensor: Tensor, *, missing: bool = False) -> None:
    """Raise unless a tensor is of whole numbers, of any real type: 0.3 of a label is none.

    Integers and bool cost nothing. Floating-point values are read where that does not synchronise.

    Args:
        missing: whether NaN stands for a missing one.

    Raises:
        TypeError: the tensor is complex.
        ValueError: some number is no whole one.
    """
    if tensor.dtype.is_complex:
        raise TypeError(f"{name} must be bool or of a real number type; got {tensor.dtype}.")
    if tensor.dtype.is_floating_point and not is_static(tensor):
        whole = tensor.trunc()
        if torch.equal(tensor, whole):  # the fastest way to ask
            return
        wrong = tensor[(tensor != whole) & ~(tensor.isnan() & missing)]
        if len(wrong):
            raise ValueError(f"{name} must be whole numbers; got {wrong[0].item():g}.")


def naming_the_target(
    look_up: Callable[..., _T],
    inputs: tuple,
    target: Tensor,
    classes: int,
    ignore_index: int | Sequence[int] | None = None,
    *,
    can_ignore: bool = True,
) -> _T:
    """Return ``look_up(*inputs)``, in which torch looks up targets; one that is no class is an error that names it.

    Torch's own error names an index and a dimension. On an accelerator it stays torch's, and comes later. Values are
    read only after an error, so this costs nothing.
    """
    if torch.compiler.is_compiling():
        return look_up(*inputs)
    try:
        return look_up(*inputs)
    except (IndexError, RuntimeError):
        if not is_static(target):
            check_classes(target, classes, ignore_index, can_ignore=can_ignore)
        raise


def check_classes(
    target: Tensor, classes: int, ignore_index: int | Sequence[int] | None = None, *, can_ignore: bool
) -> None:
    """Raise ``IndexError`` unless all targets that are not ignored are classes; their values are read.

    Args:
        can_ignore: whether the loss has an ``ignore_index`` that could name further numbers.
    """
    counted = is_counted(target, ignore_index)
    target = target if counted is None else target[counted]
    if target.numel() > 0:
        low, high = target.aminmax()
        check_range(int(low), int(high), classes, can_ignore=can_ignore)


def check_range(low: int, high: int, classes: int, *, can_ignore: bool) -> None:
    """Raise ``IndexError`` unless the lowest and the highest target are classes; see :func:`check_classes`."""
    if low >= 0 and high < classes:
        return
    value = low if low < 0 else high
    hint = f" If such elements shall not count, name them: ignore_index={value}." if can_ignore else ""
    raise IndexError(
        f"target has the value {value}, which is out of range: the {classes} classes are numbered from 0.{hint}"
    )


def check_per_class(name: str, values: Tensor | None, classes: int) -> None:
    """Raise unless there is one real number for each class, or ``None``.

    Raises:
        TypeError: ``values`` is no tensor of real numbers.
        ValueError: they are more or fewer.
    """
    if values is None:
        return
    if not isinstance(values, Tensor) or values.dtype.is_complex:
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name} must be a tensor of {classes} numbers; got {got}.")
    if values.shape != (classes,):
        raise ValueError(
            f"{name} must have one number for each of the {classes} classes; got a tensor of shape "
            f"{tuple(values.shape)}."
        )


def check_class_logits(logits: Tensor, target: Tensor, class_dim: int) -> None:
    """Raise unless ``target`` has class indices in the shape of ``logits`` without its class dimension.

    Raises:
        TypeError: the logits are no floating-point numbers, or the targets no integers.
        ValueError: the shapes do not fit.
    """
    check_floating("logits", logits)
    check_indices("target", target)
    exists = -logits.ndim <= class_dim < logits.ndim
    shape = list(logits.shape)
    if exists:
        shape.pop(class_dim)
    if not exists or list(target.shape) != shape:
        raise ValueError(
            f"target must have the shape of logits without its class dimension (dim {class_dim}); "
            f"got logits {tuple(logits.shape)} and target {tuple(target.shape)}."
        )


def check_element_logits(logits: Tensor, target: Tensor) -> None:
    """Raise unless ``target`` has a number, of any real type, for each logit.

    Raises:
        TypeError: the logits are no floating-point numbers, or the target is complex.
        ValueError: the shapes differ.
    """
    check_floating("logits", logits)
    if target.dtype.is_complex:
        raise TypeError(f"target must be bool or of a real number type; got {target.dtype}.")
    if logits.shape != target.shape:
        raise ValueError(
            f"target must have the shape of logits; got logits {tuple(logits.shape)} and target {tuple(target.shape)}."
        )


def sign_of_negatives(target: Tensor, dtype: torch.dtype) -> Tensor:
    """Return -1 for each target that is not 0, else 1, which takes a logit to that of the class that is not true.

    Raises:
        ValueError: some target is no whole number (looked at where that does not synchronise).
    """
    if target.dtype == dtype and not is_static(target):
        sign = torch.rsub(target, 1, alpha=2)
        if torch.equal(sign, sign.reciprocal()):  # for 0s and 1s only, and in the fewest operators
            return sign
    check_whole_numbers("target", target)
    return minus_where(target.to(torch.bool), dtype)


def minus_where(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return -1 where the mask is true, else 1: a factor starts fewer operators than a choice between -z and z."""
    return torch.rsub(indicator(mask, dtype), 1, alpha=2)


def false_sign_nll(z: Tensor) -> Tensor:
    """Return ``-log sigmoid(-z)``, for the full-precision logits of what is not true."""
    return softplus(z, threshold=LINEAR)


def ignored_classes(ignore_index: int | Sequence[int] | None) -> Sequence[int]:
    """Return the classes that an ``ignore_index`` names: one, several or none.

    Raises:
        TypeError: something is no whole number.
    """
    if ignore_index is None:
        return ()
    given: Any = (ignore_index,) if isinstance(ignore_index, Integral) else ignore_index
    if isinstance(given, (str, float, Tensor)) or not all(isinstance(index, Integral) for index in given):
        raise TypeError(f"ignore_index must be a whole number, a list of them, or None; got {ignore_index!r}.")
    return tuple(map(operator.index, given))


def is_counted(target: Tensor, ignore_index: int | Sequence[int] | None) -> Tensor | None:
    """Return which targets are none of the ignored classes, or ``None`` if no class is ignored."""
    if ignore_index is None:
        return None
    # In int64: compared with uint8 targets, -100 would become 156.
    target = target.long()
    counted = torch.ones_like(target, dtype=torch.bool)
    for index in ignored_classes(ignore_index):
        counted = counted & (target != index)
    return counted


def count_images(target: Tensor, ignore_index: int | Sequence[int] | None) -> int | Tensor:
    """Return how many of the images ``[B, ...]`` have a pixel that is none of the ignored classes."""
    counted = is_counted(target, ignore_index)
    return len(target) if counted is None else counted.unsqueeze(-1).flatten(1).any(dim=1).sum()


def loss_where_counted(
    loss: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    target: Tensor,
    ignore_index: int | Sequence[int] | None,
    class_dim: int,
    further: int = 0,
) -> Tensor:
    """Return ``loss(logits, target)`` per element, 0 with a gradient of 0 where the target is an ignored class.

    Ignored targets need not be classes (255, -100). They are replaced by the most probable class, whose loss is finite.
    Ignored logits that have none (NaN, infinite, or all masked) are replaced by 0.

    Args:
        further: how many more classes there are than logits.
    """
    inputs = loss, logits, target, ignore_index, class_dim
    return naming_the_target(_loss_where_counted, inputs, target, logits.shape[class_dim] + further, ignore_index)


def _loss_where_counted(
    loss: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    target: Tensor,
    ignore_index: int | Sequence[int] | None,
    class_dim: int,
) -> Tensor:
    counted = is_counted(target, ignore_index)
    if counted is None:
        return loss(logits, target)
    largest, most_probable = logits.detach().max(dim=class_dim)
    senseless = ~(counted | largest.isfinite())
    if is_static(senseless) or senseless.any():  # else no copy of the logits
        logits = logits.masked_fill(senseless.unsqueeze(class_dim), 0.0)
    return torch.where(counted, loss(logits, torch.where(counted, target.long(), most_probable)), 0)


def class_nll(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``-log softmax(logits)`` for every class, 0 for masked (``-inf``) ones, and which are masked.

    Args:
        logits: ``[B, C, ...]``.

    Returns:
        ``[B, C, ...]`` in float32 (float64 for float64 logits), and ``[B, C, ...]``.
    """
    logits = full_precision(logits)
    masked = logits.isneginf()
    return (-logits.log_softmax(dim=1)).masked_fill(masked, 0.0), masked


def infinite_where_masked(loss: Tensor, masked: Tensor, index: Tensor, label_smoothing: float) -> Tensor:
    """Return the loss of a smoothed label, infinite (with a gradient of 0) where the true class is a masked one.

    With a smoothing of 1 the true class has no part in the label, and the loss stays finite.
    """
    return loss if label_smoothing == 1 else loss.masked_fill(masked.gather(1, index).squeeze(1), torch.inf)


def true_class_loss(logits: Tensor, target: Tensor, of_nll: ValueAndSlope, parameter: Any) -> Tensor:
    """Return a loss that is a function of ``nll = -log softmax(logits)[target]``, per element.

    Args:
        logits: ``[B, C, ...]``.
        target: ``[B, ...]``.
        of_nll: from ``nll`` and ``parameter`` to the loss and its derivative by ``nll``.
    """
    logits, target = full_precision(logits), target.long()
    if is_small(logits) or is_transformed(logits):
        return each_element_loss(true_class_nll(logits, target), of_nll, parameter)
    return _TrueClassLoss.apply(logits, target, of_nll, parameter)


def sigmoid_loss(z: Tensor, target: Tensor, of_nll: ValueAndSlope, parameter: Any) -> Tensor:
    """Return a loss that is a function of ``nll = -log sigmoid(z)`` of a positive, ``-log sigmoid(-z)`` of a negative.

    Args:
        z: full-precision logits, one per element.
        target: the same shape; what is not 0 is positive.
        of_nll: from ``nll`` and ``parameter`` to the loss and its derivative by ``nll``.
    """
    if is_small(z):
        return each_element_loss(sigmoid_nll(z, target), of_nll, parameter)
    return each_element_loss(z, _of_sigmoid_nll, (of_nll, parameter), target)


def sigmoid_nll(z: Tensor, target: Tensor) -> Tensor:
    """Return ``-log sigmoid(z)`` of a positive, ``-log sigmoid(-z)`` of a negative, for full-precision logits."""
    return false_sign_nll(z * sign_of_negatives(target, z.dtype))


def _of_sigmoid_nll(z: Tensor, parameter: tuple[ValueAndSlope, Any], target: Tensor) -> tuple[Tensor, Tensor]:
    of_nll, options = parameter
    sign = sign_of_negatives(target, z.dtype)
    wrong_way = z * sign
    loss, slope = of_nll(false_sign_nll(wrong_way), options)
    return loss, wrong_way.sigmoid() * sign * slope


def true_class_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``-log softmax(logits)[target]`` per element, for full-precision logits ``[B, C, ...]``."""
    return cross_entropy(logits, target.long(), reduction="none", ignore_index=_NO_INDEX)


def each_element_loss(x: Tensor, of: ValueAndSlope, parameter: Any, *tensors: Tensor) -> Tensor:
    """Return the same function of every element of ``x``, and of tensors of its shape, with the derivative that
    ``of(x, parameter, *tensors)`` gives."""
    if is_transformed(x):
        return elementwise(of, x, parameter, *tensors)
    return _EachElementLoss.apply(x, of, parameter, *tensors)


class _EachElementLoss(torch.autograd.Function):
    """Computes the derivative along with the loss, and keeps it in place of all temporaries.

    On a CPU many elements are computed in blocks, whose temporaries stay in its cache.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, of: Callable, parameter: Any, *tensors: Tensor) -> Tensor:
        """Return the loss, and keep its derivative by ``x``."""
        if x.numel() > _BLOCK and not is_static(x):
            loss, slope = _in_blocks(of, x, parameter, *tensors)
        else:
            loss, slope = of(x, parameter, *tensors)
        ctx.save_for_backward(x, slope, *tensors)
        ctx.of, ctx.parameter = of, parameter
        return as_output(loss)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply with the derivative by ``x``."""
        x, slope, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative
            _, slope = ctx.of(x, ctx.parameter, *tensors)
        return grad * slope, None, None, *[None for _ in tensors]


def _in_blocks(of: Callable, x: Tensor, parameter: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    loss, slope = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
    blocks = zip(*(each.reshape(-1).split(_BLOCK) for each in (loss, slope, x, *tensors)), strict=True)
    for of_loss, of_slope, *inputs in blocks:
        value, derivative = of(inputs[0], parameter, *inputs[1:])
        of_loss.copy_(value)
        of_slope.copy_(derivative)
    return loss, slope


class _TrueClassLoss(torch.autograd.Function):
    """Keeps one tensor of the logits' size and makes one, the gradient ``slope (p - e_y)``; not torch's two."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, of_nll: Callable, parameter: Any) -> Tensor:
        """Return the loss, and keep its derivative by the ``nll`` of the true class."""
        log_p = logits.log_softmax(dim=1)
        loss, slope = of_nll(_nll(log_p, target), parameter)
        ctx.save_for_backward(logits, target, log_p, slope)
        ctx.of_nll, ctx.parameter = of_nll, parameter
        return as_output(loss)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient by the logits."""
        logits, target, log_p, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, of what depends on the logits
            log_p = logits.log_softmax(dim=1)
            _, slope = ctx.of_nll(_nll(log_p, target), ctx.parameter)
        by_log_p = torch.zeros_like(log_p).scatter_(1, target.unsqueeze(1), (-grad * slope).unsqueeze(1))
        return log_softmax_backward(by_log_p, log_p), None, None, None


def _nll(log_p: Tensor, target: Tensor) -> Tensor:
    return -log_p.gather(1, target.unsqueeze(1)).squeeze(1)


def log_softmax_backward(grad: Tensor, log_p: Tensor) -> Tensor:
    """Return the gradient by the logits, in the memory of ``grad`` (unless it is to be differentiated again)."""
    if torch.is_grad_enabled():
        return grad - log_p.exp() * grad.sum(dim=1, keepdim=True)
    return torch.ops.aten._log_softmax_backward_data.out(grad, log_p, 1, grad.dtype, out=grad)


def softmax_backward(grad: Tensor, p: Tensor) -> Tensor:
    """Return the gradient by the logits, in the memory of ``grad`` (unless it is to be differentiated again)."""
    if torch.is_grad_enabled():
        return p * (grad - (p * grad).sum(dim=1, keepdim=True))
    return torch.ops.aten._softmax_backward_data.out(grad, p, 1, grad.dtype, grad_input=grad)


def weighted_mean(loss: Tensor, weight: Tensor | None = None, total: Tensor | None = None) -> Tensor:
    """Mean of a per-element loss; with weights ``sum(w * l) / sum(w)``, as ``torch.nn.CrossEntropyLoss`` does.

    An empty loss, or weights that are all zero, give 0 with a zero gradient. The result is 0-dimensional. ``total`` is
    the sum of the weights, where it is known.
    """
    if weight is None:
        # Not "if loss.numel()", for which the compiler of torch 2.4 makes a number of a size that is a symbol.
        return loss.mean() if loss.numel() > 0 else loss.sum()
    total = weight.sum() if total is None else total
    return (weight * loss).sum() / torch.where(total > 0, total, 1)
