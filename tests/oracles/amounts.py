"""Poisson and Tweedie by their textbook formulas, with the mean as ``exp`` that goes on as a line from 60."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import Declared, Function

# What a declared loss of the family needs of its feature.
_AS_THEY_ARE = {"preprocessing": {"normalization": None}}


def _exp(x: Tensor) -> Tensor:
    return torch.where(x < 60, x.clamp(max=60).exp(), math.exp(60) * (x - 59))


def log_link_mean(logits: Tensor) -> Tensor:
    return _exp(logits)


def poisson_nll_loss(logits: Tensor, target: Tensor) -> Tensor:
    factorial = torch.tensor([math.lgamma(y + 1) for y in target.flatten().tolist()], dtype=torch.float64)
    return _exp(logits) - target * logits + factorial.reshape(target.shape)


def poisson_deviance(logits: Tensor, target: Tensor) -> Tensor:
    y = target.to(logits)
    return 2 * (torch.special.xlogy(y, y) - y * logits - y + _exp(logits))


def tweedie_loss(logits: Tensor, target: Tensor, *, power: float = 1.5) -> Tensor:
    y, p = target.to(logits), power
    if p == 1:
        return poisson_deviance(logits, target) / 2
    if p == 2:
        return y * _exp(-logits) + logits - y.log() - 1
    of_target = y ** (2 - p) / ((1 - p) * (2 - p))
    return of_target - y * _exp(logits * (1 - p)) / (1 - p) + _exp(logits * (2 - p)) / (2 - p)


def _counts(draw: hostile.Draw, shape: inputs.Shape, classes: int) -> Tensor:
    return draw.integers(draw.choice((2, 2, 3, 100)), *shape)


def _powers(draw: hostile.Draw) -> float:
    return draw.choice((1.0, 1.25, 1.5, 1.75))


def counts(shape: inputs.Shape, generator: torch.Generator) -> Tensor:
    """A number above 0 for each logit."""
    return inputs.amounts((*shape, 1), generator) + 0.01


def _fitting(numbers: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient is as large as the mean, and has to fit float16."""
    return numbers.clamp(-9, 9) if dtype == torch.float16 else numbers


def _scale(case: Any) -> Tensor:
    """The two terms of the gradient cancel where the mean is the target."""
    return (
        case.target.double().max().clamp_min(1) if case.target is not None and case.target.numel() else torch.ones(())
    )


_LOGARITHMS = hostile.Kind(hostile.ELEMENTS.shape, None, maskable=False, values=_fitting, labels=_counts)
_WRONG = (((4,), (3,)), ((4, 3), (4,)), ((4,), (4, 1)), ((2, 3), (6,)), ((), (1,)))

FUNCTIONS = {
    "poisson_nll_loss": Function(
        cases=inputs.each(counts, ((7,), (4, 3), (2, 3, 4)), {}),
        hostile=hostile.Subject(_LOGARITHMS, scale=_scale),
        wrong_shapes=_WRONG,
    ),
    "poisson_deviance": Function(hostile=hostile.Subject(_LOGARITHMS, scale=_scale)),
    "tweedie_loss": Function(
        cases=inputs.each(counts, ((7,), (4, 3), (2, 3, 4)), {"power": 1.5}, {"power": 1.0}, {"power": 2.0}),
        hostile=hostile.Subject(_LOGARITHMS, {"power": _powers}, scale=_scale),
        wrong_shapes=_WRONG,
        out_of_range=(
            ({"power": 0.9}, r"power must be a number in \[1, 2\]; got 0.9"),
            ({"power": 3}, r"power must be a number in \[1, 2\]; got 3"),
        ),
        no_number=({"power": "1.5"}, {"power": None}),
    ),
    "log_link_mean": Function(hostile=hostile.Subject(_LOGARITHMS, has_target=False)),
}

_BY_LOSS = (("number", {}, "loss"),)

LOSSES = {
    "poisson_nll_loss": Declared(output=_AS_THEY_ARE, needs_the_user=True, validates_by=_BY_LOSS),
    "tweedie_loss": Declared(output=_AS_THEY_ARE, needs_the_user=True, changes={"power": 1.2}, validates_by=_BY_LOSS),
}
