"""A function of each element with its derivative in closed form, as ``torch.func`` and the forward mode take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

# From numbers, a parameter and further tensors to values and their derivative by the numbers, each of its own number.
ValueAndSlope = Callable[..., tuple[Tensor, Tensor]]


def are_transforms_active() -> bool:
    """Whether ``torch.func`` transforms what is computed now."""
    return torch._C._are_functorch_transforms_active()


# While torch.compile traces, the function is called, and its answer taken for a constant. The compiler of torch 2.4
# cannot look into it. This is what torch.compiler.assume_constant_result does, which imports the compiler.
are_transforms_active._dynamo_marked_constant = True  # type: ignore[attr-defined]


def is_transformed(x: Tensor) -> bool:
    """Whether ``torch.func`` transforms what is computed now, or ``x`` has a tangent.

    Functions that keep tensors of their own choice, in order to need little memory, cannot be taken then.
    """
    if are_transforms_active():
        return True
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return False
    return forward_ad.unpack_dual(x).tangent is not None


def bits_as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the same bits as numbers of another type of the same size. Torch up to 2.9 does not map this by itself."""
    return _Bits.apply(x, dtype) if are_transforms_active() else x.view(dtype)


class _Bits(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the view."""
        return x.view(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        """Say that bits have no derivative."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, int | None]:
        """Return the view of all, and where their dimension is."""
        return _Bits.apply(x, dtype), in_dims[0]


def elementwise(of: ValueAndSlope, x: Tensor, parameter: Any, *tensors: Tensor | None) -> Tensor:
    """Return the values of ``of(x, parameter, *tensors)`` with the derivative by ``x`` that it gives.

    The derivative is computed anew from ``x`` where it is needed, so that it has derivatives of its own.
    """
    return _Elementwise.apply(x, of, parameter, *tensors)


class _Elementwise(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, of: ValueAndSlope, parameter: Any, *tensors: Tensor | None) -> Tensor:
        """Return the values."""
        return of(x, parameter, *tensors)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the inputs, for both modes."""
        x, ctx.of, ctx.parameter, *tensors = inputs
        ctx.save_for_backward(x, *tensors)
        ctx.save_for_forward(x, *tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply with the derivative."""
        x, *tensors = ctx.saved_tensors
        return grad * ctx.of(x, ctx.parameter, *tensors)[1], None, None, *[None for _ in tensors]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        """Multiply with the same derivative."""
        x, *tensors = ctx.saved_tensors
        return tangent * ctx.of(x, ctx.parameter, *tensors)[1]
