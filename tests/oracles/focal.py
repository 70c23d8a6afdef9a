"""Focal loss, Lin et al., ICCV 2017: ``-alpha_t (1 - p_t)**gamma log p_t``; and the mean of the hardest elements.

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


def top_k_mean(loss: Tensor, weight: Tensor | None = None, *, top_k: float) -> Tensor:
    """One place after the other goes to the element that costs most; those that cost as much as the last share theirs."""
    losses = loss.flatten()
    weights = [1.0] * len(losses) if weight is None else weight.flatten().tolist()
    costs = {i: weights[i] * losses[i].item() for i in range(len(losses)) if weights[i] > 0}
    places = max(1, math.floor(top_k * len(costs) + 0.5))
    ranked = sorted(costs, key=costs.get, reverse=True)
    if not ranked:
        return 0 * loss.sum()
    last = costs[ranked[places - 1]]
    equal = [i for i in ranked if costs[i] == last]
    harder = [i for i in ranked if costs[i] > last]
    part = {**dict.fromkeys(harder, 1.0), **dict.fromkeys(equal, (places - len(harder)) / len(equal))}
    total = sum(part[i] * weights[i] * losses[i] for i in part)
    return total / sum(part[i] * weights[i] for i in part)


def _is_nearly_the_last(case: Case) -> bool:
    """Which of two elements with different weights counts, where they cost nearly the same, rounding may decide."""
    if "weight" not in case.options or not case.logits.numel():
        return False
    weight = case.options["weight"].double().flatten()
    costs = (case.logits.double().flatten() * weight)[weight > 0].sort(descending=True).values
    places = max(1, math.floor(case.options["top_k"] * len(costs) + 0.5))
    return len(costs) > 0 and bool(((costs - costs[places - 1]).abs() < 1e-6 * costs[places - 1]).sum() > 1)


def _weight(draw: hostile.Draw) -> Tensor:
    """What the elements count: as masks, or as class weights do, some of them nothing; or nothing at all."""
    few = torch.tensor(draw.choice(((0, 1), (0, 1, 2.5), (0.1, 3), (0,))))
    weight = few[draw.integers(len(few), *draw.shape)]
    return weight.bool() if draw.chance(0.3) else weight.float()


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
    "top_k_mean": Function(
        cases=inputs.each(inputs.nothing, inputs.ELEMENTS, *({"top_k": top_k} for top_k in (0.3, 0.5, 1.0))),
        hostile=hostile.Subject(
            hostile.Kind(hostile.ELEMENTS.shape, None, maskable=False, values=lambda x, dtype: x.abs()),
            {"top_k": lambda d: d.choice((1e-9, 0.1, 0.5, 0.7, 1.0)), "weight": _weight},
            demanded=("top_k",),
            has_target=False,
            scalar=True,
            jumps=_is_nearly_the_last,
        ),
        out_of_range=(
            ({"top_k": 0}, r"top_k must be a number in \(0, 1\]; got 0"),
            ({"top_k": 1.5}, r"top_k must be a number in \(0, 1\]; got 1.5"),
        ),
        no_number=({"top_k": "0.5"}, {"top_k": None}),
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
            "top_k": 0.5,
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
