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


_PRIORS = torch.tensor([90.0, 1.0, 6.0, 3.0])

FUNCTIONS = {
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
        options={"binary": {"priors": [0.4, 0.6]}},
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
        ),
    ),
}
