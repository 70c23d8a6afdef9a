"""Every public loss, with the options, shapes and oracle that the tests of the shared contract need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

import oracles
from ludwig_losses import functional
from oracles._inputs import (
    MakeTarget,
    Shape,
    class_first,
    class_last,
    consecutive,
    nothing,
    per_element,
    per_row,
    ranks,
)

__all__ = [
    "CASES",
    "Case",
    "Loss",
    "MakeTarget",
    "Shape",
    "assert_close",
    "class_first",
    "class_last",
    "consecutive",
    "gradient_of",
    "per_element",
    "per_row",
    "random_batch",
    "ranks",
    "value_and_gradient",
]

Loss = Callable[[Tensor, "Tensor | None"], Tensor]


def random_batch(
    shape: Shape, make_target: MakeTarget = class_first, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor | None]:
    """Return normal logits with a deviation of 3, and targets; the same ones for the same shape."""
    generator = torch.Generator().manual_seed(sum(shape))
    logits = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits.to(dtype), make_target(shape, generator)


@dataclass(frozen=True)
class Case:
    """A loss with options."""

    name: str
    make_target: MakeTarget
    shapes: tuple[Shape, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> Loss:
        return self._with_options(getattr(functional, self.name))

    @property
    def oracle(self) -> Loss:
        return self._with_options(oracles.ORACLES[self.name])

    def _with_options(self, function: Callable[..., Tensor]) -> Loss:
        if self.make_target is nothing:
            return lambda logits, target: function(logits, **self.options)
        return partial(function, **self.options)

    def batch(self, shape: Shape | None = None, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor | None]:
        """Return random logits, of the last shape unless told otherwise, and targets."""
        logits, target = random_batch(shape or self.shapes[-1], self.make_target, dtype)
        return (logits.abs() if oracles.FUNCTIONS[self.name].of_distances else logits), target

    def __str__(self) -> str:
        shown = [f"{k}={v.tolist() if isinstance(v, Tensor) else v}" for k, v in self.options.items()]
        return "-".join([self.name, *shown, *(["consecutive"] if self.make_target is consecutive else [])])


# The families say what theirs are.
CASES = [
    Case(name, inputs.make_target, inputs.shapes, inputs.options)
    for name, facts in oracles.FUNCTIONS.items()
    for inputs in facts.cases
]


def value_and_gradient(loss: Loss, logits: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the loss and the gradient of its sum, each element weighted differently."""
    leaf = logits.detach().requires_grad_()
    value = loss(leaf, target)
    return value.detach(), gradient_of(value, leaf)


def gradient_of(value: Tensor, leaf: Tensor) -> Tensor:
    """Return the gradient of the sum of a loss, each element weighted differently."""
    weights = torch.linspace(0.5, 1.5, value.numel()).reshape(value.shape).to(value)
    (gradient,) = torch.autograd.grad(value, leaf, weights)
    return gradient


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Assert equal shapes and, whatever the dtypes, values equal to a tolerance relative to the largest of them.

    Losses are sums of terms near 1: the rounding of one that nearly vanishes is relative to those, hence the floor.
    """
    scale = max([0.01, *expected.detach().abs().flatten().tolist()])
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale, check_dtype=False)
