"""Normal likelihood by ``torch.distributions``; the gradient of the beta-NLL as Seitzer et al. (ICLR 2022) weight it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import Declared, Function


def gaussian_nll_loss(logits: Tensor, target: Tensor, *, beta: float = 0.5) -> Tensor:
    mean, std = mean_and_std(logits).unbind(dim=-1)
    nll = -torch.distributions.Normal(mean, std, validate_args=False).log_prob(target.to(mean))
    weighted = std.detach().square() ** beta * nll
    # The value of one, the gradient of the other.
    return nll.detach() + (weighted - weighted.detach())


def mean_and_std(logits: Tensor) -> Tensor:
    std = torch.logaddexp(logits[..., 1], torch.zeros(()).to(logits)) + 1e-3
    return torch.stack([logits[..., 0], std], dim=-1)


def _amounts(draw: hostile.Draw, shape: inputs.Shape, classes: int) -> Tensor:
    return draw.integers(draw.choice((2, 2, 20)), *shape)


def _fitting(numbers: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient of a sure mean that is wrong has to fit float16."""
    return numbers.clamp(-2, 2) if dtype == torch.float16 else numbers


def _scale(case: Any) -> Tensor:
    """Where a mean is right, terms of the derivative by the standard deviation cancel."""
    return (1 / mean_and_std(case.logits.double())[..., 1]).max() if case.logits.numel() else torch.ones(())


_PAIRS = hostile.Kind(
    lambda draw: (*hostile.CLASS_LAST.shape(draw)[:-1], 2), -1, maskable=False, values=_fitting, labels=_amounts
)

FUNCTIONS = {
    "gaussian_nll_loss": Function(
        cases=inputs.each(inputs.amounts, ((6, 2), (2, 5, 2), (7, 2)), {"beta": 0.0}),
        hostile=hostile.Subject(_PAIRS, {"beta": lambda draw: draw.choice((0.0, 0.25, 0.5, 1.0))}, scale=_scale),
        wrong_shapes=(((4, 2), (3,)), ((4, 2), (4, 1)), ((4, 2), (4, 2)), ((2, 3, 2), (6,)), ((4, 3), (4,)), ((), ())),
        out_of_range=(
            ({"beta": -0.1}, r"beta must be a number in \[0, 1\]; got -0.1"),
            ({"beta": 1.5}, r"beta must be a number in \[0, 1\]; got 1.5"),
        ),
        no_number=({"beta": "half"}, {"beta": None}),
    ),
    "mean_and_std": Function(hostile=hostile.Subject(_PAIRS, has_target=False)),
}

LOSSES = {
    "gaussian_nll_loss": Declared(
        changes={"beta": 0.0},
        by_command_line=("number",),
        validates_by=(("number", {}, "loss"), ("timeseries", {"beta": 0.0}, "loss")),
    ),
}
