"""Entropic open-set and Objectosphere, Dhamija et al., NeurIPS 2018, by a loop over examples and classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import BESIDE_CLASS_WEIGHTS, CLASS_WEIGHTS, Declared, Function
from oracles._rows import per_row


def entropic_open_set_loss(
    logits: Tensor, target: Tensor, *, known: Tensor | None = None, ignore_index: int | list[int] | None = None
) -> Tensor:
    """Knowns ``-log S_y``, all others ``-(1 / C) sum_c log S_c``, ``S`` the softmax over the competing classes."""
    competing, is_known = _classes(logits, known)

    def loss(z: Tensor, y: int) -> Tensor:
        total = torch.stack([z[c] for c in competing]).logsumexp(0)
        nll = {c: total - z[c] for c in competing}
        return nll[y] if y in is_known else sum(nll.values()) / len(nll)

    return per_row(loss, logits, target, class_dim=-1, ignore_index=ignore_index)


def objectosphere_loss(
    logits: Tensor,
    target: Tensor,
    *,
    known: Tensor | None = None,
    xi: float = 10.0,
    zeta: float = 0.1,
    features: Tensor | None = None,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    """Entropic open-set plus ``zeta`` times: knowns ``max(xi - ||F||, 0)**2``, all others ``||F||**2``."""
    competing, is_known = _classes(logits, known)

    def wish(f: Tensor, y: int) -> Tensor:
        squares = sum(x * x for x in f if x > -torch.inf)
        if y not in is_known:
            return squares
        # At 0 the norm has a corner: the gradient that torch gives it there is 0.
        size = squares.sqrt() if squares > 0 else squares
        return (xi - size) ** 2 if size < xi else 0 * size

    vectors = logits[..., competing] if features is None else features
    entropic = entropic_open_set_loss(logits, target, known=known, ignore_index=ignore_index)
    return entropic + zeta * per_row(wish, vectors, target, class_dim=-1, ignore_index=ignore_index)


def known_softmax(logits: Tensor, known: Tensor) -> Tensor:
    competing, _ = _classes(logits, known)
    rows = []
    for z in logits.reshape(-1, logits.shape[-1]):
        total = z[competing].logsumexp(0)
        rows.append(torch.stack([(z[c] - total).exp() if c in competing else 0 * total for c in range(len(z))]))
    return torch.stack(rows).reshape(logits.shape)


def _classes(logits: Tensor, known: Tensor | None) -> tuple[list[int], set[int]]:
    """Return the classes whose logits compete, and those that are known: where only one is known, all compete."""
    everything = list(range(logits.shape[-1]))
    listed = everything if known is None else known.tolist()
    return (everything if len(listed) == 1 else listed), set(listed)


def _unknown_classes(options: inputs.Options, classes: int) -> Any:
    """Examples of no known class want something of every one that is known; of a single known class, of all."""
    known = options.get("known")
    if known is None:
        return range(classes)
    return () if len(known) == 1 else [c for c in range(classes) if c not in known.tolist()]


# Of at least five classes the last one is never known.
_SHAPES = ((6, 5), (5,), (1, 5), (2, 5, 7), (2, 2, 3, 6))
_KNOWN = torch.tensor([0, 2, 3])
_KNOWN_UNSORTED = torch.tensor([3, 1])
_EACH_KNOWN = tuple({"known": known} for known in (_KNOWN, _KNOWN_UNSORTED, torch.tensor([2])))
_DRAWN = {"known": hostile.Draw.some_classes, "ignore_index": hostile.Draw.ignored}

FUNCTIONS = {
    "entropic_open_set_loss": Function(
        cases=(
            *inputs.each(inputs.class_last, inputs.CLASS_LAST, {}),
            *inputs.each(inputs.class_last, _SHAPES, *_EACH_KNOWN, {"known": _KNOWN, "ignore_index": [0, 1]}),
            *inputs.each(inputs.class_last, inputs.CLASS_LAST, {"ignore_index": 1}),
        ),
        hostile=hostile.Subject(hostile.CLASS_LAST, _DRAWN, maskable=_unknown_classes),
        wrong_shapes=inputs.WRONG_FOR_CLASS_LAST,
        out_of_range=(
            ({"known": torch.tensor([1, 1])}, r"known names a class twice; got \[1, 1\]"),
            (
                {"known": torch.tensor([[0, 1]])},
                r"known must be \[K\], the indices of one class or more; got .* \(1, 2\)",
            ),
        ),
    ),
    "objectosphere_loss": Function(
        cases=(
            *inputs.each(inputs.class_last, inputs.CLASS_LAST, {}),
            *inputs.each(inputs.class_last, _SHAPES, *_EACH_KNOWN),
            # Random logits have about this magnitude: some of the known examples fall short of it. The gradient for the
            # others, 2 * zeta * F, fits float16 for its largest logits up to a zeta of about 0.5.
            *inputs.each(inputs.class_last, _SHAPES, {"known": _KNOWN, "xi": 5.0, "zeta": 0.3}),
            *inputs.each(inputs.class_last, _SHAPES, {"known": _KNOWN_UNSORTED, "xi": 0.0, "zeta": 0.01}),
            *inputs.each(inputs.class_last, _SHAPES, {"known": _KNOWN, "zeta": 0.0}),
            *inputs.each(inputs.class_last, _SHAPES, {"known": _KNOWN, "xi": 5.0, "zeta": 0.3, "ignore_index": [0, 1]}),
        ),
        hostile=hostile.Subject(
            hostile.CLASS_LAST,
            {
                **_DRAWN,
                "xi": lambda d: d.choice((0.0, 1.0, 100.0)),
                # The gradient, 2 zeta F, has to fit float16.
                "zeta": lambda d: d.choice((0.0, 0.01, 0.5)),
                "features": lambda d: d.logarithmic(1e-3, 1e4) * d.normal(*d.shape[:-1], d.randint(1, 4)).to(d.dtype),
            },
            maskable=_unknown_classes,
        ),
        wrong_shapes=inputs.WRONG_FOR_CLASS_LAST,
        out_of_range=(
            ({"known": torch.tensor([0, 1, 0])}, r"known names a class twice; got \[0, 1, 0\]"),
            ({"xi": -1}, "xi must be a number >= 0; got -1"),
            ({"zeta": -0.1}, "zeta must be a number >= 0; got -0.1"),
            ({"zeta": float("inf")}, "zeta must be a number >= 0; got inf"),
        ),
        no_number=({"xi": "10"},),
    ),
    "known_softmax": Function(
        hostile=hostile.Subject(
            hostile.CLASS_LAST,
            {"known": _DRAWN["known"]},
            demanded=("known",),
            maskable=_unknown_classes,
            has_target=False,
        ),
    ),
    "known_score": Function(not_drawn="it is the largest probability of known_softmax"),
}

LOSSES = {
    "entropic_open_set": Declared(
        options={"binary": {"background_class": "benign"}, "category": {"background_class": "class_2"}},
        needs_the_user=True,
        changes={**CLASS_WEIGHTS, "background_class": "b", "ignore_index": "c"},
        beside=BESIDE_CLASS_WEIGHTS,
        predicts=(
            *(("category", {"background_class": background}) for background in (None, [1], [0, 3], [0, 1, 3])),
            *(("binary", {"background_class": background}) for background in (None, [0], [1])),
        ),
        validates_by=(
            ("category", {"background_class": "class_2"}, "loss"),
            ("category", {}, "accuracy"),
            ("category", {"ignore_index": 0}, "loss"),
            ("binary", {"background_class": True}, "loss"),
            ("binary", {}, "roc_auc"),
        ),
    ),
    "objectosphere": Declared(
        options={"binary": {"background_class": 0}, "category": {"background_class": ["class_2"]}},
        needs_the_user=True,
        changes={**CLASS_WEIGHTS, "background_class": "b", "ignore_index": "c", "xi": 1.0, "zeta": 0.5},
        beside={
            **BESIDE_CLASS_WEIGHTS,
            "xi": {"background_class": "b"},
            "zeta": {"background_class": "b"},
        },
        predicts=(
            *(("category", {"background_class": background}) for background in (None, [1], [0, 3], [0, 1, 3])),
            ("binary", {"background_class": [0]}),
        ),
        validates_by=(
            ("category", {"background_class": [0]}, "loss"),
            ("category", {}, "loss"),  # It pulls at the magnitudes first.
            ("category", {"zeta": 0}, "accuracy"),
            ("binary", {}, "loss"),
        ),
    ),
}
