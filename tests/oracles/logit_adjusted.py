"""Logit-adjusted cross-entropy, Menon et al., ICLR 2021: the softmax with each exponential times ``prior**tau``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import BESIDE_CLASS_WEIGHTS, CLASS_WEIGHTS, Declared, Function
from oracles._rows import per_row


def logit_adjusted_loss(
    logits: Tensor,
    target: Tensor,
    *,
    priors: Tensor | None = None,
    tau: float = 1.0,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    shares = [1.0] * logits.shape[1] if priors is None else priors.tolist()

    def loss(z: Tensor, y: int) -> Tensor:
        favoured = torch.stack([z[c] + tau * math.log(share) for c, share in enumerate(shares)])
        return favoured.logsumexp(0) - favoured[y]

    return per_row(loss, logits, target, class_dim=1, ignore_index=ignore_index)


def sigmoid_logit_adjusted_loss(
    logits: Tensor, target: Tensor, *, priors: Tensor | None = None, tau: float = 1.0
) -> Tensor:
    """Each label is a pair of classes: ``[0, z]``, with the priors ``[1 - pi, pi]``."""
    shares = [0.5] * logits.shape[-1] if priors is None else priors.tolist()
    offsets = torch.tensor([math.log(share) - math.log1p(-share) for share in shares], dtype=torch.float64).to(logits)
    elements = zip((logits + tau * offsets).flatten(), target.flatten().tolist(), strict=True)
    losses = [torch.stack([torch.zeros_like(z), -z if y else z]).logsumexp(0) for z, y in elements]
    return torch.stack(losses).reshape(target.shape) if losses else logits * 0


_PRIORS = torch.tensor([90.0, 1.0, 6.0, 3.0])

_SHARES = torch.tensor([0.5, 0.01, 0.3, 0.9])

FUNCTIONS = {
    "sigmoid_logit_adjusted_loss": Function(
        cases=(
            *inputs.each(inputs.per_element, inputs.ELEMENTS, {}),
            *inputs.each(
                inputs.per_element,
                ((6, 4), (1, 4), (2, 3, 4)),
                {"priors": _SHARES},
                {"priors": _SHARES, "tau": 0.0},
                {"priors": _SHARES, "tau": 2.5},
            ),
        ),
        hostile=hostile.Subject(
            hostile.ELEMENTS,
            {
                "tau": lambda d: d.choice((0.0, 0.5, 1.0, 3.0)),
                "priors": lambda d: 0.001 + 0.998 * d.uniform(d.shape[-1]).float(),
            },
        ),
        wrong_shapes=(((4,), (4, 1)), ((4, 1), (4,)), ((4,), (1,)), ((4,), ())),
        out_of_range=(
            ({"tau": -0.5}, "tau must be a number >= 0; got -0.5"),
            (
                {"priors": torch.ones(7)},
                r"priors must have one number for each of the . classes; got a tensor of shape \(7,\)",
            ),
        ),
        no_number=({"tau": "1"}, {"tau": None}),
        labels={"target": lambda loss, labels: loss(torch.randn(4, 2), labels)},
    ),
    "logit_adjusted_loss": Function(
        cases=(
            *inputs.each(inputs.class_first, inputs.CLASS_FIRST, {}),
            *inputs.each(
                inputs.class_first,
                inputs.CLASS_FIRST_OF_FOUR,
                {"priors": _PRIORS},
                {"priors": _PRIORS, "tau": 0.0},
                {"priors": _PRIORS / 100, "tau": 2.5, "ignore_index": [0, 2]},
            ),
        ),
        hostile=hostile.Subject(
            hostile.CLASS_FIRST,
            {
                "tau": lambda d: d.choice((0.0, 0.5, 1.0, 3.0)),
                "priors": lambda d: d.per_class() + d.choice((1e-6, 0.1)),
                "ignore_index": hostile.Draw.ignored,
            },
        ),
        wrong_shapes=inputs.WRONG_FOR_CLASS_FIRST,
        out_of_range=(
            ({"tau": -0.5}, "tau must be a number >= 0; got -0.5"),
            ({"tau": float("nan")}, "tau must be a number >= 0; got nan"),
            (
                {"priors": torch.ones(7)},
                r"priors must have one number for each of the . classes; got a tensor of shape \(7,\)",
            ),
        ),
        no_number=({"tau": "1"}, {"tau": None}),
        look_ups=(({}, (6, 4)), ({"priors": torch.ones(3)}, (2, 3, 4, 5))),
    ),
}

LOSSES = {
    "logit_adjusted_loss": Declared(
        changes={
            **CLASS_WEIGHTS,
            "ignore_index": "b",
            "tau": 2.0,
            "priors": [0.4, 0.3, 0.2, 0.1],
        },
        of_predictions={"predict": "training"},
        beside=BESIDE_CLASS_WEIGHTS,
        predicts=(
            ("category", {"predict": "training", "priors": [1.0, 2.0, 3.0, 4.0]}),
            ("binary", {"predict": "training", "priors": [0.9, 0.1]}),
        ),
        validates_by=(
            ("category", {"ignore_index": 0}, "loss"),
            ("category", {}, "accuracy"),
            ("binary", {}, "roc_auc"),
            ("set", {"priors": {"a": 0.6, "b": 0.7, "c": 0.3}}, "jaccard"),
        ),
    ),
}
