"""PolyLoss, Leng et al., ICLR 2022: cross-entropy plus ``sum_j epsilon_j (1 - p_t)**j``, all times
``(1 - p_t)**gamma``. For a smoothed label, cross-entropy to it and ``p_t = sum(q * p)``, as in the code of the paper."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import BESIDE_CLASS_WEIGHTS, CLASS_WEIGHTS, LABEL_SMOOTHING, Declared, Function
from oracles._rows import per_row, smoothed_label


def poly_loss(
    logits: Tensor,
    target: Tensor,
    *,
    epsilon: float | list[float] = 1.0,
    gamma: float = 0.0,
    label_smoothing: float = 0.0,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    coefficients = epsilon if isinstance(epsilon, list) else [epsilon]

    def loss(z: Tensor, y: int) -> Tensor:
        label = smoothed_label(z, y, label_smoothing)
        # From the largest logit on, so that a large constant in all of them does not cost digits.
        z = z - z.detach().max()
        log_p = z - z.logsumexp(0)
        cross_entropy = -sum(q * log_p[c] for c, q in enumerate(label) if q > 0)
        # sum_c (1 - q_c) p_c is 1 - p_t; as a power of e, whose derivative is finite at 0.
        not_c = [math.fsum(label[:c] + label[c + 1 :]) for c in range(len(z))]
        missed = [log_p[c] + math.log(q) for c, q in enumerate(not_c) if q > 0 and z[c] > -torch.inf]
        if not missed:
            return 0 * z[y]
        log_miss = torch.stack(missed).logsumexp(0)
        polynomial = sum(e * (j * log_miss).exp() for j, e in enumerate(coefficients, start=1))
        return (gamma * log_miss).exp() * (cross_entropy + polynomial)

    return per_row(loss, logits, target, class_dim=1, ignore_index=ignore_index)


def sigmoid_poly_loss(logits: Tensor, target: Tensor, **options) -> Tensor:
    """One logit ``z`` is the pair ``[0, z]``: its softmax is ``[1 - sigmoid(z), sigmoid(z)]``."""
    pairs = torch.stack([torch.zeros_like(logits), logits], dim=-1).reshape(-1, 2)
    return poly_loss(pairs, (target.flatten() != 0).long(), **options).reshape(target.shape)


def _coefficients(draw: hostile.Draw) -> float | list[float]:
    """The change of the first coefficient of the expansion, or of the first few; down to what removes it."""
    epsilons = [draw.choice((-1.0, -0.5, 0.0, 2.0, 5.0)) / j for j in range(1, draw.randint(1, 4) + 1)]
    return epsilons[0] if draw.chance(0.4) else epsilons


_OPTIONS = (
    *({"epsilon": epsilon} for epsilon in (-1.0, 1.0, 2.5)),
    {"label_smoothing": 0.1},
    {"epsilon": [1.0, -0.5, 0.25]},
    {"gamma": 2.0},
    {"gamma": 2.0, "epsilon": -1.0, "label_smoothing": 0.2},
    {"gamma": 0.5, "epsilon": [2.0, 0.5], "ignore_index": [0, 2]},
)

_OF_ELEMENTS = tuple({k: v for k, v in given.items() if k != "ignore_index"} for given in _OPTIONS)
_OUT_OF_RANGE = (
    *LABEL_SMOOTHING,
    ({"gamma": -0.5}, "gamma must be a number >= 0; got -0.5"),
    ({"epsilon": -1.01}, "epsilon must be a number >= -1; got -1.01"),
    ({"epsilon": [1, -1]}, r"epsilon\[1\] must be a number >= -0.5; got -1"),
    ({"epsilon": (0.0, 0.0, -0.34)}, r"epsilon\[2\] must be a number >= -0.333333; got -0.34"),
)
_DRAWN = {"gamma": lambda d: d.choice((0.0, 0.3, 1.0, 2.0, 5.0)), **hostile.SMOOTHING, "epsilon": _coefficients}

FUNCTIONS = {
    "sigmoid_poly_loss": Function(
        cases=inputs.each(inputs.per_element, inputs.ELEMENTS, *_OF_ELEMENTS),
        hostile=hostile.Subject(hostile.ELEMENTS, _DRAWN),
        wrong_shapes=(((4,), (4, 1)), ((4, 1), (4,)), ((4,), (1,)), ((4,), ())),
        out_of_range=_OUT_OF_RANGE,
        no_number=({"gamma": "2"}, {"epsilon": [1.0, None]}, {"epsilon": "1"}),
        ways=({}, {"gamma": 0.5, "epsilon": [1.0, 0.5]}, {"gamma": 0.5, "label_smoothing": 0.2}),
        labels={"target": lambda loss, labels: loss(torch.randn(4, 2), labels)},
    ),
    "poly_loss": Function(
        cases=inputs.each(inputs.class_first, inputs.CLASS_FIRST, *_OPTIONS),
        hostile=hostile.Subject(
            hostile.CLASS_FIRST,
            {
                "gamma": lambda d: d.choice((0.0, 0.3, 1.0, 2.0, 5.0)),
                **hostile.CLASSIFICATION,
                "epsilon": _coefficients,
            },
        ),
        wrong_shapes=inputs.WRONG_FOR_CLASS_FIRST,
        out_of_range=_OUT_OF_RANGE,
        no_number=(*({"gamma": value} for value in ("2", None, True)), {"epsilon": [1.0, None]}, {"epsilon": "1"}),
        ways=({}, {"gamma": 0.5, "epsilon": [1.0, 0.5]}, {"gamma": 0.5, "label_smoothing": 0.2}),
        look_ups=(({"label_smoothing": 0.1}, (2, 3, 4, 5)),),
    ),
}

LOSSES = {
    "poly_loss": Declared(
        by_command_line=("category", "sequence", "set", "text"),
        changes={
            **CLASS_WEIGHTS,
            "ignore_index": "b",
            "top_k": 0.5,
            "label_smoothing": 0.2,
            "padding_index": 1,
            "epsilon": [1.0, 0.5],
            "gamma": 1.0,
        },
        beside=BESIDE_CLASS_WEIGHTS,
        validates_by=(
            ("category", {"ignore_index": ["a", "b"]}, "loss"),
            ("category", {}, "accuracy"),
            ("set", {}, "jaccard"),
        ),
    ),
}
