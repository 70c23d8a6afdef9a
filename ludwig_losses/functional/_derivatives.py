"""Derivatives in closed form, of values that are computed without a graph: in reverse and in forward mode.

*What.* Autograd records each operator of a loss and differentiates them one after the other. For most losses of this
package the derivative is known as a formula, such as ``p - y``. Then value and derivative are computed side by side,
and the result is joined to the logits by one custom function.

*Why.* Fewer operators, less memory, and digits that a chain of derivatives would lose.

*Example.* ``value = z**2`` with the derivative ``2 z``:

>>> z = torch.tensor([1.0, 3.0], requires_grad=True)
>>> value = with_gradient(z.detach() ** 2, z, 2 * z.detach())
>>> value.sum().backward()
>>> z.grad
tensor([2., 6.])

A custom function keeps its derivative under ``torch.func`` and in forward mode if it says how: that is what
:class:`CustomFunction` is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ludwig_losses.functional._elementwise import are_transforms_active
from ludwig_losses.functional._numerics import as_input, is_static


def is_differentiated(x: Tensor) -> bool:
    """Whether someone may ask for a derivative by ``x``, in reverse or in forward mode."""
    if torch.is_grad_enabled() and x.requires_grad:
        return True
    return not torch.compiler.is_compiling() and forward_ad.unpack_dual(x).tangent is not None


def with_gradient(value: Tensor, x: Tensor, gradient: Tensor, *, linear: bool = False) -> Tensor:
    """Return ``value`` with a derivative by ``x``, differentiable once: a second derivative is an error, and not 0.

    Args:
        value: ``[]`` or ``[N]``.
        x: ``[...]``, or ``[N, ...]`` if each value depends on its own row only.
        gradient: the derivative of the values, in the shape of ``x``.
        linear: whether the values are piecewise linear in ``x``. Then the gradient is a constant, and there are
            derivatives of every order.
    """
    return _GRADIENT.apply(value, x, gradient, linear)


def differentiable_once(gradient: Tensor, x: Tensor) -> Tensor:
    """Return a gradient by ``x`` whose own derivative by ``x`` is an error, and not 0."""
    return _DifferentiableOnce.apply(gradient, x) if torch.is_grad_enabled() else gradient


def with_escort_derivative(
    project: Callable[[Tensor, float, bool], Tensor], z: Tensor, parameter: float, power: float
) -> Tensor:
    """Return the projection ``p`` of logits with its derivatives of every order.

    For ``p_i = f(z_i - tau)`` with the ``tau`` that makes the row sum to 1, and ``f' = f**power``, the implicit
    function theorem gives ``dp = s (dz - <s, dz> / <s, 1>)`` with ``s = p**power``. So it is for entmax
    (``power = 2 - alpha``) and for the tempered softmax (``power = t``).

    Args:
        project: computes the projection of logits ``[..., C]`` from its parameter, in a fixed number of steps where
            the last argument is true.
    """
    return _PROJECTION.apply(z, project, parameter, power)


def as_projection(p: Tensor, z: Tensor, power: float) -> Tensor:
    """Return the projection ``p`` of logits, which was found before, with the derivatives that
    :func:`with_escort_derivative` gives it."""

    def found_before(z: Tensor, parameter: float, static: bool) -> Tensor:
        """Stand for the computation of the projection, which need not be repeated."""
        return p.detach()

    return _PROJECTION.apply(z, found_before, 0.0, power)


def _escort_product(p: Tensor, power: float, vector: Tensor) -> Tensor:
    """Multiply a vector with the (symmetric) derivative of the projection."""
    outside = p <= 0
    s = p.masked_fill(outside, 1.0).pow(power).masked_fill(outside, 0.0)
    return s * (vector - (s * vector).sum(dim=-1, keepdim=True) / s.sum(dim=-1, keepdim=True))


class CustomFunction:
    """A function with derivatives of its own, in the form that each part of torch takes.

    =====================  =================================================  =======================================
    form                   what torch asks for                                taken
    =====================  =================================================  =======================================
    ``compiled``           no forward mode, which some versions refuse        while ``torch.compile`` traces
    ``transformed``        ``setup_context``, apart from ``forward``          under ``torch.func`` (``vmap``, ``grad``)
    ``eager``              nothing more; ``forward`` keeps what it needs      otherwise
    =====================  =================================================  =======================================

    ``transformed`` would do for ``eager``, too, but for a small loss torch takes longer to call its ``setup_context``
    than the loss takes. So ``eager`` is made of it, with both in one ``forward``.

    Args:
        compiled: has ``forward``, ``setup_context`` and ``backward``.
        transformed: the same, usually a subclass, which adds ``jvp`` (forward mode) and a rule for ``vmap``.
    """

    def __init__(self, *, compiled: type[torch.autograd.Function], transformed: type[torch.autograd.Function]) -> None:
        self.compiled = compiled
        self.transformed = transformed
        self.eager = _with_forward_that_keeps(transformed)

    def apply(self, *inputs: Any) -> Any:
        """Apply the form that fits what torch does now."""
        if torch.compiler.is_compiling():
            # Where nothing is differentiated, torch 2.4 takes a forward without a context for one that has one.
            differentiated = [is_differentiated(each) for each in inputs if isinstance(each, Tensor)]
            if any(differentiated) or are_transforms_active():
                return self.compiled.apply(*inputs)
            return self.compiled.forward(*inputs)
        form = self.transformed if are_transforms_active() else self.eager
        return form.apply(*inputs)


def _with_forward_that_keeps(transformed: type[torch.autograd.Function]) -> type[torch.autograd.Function]:
    """Return the function with a ``forward`` that itself keeps what the derivatives need."""

    class Eager(transformed):  # type: ignore[misc, valid-type]  # A class that is an argument.
        setup_context = torch.autograd.Function.setup_context  # torch's own says that there is none

        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            """Return the output, and keep what the derivatives need."""
            output = transformed.forward(*inputs)
            transformed.setup_context(ctx, inputs, output)
            return output

    return Eager


class _CompiledGradient(torch.autograd.Function):
    @staticmethod
    def forward(value: Tensor, x: Tensor, gradient: Tensor, linear: bool) -> Tensor:
        """Return the value; the gradient is only kept."""
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the gradient, for both modes."""
        ctx.save_for_backward(*inputs[1:3])
        ctx.save_for_forward(*inputs[1:3])
        ctx.rows = output.dim()  # 0, or 1 for a value per row
        ctx.linear = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply the gradient of each value with what comes from above."""
        x, gradient = ctx.saved_tensors
        column = grad.reshape(-1, *[1] * (x.dim() - 1)) if ctx.rows else grad
        by_x = column * gradient
        return None, by_x if ctx.linear else differentiable_once(by_x, x), None, None


class _Gradient(_CompiledGradient):
    generate_vmap_rule = True

    @staticmethod
    def jvp(ctx: Any, _: Any, tangent: Tensor, *others: Any) -> Tensor:
        """Return the derivative of the values along the tangent of ``x``."""
        product = tangent * ctx.saved_tensors[1]
        return product.flatten(ctx.rows).sum(dim=-1)


_GRADIENT = CustomFunction(compiled=_CompiledGradient, transformed=_Gradient)


class _CompiledProjection(torch.autograd.Function):
    @staticmethod
    def forward(z: Tensor, project: Callable[[Tensor, float, bool], Tensor], parameter: float, power: float) -> Tensor:
        """Return the probabilities."""
        return project(as_input(z), parameter, is_static(z))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the probabilities, from which every derivative follows."""
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)
        ctx.power = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply with the derivative, which is symmetric."""
        (p,) = ctx.saved_tensors
        return _escort_product(p, ctx.power, grad), None, None, None


class _Projection(_CompiledProjection):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        """Multiply with the same derivative."""
        (p,) = ctx.saved_tensors
        return _escort_product(p, ctx.power, tangent)

    @staticmethod
    def vmap(info: Any, in_dims: Any, z: Tensor, *parameters: Any) -> tuple[Tensor, int]:
        """Project all at once: what is mapped becomes the first dimension of the rows."""
        return _Projection.apply(z.movedim(in_dims[0], 0), *parameters), 0


_PROJECTION = CustomFunction(compiled=_CompiledProjection, transformed=_Projection)


class _DifferentiableOnce(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, x: Tensor) -> Tensor:
        """Return a copy of the gradient."""
        return gradient.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Refuse the second derivative."""
        raise RuntimeError("This loss is differentiable once: its gradient has no derivative.")

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """Refuse the second derivative, in forward mode."""
        raise RuntimeError("This loss is differentiable once: its gradient has no derivative.")
