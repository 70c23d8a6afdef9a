"""Generalized cross-entropy, Zhang & Sabuncu, NeurIPS 2018, equation 6: ``(1 - p_y**q) / q``."""

from __future__ import annotations

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import BESIDE_CLASS_WEIGHTS, CLASS_WEIGHTS, Declared, Function
from oracles._rows import per_row


def generalized_cross_entropy_loss(
    logits: Tensor, target: Tensor, *, q: float = 0.7, ignore_index: int | list[int] | None = None
) -> Tensor:
    def loss(z: Tensor, y: int) -> Tensor:
        others = z[[c for c in range(len(z)) if c != y and z[c] > -torch.inf]]
        if not len(others):
            return 0 * z[y]
        # p = 1 / (1 + sum_c exp(z_c - z_y)); its power from the logarithm, so that 1 - p**q keeps its digits.
        return -torch.expm1(-q * torch.nn.functional.softplus((others - z[y]).logsumexp(0), threshold=700)) / q

    return per_row(loss, logits, target, class_dim=1, ignore_index=ignore_index)


FUNCTIONS = {
    "generalized_cross_entropy_loss": Function(
        cases=inputs.each(
            inputs.class_first,
            inputs.CLASS_FIRST,
            {},
            *({"q": q} for q in (1e-3, 0.3, 1.0)),
            {"q": 0.5, "ignore_index": [0, 2]},
        ),
        hostile=hostile.Subject(
            hostile.CLASS_FIRST,
            {"q": lambda d: d.choice((1e-6, 0.1, 0.7, 1.0)), "ignore_index": hostile.Draw.ignored},
        ),
        wrong_shapes=inputs.WRONG_FOR_CLASS_FIRST,
        out_of_range=(
            ({"q": 0}, r"q must be a number in \(0, 1\]; got 0"),
            ({"q": 1.5}, r"q must be a number in \(0, 1\]; got 1.5"),
            ({"q": float("nan")}, r"q must be a number in \(0, 1\]; got nan"),
        ),
        no_number=({"q": "1"}, {"q": None}),
        look_ups=(({}, (6, 4)),),
    ),
}

LOSSES = {
    "generalized_cross_entropy": Declared(
        by_command_line=("category", "text"),
        changes={**CLASS_WEIGHTS, "ignore_index": "b", "padding_index": 1, "q": 0.2, "top_k": 0.5},
        beside=BESIDE_CLASS_WEIGHTS,
        validates_by=(
            ("category", {"ignore_index": 0}, "loss"),
            ("category", {}, "accuracy"),
            ("binary", {}, "roc_auc"),
        ),
    ),
}
