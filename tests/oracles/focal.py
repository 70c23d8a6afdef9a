"""Focal loss, Lin et al., ICCV 2017: ``-alpha_t (1 - p_t)**gamma log p_t``.

Reduced focal loss, Sergievskiy & Ponamarev, 2019: the factor is 1 for ``p_t < threshold``, else it is divided by
``threshold**gamma``. A smoothed label costs what its classes cost, each by its share.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import BESIDE_CLASS_WEIGHTS, CLASS_WEIGHTS, LABEL_SMOOTHING, Declared, Function
from oracles._rows import per_row, smoothed_label

if TYPE_CHECKING:
    from functional.hostile import Case


def sigmoid_focal_loss(logits: Tensor, target: Tensor, *, ignore_index: int | None = None, **options) -> Tensor:
    """One logit ``z`` is the pair ``[0, z]``: its softmax is ``[1 - sigmoid(z), sigmoid(z)]``."""
    pairs = torch.stack([torch.zeros_like(logits), logits], dim=-1).reshape(-1, 2)
    labels = target.flatten().long()
    return softmax_focal_loss(pairs, labels, ignore_index=ignore_index, **options).reshape(target.shape)


def softmax_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: Tensor | None = None,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    reduced_threshold: float | None = None,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    """``1 - p_t`` is the probability of all the other classes together."""

    def of_class(z: Tensor, y: int) -> Tensor:
        # From the largest logit on, so that a large constant in all of them does not cost digits.
        z = z - z.detach().max()
        log_p = z - z.logsumexp(0)
        others = [log_p[c] for c in range(len(z)) if c != y and z[c] > -torch.inf]
        if not others:
            return 0 * z[y]
        # As a power of e, whose derivative is finite at 0.
        log_miss = torch.stack(others).logsumexp(0)
        weight = 1.0 if alpha is None else alpha[y].item()
        factor = (gamma * log_miss).exp()
        if reduced_threshold is not None:
            is_hard = log_p[y].exp() < reduced_threshold
            factor = 1.0 if is_hard else (gamma * (log_miss - math.log(reduced_threshold))).exp()
        return -weight * factor * log_p[y]

    def loss(z: Tensor, y: int) -> Tensor:
        label = smoothed_label(z, y, label_smoothing)
        return sum(q * of_class(z, c) for c, q in enumerate(label) if q > 0)

    return per_row(loss, logits, target, class_dim=1, ignore_index=ignore_index)


def _is_nearly_hard(case: Case) -> bool:
    """Reduced focal loss jumps where a probability passes the threshold; at 0.5, only its gradient does.

    A threshold of 1 is passed, if at all, where there is no loss left.
    """
    threshold, z = case.options.get("reduced_threshold", 1.0), case.logits.double()
    p = torch.stack([z.sigmoid(), (-z).sigmoid()]) if case.subject.kind is hostile.ELEMENTS else z.softmax(dim=1)
    return threshold < 1 and bool(((p - threshold).abs() < 1e-5).any())


_GAMMAS = tuple({"gamma": gamma} for gamma in (0.0, 0.5, 1.0, 2.0))
_OPTIONS = (
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.2, "gamma": 0.5},
    {"reduced_threshold": 0.5},
    {"reduced_threshold": 0.3, "gamma": 0.5},
)
# The gradient has to fit float16.
_DRAWN = {
    "gamma": lambda d: d.choice((0.0, 0.3, 1.0, 2.0, 5.0, 30.0)),
    **hostile.CLASSIFICATION,
    "reduced_threshold": lambda d: d.choice((0.5, 0.8, 1.0) if d.given.get("gamma") == 30 else (0.2, 0.5, 0.8, 1.0)),
}
_OUT_OF_RANGE = (
    *LABEL_SMOOTHING,
    ({"gamma": -1}, "gamma must be a number >= 0; got -1"),
    ({"gamma": float("inf")}, "gamma must be a number >= 0; got inf"),
    ({"gamma": float("nan")}, "gamma must be a number >= 0; got nan"),
    ({"gamma": 10**400}, "gamma must be a number >= 0; got 1000"),
    ({"reduced_threshold": 0}, r"reduced_threshold must be a number in \(0, 1\]; got 0"),
    ({"reduced_threshold": 1.5}, r"reduced_threshold must be a number in \(0, 1\]; got 1.5"),
    ({"alpha": torch.ones(4)}, r"alpha must have one number for each of the . classes; got a tensor of shape \(4,\)"),
    ({"alpha": torch.ones(())}, r"alpha must have one number for each of the . classes; got a tensor of shape \(\)"),
)
_WAYS = ({}, {"label_smoothing": 0.2, "reduced_threshold": 0.5})

FUNCTIONS = {
    "sigmoid_focal_loss": Function(
        cases=inputs.each(
            inputs.per_element,
            inputs.ELEMENTS,
            *_GAMMAS,
            {"alpha": inputs.TWO_WEIGHTS},
            *_OPTIONS,
            {"alpha": inputs.TWO_WEIGHTS, "label_smoothing": 0.3},
            {"ignore_index": 1, "reduced_threshold": 0.4},
        ),
        hostile=hostile.Subject(hostile.ELEMENTS, {**_DRAWN, "alpha": lambda d: d.per_class(2)}, jumps=_is_nearly_hard),
        wrong_shapes=(((4,), (4, 1)), ((4, 1), (4,)), ((4,), (1,)), ((4,), ())),
        out_of_range=_OUT_OF_RANGE,
        no_number=({"gamma": "2"},),
        ways=_WAYS,
        labels={"target": lambda loss, labels: loss(torch.randn(4, 2), labels)},
    ),
    "softmax_focal_loss": Function(
        cases=(
            *inputs.each(inputs.class_first, inputs.CLASS_FIRST, *_GAMMAS),
            *inputs.each(inputs.class_first, inputs.CLASS_FIRST_OF_FOUR, {"alpha": inputs.FOUR_WEIGHTS}),
            *inputs.each(inputs.class_first, inputs.CLASS_FIRST, *_OPTIONS),
            *inputs.each(
                inputs.class_first, inputs.CLASS_FIRST_OF_FOUR, {"alpha": inputs.FOUR_WEIGHTS, "label_smoothing": 0.3}
            ),
            *inputs.each(inputs.class_first, inputs.CLASS_FIRST, {"ignore_index": [0, 2], "reduced_threshold": 0.4}),
        ),
        hostile=hostile.Subject(
            hostile.CLASS_FIRST, {**_DRAWN, "alpha": hostile.Draw.per_class}, jumps=_is_nearly_hard
        ),
        wrong_shapes=inputs.WRONG_FOR_CLASS_FIRST,
        out_of_range=_OUT_OF_RANGE,
        no_number=(
            *({"gamma": value} for value in ("2", None, True)),
            {"reduced_threshold": "0.5"},
            {"label_smoothing": torch.tensor(0.1)},
        ),
        ways=_WAYS,
        look_ups=(({}, (6, 4)), ({}, (8, 4000)), ({"alpha": torch.ones(3)}, (2, 3, 4, 5))),
    ),
}

LOSSES = {
    "focal_loss": Declared(
        changes={
            **CLASS_WEIGHTS,
            "ignore_index": "b",
            "label_smoothing": 0.2,
            "padding_index": 1,
            "alpha": [0.1, 0.2, 0.3, 0.4],
            "gamma": 1.0,
            "normalize": True,
            "reduced_threshold": 0.5,
        },
        beside=BESIDE_CLASS_WEIGHTS,
        validates_by=(
            ("category", {"ignore_index": 0}, "loss"),
            ("category", {}, "accuracy"),
            ("binary", {}, "roc_auc"),
            ("set", {}, "jaccard"),
            ("text", {}, "loss"),
        ),
    ),
}
