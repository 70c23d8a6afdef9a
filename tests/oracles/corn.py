"""CORN, Shi, Cao & Raschka 2021: binary cross-entropies by a loop over examples and tasks."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import BESIDE_CLASS_WEIGHTS, CLASS_WEIGHTS, Declared, Function
from oracles._rows import per_row


def corn_loss(logits: Tensor, target: Tensor, *, ignore_index: int | list[int] | None = None) -> Tensor:
    """Task ``k`` asks the examples with ``y > k - 1`` whether ``y > k``; ``-log sigmoid(z)`` is ``log(1 + exp(-z))``."""

    def cost(z: Tensor) -> Tensor:  # torch's softplus is a straight line from 20 on
        return torch.logaddexp(-z, torch.zeros_like(z))

    def loss(z: Tensor, y: int) -> Tensor:
        asked = [cost(z[k]) if y > k else cost(-z[k]) for k in range(len(z)) if y > k - 1]
        return torch.stack(asked).sum() if asked else 0 * z.sum()

    return per_row(loss, logits, target, class_dim=-1, ignore_index=ignore_index)


def corn_probabilities(logits: Tensor) -> Tensor:
    """``P(y > k)`` is the running product of the sigmoids; the class probabilities are its differences."""
    exceeds = _exceeds(logits)
    return torch.stack([before - after for before, after in pairwise(exceeds)], dim=-1)


def corn_rank(logits: Tensor) -> Tensor:
    return sum(((p > 0.5).long() for p in _exceeds(logits)[1:-1]), torch.zeros(logits.shape[:-1], dtype=torch.long))


def _exceeds(logits: Tensor) -> list[Tensor]:
    """``P(y > k)`` for ``k = -1, ..., K - 1``."""
    exceeds = [torch.ones(logits.shape[:-1], dtype=logits.dtype)]
    for k in range(logits.shape[-1]):
        exceeds.append(exceeds[-1] * logits[..., k].sigmoid())
    return [*exceeds, torch.zeros_like(exceeds[0])]


FUNCTIONS = {
    "corn_loss": Function(
        cases=inputs.each(inputs.ranks, inputs.CLASS_LAST, {}, {"ignore_index": [0, 2]}),
        hostile=hostile.Subject(hostile.ORDERED, {"ignore_index": hostile.Draw.ignored}),
        wrong_shapes=inputs.WRONG_FOR_CLASS_LAST,
    ),
    "corn_probabilities": Function(hostile=hostile.Subject(hostile.ORDERED, has_target=False)),
    "corn_rank": Function(not_drawn="a rank has no gradient"),
}

_ORDER = {"order": ["a", "b", "c", "d"]}
LOSSES = {
    "corn": Declared(
        options={"category": {"order": ["class_0", "class_1", "class_2"]}},
        needs_the_user=True,
        changes={**CLASS_WEIGHTS, "class_weights": [1, 9, 1, 1], "order": ["b", "a", "c", "d"], "ignore_index": "b"},
        beside={
            "class_weights": _ORDER,
            "effective_number_beta": {**_ORDER, **BESIDE_CLASS_WEIGHTS["effective_number_beta"]},
            "order": _ORDER,
            "ignore_index": _ORDER,
        },
        predicts=(("category", {"order": None}), ("category", {"order": [{"a": 2}, {"b": 0}, {"c": 3}]})),
        validates_by=(("category", {"order": ["class_0", "class_1", "class_2"]}, "loss"),),
    ),
}
