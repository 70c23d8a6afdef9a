"""Asymmetric loss, Ridnik et al., ICCV 2021: ``-(1 - p)**gamma_pos log p`` for a positive, and for a negative
``-p_m**gamma_neg log(1 - p_m)`` with ``p_m = max(p - clip, 0)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import Declared, Function

if TYPE_CHECKING:
    from functional.hostile import Case


def asymmetric_loss(
    logits: Tensor, target: Tensor, *, gamma_pos: float = 1.0, gamma_neg: float = 4.0, clip: float = 0.05
) -> Tensor:
    def positive(z: Tensor) -> Tensor:
        # As powers of e, whose derivative is finite at 0.
        log_p, log_miss = torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)
        return -(gamma_pos * log_miss).exp() * log_p

    def negative(z: Tensor) -> Tensor:
        log_p, log_rest = torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)
        if z == -torch.inf:
            return 0 * z.nan_to_num(0, 0, 0)
        if not clip:
            return -(gamma_neg * log_p).exp() * log_rest
        shifted = log_p.exp() - clip
        if shifted <= 0:
            return 0 * z
        return -(gamma_neg * shifted.log()).exp() * (log_rest.exp() + clip).log()

    elements = zip(logits.flatten(), target.flatten().tolist(), strict=True)
    losses = [positive(z) if y else negative(z) for z, y in elements]
    return torch.stack(losses).reshape(target.shape) if losses else logits * 0


def _is_nearly_clipped(case: Case) -> bool:
    """The gradient jumps, or bends as a root does, where a probability passes the clip."""
    clip = case.options.get("clip", 0.05)
    return clip > 0 and bool(((case.logits.double().sigmoid() - clip).abs() < 1e-3).any())


_OPTIONS = (
    {},
    {"gamma_pos": 0.0, "gamma_neg": 0.0, "clip": 0.0},
    {"gamma_pos": 2.0, "gamma_neg": 2.0, "clip": 0.0},
    {"gamma_pos": 0.5, "gamma_neg": 0.5, "clip": 0.2},
)

FUNCTIONS = {
    "asymmetric_loss": Function(
        cases=inputs.each(inputs.per_element, inputs.ELEMENTS, *_OPTIONS),
        hostile=hostile.Subject(
            hostile.ELEMENTS,
            {
                "gamma_pos": lambda d: d.choice((0.0, 0.3, 1.0, 2.0, 5.0)),
                "gamma_neg": lambda d: d.choice((0.0, 0.3, 1.0, 4.0)),
                "clip": lambda d: d.choice((0.0, 0.05, 0.3)),
            },
            jumps=_is_nearly_clipped,
        ),
        wrong_shapes=(((4,), (4, 1)), ((4, 1), (4,)), ((4,), (1,)), ((4,), ())),
        out_of_range=(
            ({"gamma_pos": -1}, "gamma_pos must be a number >= 0; got -1"),
            ({"gamma_neg": float("nan")}, "gamma_neg must be a number >= 0; got nan"),
            ({"clip": -0.1}, r"clip must be a number in \[0, 1\]; got -0.1"),
            ({"clip": 1}, "clip must be a number < 1"),
        ),
        no_number=({"gamma_pos": "2"}, {"gamma_neg": None}, {"clip": True}),
        ways=({}, {"clip": 0.0}),
        labels={"target": lambda loss, labels: loss(torch.randn(4, 2), labels)},
    ),
}

LOSSES = {
    "asymmetric_loss": Declared(
        changes={"gamma_pos": 2.0, "gamma_neg": 2.0, "clip": 0.2},
        validates_by=(("set", {}, "jaccard"), ("binary", {}, "roc_auc")),
    ),
}
