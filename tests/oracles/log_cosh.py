"""The logarithm of the cosh, of large errors by its two exponentials."""

from __future__ import annotations

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import Declared, Function


def log_cosh_loss(predictions: Tensor, target: Tensor) -> Tensor:
    u = predictions - target.to(predictions)
    return torch.logaddexp(u, -u) - torch.log(torch.tensor(2.0, dtype=u.dtype))


def numbers(shape: inputs.Shape, generator: torch.Generator) -> Tensor:
    """A number for each prediction."""
    return 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


_NUMBERS = hostile.Kind(hostile.ELEMENTS.shape, None, maskable=False)

FUNCTIONS = {
    "log_cosh_loss": Function(
        cases=inputs.each(numbers, ((7,), (4, 3), (2, 3, 4)), {}),
        hostile=hostile.Subject(_NUMBERS),
        wrong_shapes=(((4,), (3,)), ((4, 3), (4,)), ((4,), (4, 1)), ((2, 3), (6,)), ((), (1,))),
    ),
}

LOSSES = {"log_cosh_loss": Declared(by_command_line=("number",))}
