"""Entmax, Peters et al., ACL 2019, with the threshold found by bisection.

``L = (p* - q)^T z + H(p*) - H(q)`` for the label ``q``, ``e_y`` or smoothed, with
``H(p) = (1 - sum p**a) / (a (a - 1))`` and ``p*`` the maximiser of ``p^T z + H(p)``. The maximiser is a constant for
autograd (Danskin), so the gradient of ``L`` comes out as ``p* - q``.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import BESIDE_CLASS_WEIGHTS, CLASS_WEIGHTS, LABEL_SMOOTHING, Declared, Function
from oracles._rows import per_row, smoothed_label


def entmax15(logits: Tensor) -> Tensor:
    return _project_rows(logits, 1.5)


def sparsemax(logits: Tensor) -> Tensor:
    return _project_rows(logits, 2.0)


def entmax(logits: Tensor, alpha: float = 1.5) -> Tensor:
    return _project_rows(logits, alpha)


def entmax15_loss(logits: Tensor, target: Tensor, **options) -> Tensor:
    return entmax_loss(logits, target, alpha=1.5, **options)


def sparsemax_loss(logits: Tensor, target: Tensor, **options) -> Tensor:
    return entmax_loss(logits, target, alpha=2.0, **options)


def entmax_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 1.5,
    label_smoothing: float = 0.0,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    def loss(z: Tensor, y: int) -> Tensor:
        return _loss(z, smoothed_label(z, y, label_smoothing), alpha)

    return per_row(loss, logits, target, class_dim=-1, ignore_index=ignore_index)


def _loss(z: Tensor, label: list[float], a: float) -> Tensor:
    p = _project(z.detach(), a)
    support = p > 0
    # From the largest logit on, so that a large constant in all of them does not cost digits.
    top = z.detach().max()
    wished = sum(q * (z[c] - top) for c, q in enumerate(label) if q > 0)
    return (p[support] * (z[support] - top)).sum() - wished + _entropy(p.tolist(), a) - _entropy(label, a)


def _entropy(p: list[float], a: float) -> float:
    """``(1 - sum p**a) / (a (a - 1))``, for a sum of 1: near ``a = 1`` it is ``-sum p log p``."""
    return -math.fsum(x * math.expm1((a - 1) * math.log(x)) for x in p if x > 0) / (a * (a - 1))


def _project_rows(logits: Tensor, a: float) -> Tensor:
    if not logits.numel():
        return logits + 0
    rows = logits.reshape(-1, logits.shape[-1])
    return torch.stack([_project(z, a) for z in rows]).reshape(logits.shape)


def _project(z: Tensor, a: float) -> Tensor:
    """``relu((a - 1) z - tau)**(1 / (a - 1))``, which sums to 1.

    With the largest logit at 0 and ``tau = (a - 1) s - 1`` this is ``relu(1 + (a - 1) (z - s))**(1 / (a - 1))``, whose
    digits are not lost near ``a = 1``, where it is ``exp(z - s)``. It sums to 1 for an ``s`` in [0, 1 / (a - 1)].
    """
    x = z - z.detach().max()
    fixed = x.detach().numpy()
    s, high = 0.0, 1 / (a - 1)
    while high - s > 1e-17 and s < (middle := (s + high) / 2) < high:
        base = np.maximum((a - 1) * (fixed - middle), -1)
        p = np.exp(np.log1p(base, where=base > -1, out=np.full_like(base, -np.inf)) / (a - 1))
        s, high = (middle, high) if p.sum() > 1 else (s, middle)
    support = (a - 1) * (x.detach() - s) > -1
    fixed = x.detach()[support]
    # By the implicit function theorem the threshold moves by a mean of the changes in the support.
    weights = (torch.log1p((a - 1) * (fixed - s)) * ((2 - a) / (a - 1))).exp()
    moved = (weights / weights.sum() * (x[support] - fixed)).sum()
    p = (torch.log1p((a - 1) * (x[support] - s - moved)) / (a - 1)).exp()
    return torch.zeros_like(z).masked_scatter(support, p)


def _to_threshold(logits: Tensor, _: Tensor, options: inputs.Options, alpha: float = 1.5) -> float:
    """The least distance of a logit from the threshold, from where on its probability is not 0."""
    if not logits.numel():
        return math.inf
    alpha = options.get("alpha", alpha)
    x = (alpha - 1) * (logits - logits.amax(dim=-1, keepdim=True))
    p = entmax(logits, alpha)
    distance = (x + p.amax(dim=-1, keepdim=True) ** (alpha - 1)).abs().min().item()
    # There the derivative, p**(2 - alpha), has a slope that is infinite: rounding changes it from farther away.
    return distance**1.5 / 3 if 1.5 < alpha < 2 else distance


_ALPHA = {"alpha": lambda d: 1 + d.choice((0.24, 0.26, 0.5, 1.0, d.random(), d.logarithmic(1e-9, 1.0)))}
# With the two logits of inputs.CLASS_LAST the prediction is nearly the label: terms near 1 cancel to a loss near 0.
_MANY_LOGITS = ((6, 4), (5,), (2, 5, 7), (2, 2, 3, 6))

FUNCTIONS = {
    "entmax15_loss": Function(
        cases=inputs.each(inputs.class_last, inputs.CLASS_LAST, {}, {"label_smoothing": 0.3}),
        hostile=hostile.Subject(hostile.WIDE, hostile.CLASSIFICATION),
        wrong_shapes=inputs.WRONG_FOR_CLASS_LAST,
        out_of_range=LABEL_SMOOTHING,
        differentiable_once=True,
    ),
    "sparsemax_loss": Function(
        cases=inputs.each(inputs.class_last, inputs.CLASS_LAST, {}, {"label_smoothing": 0.1, "ignore_index": 1}),
        hostile=hostile.Subject(hostile.WIDE, hostile.CLASSIFICATION),
        wrong_shapes=inputs.WRONG_FOR_CLASS_LAST,
        out_of_range=LABEL_SMOOTHING,
        no_number=({"label_smoothing": None},),
        ways=({"label_smoothing": 0.2},),
        differentiable_once=True,
    ),
    "entmax_loss": Function(
        cases=(
            *inputs.each(inputs.class_last, inputs.CLASS_LAST, *({"alpha": alpha} for alpha in (1.01, 1.3, 1.5, 1.8))),
            *inputs.each(inputs.class_last, _MANY_LOGITS, {"alpha": 1.05, "label_smoothing": 0.1}),
            *inputs.each(inputs.class_last, inputs.CLASS_LAST, {"alpha": 1.7, "ignore_index": [0, 2]}),
        ),
        hostile=hostile.Subject(hostile.WIDE, {**_ALPHA, **hostile.CLASSIFICATION}),
        wrong_shapes=inputs.WRONG_FOR_CLASS_LAST,
        out_of_range=(
            *LABEL_SMOOTHING,
            *(
                ({"alpha": value}, rf"alpha must be a number in \(1, 2\]; got {value}")
                for value in (1, 2.5, float("nan"))
            ),
        ),
        no_number=({"alpha": "1.5"},),
        ways=({"alpha": 1.2, "label_smoothing": 0.2},),
        look_ups=(
            *(({"alpha": alpha}, (6, 4)) for alpha in (1.1, 1.5, 2.0)),
            ({"alpha": 1.5, "label_smoothing": 0.2}, (6, 4000)),
        ),
        differentiable_once=True,
    ),
    "entmax": Function(
        hostile=hostile.Subject(hostile.CLASS_LAST, _ALPHA, has_target=False, distance=_to_threshold),
    ),
    "entmax15": Function(hostile=hostile.Subject(hostile.CLASS_LAST, has_target=False, distance=_to_threshold)),
    "sparsemax": Function(
        hostile=hostile.Subject(hostile.CLASS_LAST, has_target=False, distance=partial(_to_threshold, alpha=2.0)),
    ),
}

_CHANGES = {**CLASS_WEIGHTS, "ignore_index": "b", "label_smoothing": 0.2, "padding_index": 1}
LOSSES = {
    "entmax_1.5_loss": Declared(
        changes=_CHANGES,
        beside=BESIDE_CLASS_WEIGHTS,
        predicts=(("category", {}), ("text", {})),
        validates_by=(("category", {}, "accuracy"),),
    ),
    "sparsemax_loss": Declared(
        changes=_CHANGES,
        beside=BESIDE_CLASS_WEIGHTS,
        predicts=(("category", {}),),
        validates_by=(
            ("category", {"ignore_index": "a"}, "loss"),
            ("category", {}, "accuracy"),
            ("text", {}, "loss"),
        ),
    ),
    # The two above with a parameter.
    "entmax_loss": Declared(
        by_command_line=(),
        changes={**_CHANGES, "alpha": 1.2},
        beside=BESIDE_CLASS_WEIGHTS,
        predicts=tuple(("category", {"alpha": alpha}) for alpha in (1.1, 1.5, 1.7, 2.0)),
        validates_by=(("sequence", {}, "loss"),),
    ),
}
