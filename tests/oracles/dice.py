"""Soft Dice loss and its family, with a one-hot target and a loop over images, classes and pixels that count.

Milletari et al., 3DV 2016 (Dice); Salehi et al., MLMI 2017 (Tversky); Abraham & Khan, ISBI 2019 (focal Tversky);
Sudre et al., DLMIA 2017 (generalized).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import Declared, Function

if TYPE_CHECKING:
    from functional.hostile import Case


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Tensor | None = None,
    focal_tversky_gamma: float = 1.0,
    log_dice: bool = False,
    **options: Any,
) -> Tensor:
    losses = []
    for scores in dice_scores(logits, target, **options):
        each = [_shaped(*score, focal_tversky_gamma, log_dice) for score in scores]
        weights = [1.0] * len(each)
        if class_weights is not None:
            weights = class_weights[_classes(logits.shape[1], **options)].tolist()
        total = sum(weights) or 1.0  # no class counts: nothing to lose
        losses.append(sum(w * loss for w, loss in zip(weights, each, strict=True)) / total)
    return torch.stack(losses).mean() if losses else 0 * logits.nan_to_num(0, 0, 0).sum()


def dice_scores(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 1.0,
    squared_denominator: bool = False,
    include_background: bool = True,
    per_image: bool = True,
    ignore_index: int | list[int] | None = None,
    jaccard: bool = False,
    tversky_alpha: float = 0.5,
    tversky_beta: float = 0.5,
    generalized: bool = False,
) -> list[list[tuple[Tensor, Tensor]]]:
    """Numerator of the score and what the denominator has besides, the mistakes: for each image with something left in
    it, and in that for each class that counts."""
    alpha, beta = (1.0, 1.0) if jaccard else (tversky_alpha, tversky_beta)
    # Pixels as rows [N, C], for each image or for all of them.
    pixels = [(z.flatten(1).T, y.flatten()) for z, y in zip(logits, target, strict=True)]
    if not per_image:
        pixels = [tuple(torch.cat(parts) for parts in zip(*pixels, strict=True))]

    images = []
    for z, y in pixels:
        kept = torch.tensor([label not in _ignored(ignore_index) for label in y.tolist()])
        if not kept.any():
            continue
        p = z[kept].softmax(dim=1)
        sums = [
            _sums(p, c, (y[kept] == c).to(p), squared_denominator)
            for c in _classes(logits.shape[1], include_background=include_background, ignore_index=ignore_index)
        ]
        if generalized:
            sums = [_weighted_by_size(sums)]
        images.append([(2 * i + smooth, 2 * alpha * fp + 2 * beta * fn) for i, fp, fn, _ in sums])
    return images


def _ignored(ignore_index: int | list[int] | None) -> list[int]:
    return [ignore_index] if isinstance(ignore_index, int) else ignore_index or []


def _classes(
    count: int, include_background: bool = True, ignore_index: int | list[int] | None = None, **_
) -> list[int]:
    return [c for c in range(count) if c not in _ignored(ignore_index) and (c > 0 or include_background)]


def _sums(p: Tensor, c: int, g: Tensor, squared: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Overlap, what is falsely positive and falsely negative, and true mass. With squares ``sum(p**2 - p g)`` and
    ``sum(g - p g)`` have equal weights, and together they are ``sum((p - g)**2)``."""
    others = torch.cat([p[:, :c], p[:, c + 1 :]], dim=1).sum(dim=1)  # 1 - p, with all its digits
    power = 2 if squared else 1
    return (p[:, c] * g).sum(), (p[:, c] ** power * (1 - g)).sum(), (others**power * g).sum(), g.sum()


def _weighted_by_size(sums: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Each kind of sum over the classes, each class with one over its squared size."""
    sizes = [g.item() for *_, g in sums if g > 0] or [1.0]
    weights = [1 / g.item() ** 2 if g > 0 else 1 / min(sizes) ** 2 for *_, g in sums]
    return tuple(
        sum(w * s for w, s in zip(weights, kind, strict=True)) / sum(weights) for kind in zip(*sums, strict=True)
    )


def _shaped(numerator: Tensor, mistakes: Tensor, gamma: float, log: bool) -> Tensor:
    denominator = numerator + mistakes
    if denominator == 0:  # neither predicted nor present, and no smoothing: nothing to lose
        return 0 * denominator
    if log:
        # What float32 can hold: an overlap of nothing at all costs no more than one of 1e-30.
        return denominator.clamp_min(1e-30).log() - numerator.clamp_min(1e-30).log()
    miss = mistakes / denominator
    return miss if gamma == 1 else miss ** (1 / gamma)


# Every option of the family and some that go together, for any number of classes.
_OPTIONS = (
    {"squared_denominator": True},
    {"include_background": False},
    {"per_image": False},
    {"jaccard": True, "smooth": 0.1},
    {"tversky_alpha": 0.3, "tversky_beta": 0.7},
    {"tversky_alpha": 0.3, "tversky_beta": 0.7, "focal_tversky_gamma": 4 / 3},
    {"focal_tversky_gamma": 0.5, "squared_denominator": True, "jaccard": True},
    {"log_dice": True, "smooth": 0.01},
    {"generalized": True},
    {"generalized": True, "per_image": False, "include_background": False, "log_dice": True},
)
_OPTIONS_OF_FOUR_CLASSES = (
    {"ignore_index": 1},
    {"ignore_index": [0, 2], "per_image": False},
    {"ignore_index": 1, "squared_denominator": True, "class_weights": inputs.FOUR_WEIGHTS},
    {"ignore_index": 2, "generalized": True},
    {"class_weights": inputs.FOUR_WEIGHTS, "include_background": False},
)


def _rounding_decides(case: Case) -> bool:
    """Without smoothing, a class that is neither present nor predicted costs 0; with the least mass, 1.

    A root is steep at 0: where there are hardly numbers left for the mistakes, they decide.
    """
    if case.counts_nothing:
        return False
    names = ("log_dice", "focal_tversky_gamma", "class_weights")
    options = {name: value for name, value in case.options.items() if name not in names}
    scores = dice_scores(case.logits.double(), case.target.long(), **options)
    steep = 1e-290 if case.held.dtype == torch.float64 else 1e-30
    return any(
        (options.get("smooth") == 0 and 0 < numerator + mistakes < 1e-30)
        or (case.options.get("focal_tversky_gamma", 1) > 1 and mistakes < steep * (numerator + mistakes))
        for image in scores
        for numerator, mistakes in image
    )


def _overlap_ignored(draw: hostile.Draw) -> int | list[int]:
    """As :meth:`hostile.Draw.ignored`, with a class left that counts."""
    counted = range(draw.classes)[0 if draw.given.get("include_background", True) else 1 :]
    ignored = draw.ignored()
    left = {*counted} - {*hostile.ignored_classes({"ignore_index": ignored}).tolist()}
    return ignored if left else draw.choice((255, -100, [255, -100]))


def _missed_weight(draw: hostile.Draw) -> float:
    return draw.choice((0.3, 1.0, 2.0) if draw.given.get("tversky_alpha") == 0 else (0.0, 0.3, 1.0, 2.0))


def _on(draw: hostile.Draw) -> bool:
    return True


FUNCTIONS = {
    "dice_loss": Function(
        cases=(
            *inputs.each(inputs.class_first, inputs.IMAGES, *({"smooth": smooth} for smooth in (0.0, 0.1, 1.0))),
            *inputs.each(inputs.class_first, inputs.IMAGES, *_OPTIONS),
            *inputs.each(inputs.class_first, inputs.IMAGES_OF_FOUR, *_OPTIONS_OF_FOUR_CLASSES),
        ),
        hostile=hostile.Subject(
            hostile.IMAGES,
            {
                "smooth": lambda d: d.choice((0.0, 1e-6, 0.1, 10.0)),
                "include_background": lambda d: d.classes == 1 or d.chance(0.3),
                "ignore_index": _overlap_ignored,
                "class_weights": hostile.Draw.per_class,
                "per_image": lambda d: d.chance(0.3),
                "tversky_alpha": lambda d: d.choice((0.0, 0.3, 1.0, 2.0)),
                "tversky_beta": _missed_weight,
                "jaccard": _on,
                "squared_denominator": _on,
                "focal_tversky_gamma": lambda d: d.choice((0.3, 0.5, 4 / 3, 3.0, 10.0)),
                "log_dice": _on,
                "generalized": _on,
            },
            exclusive=(
                *(
                    (mistakes, f"tversky_{kind}")
                    for mistakes in ("jaccard", "squared_denominator")
                    for kind in ("alpha", "beta")
                ),
                ("focal_tversky_gamma", "log_dice"),
                ("class_weights", "generalized"),
            ),
            scalar=True,
            jumps=_rounding_decides,
        ),
        wrong_shapes=(*inputs.WRONG_FOR_CLASS_FIRST, ((2, 3), (2,))),
        out_of_range=(
            ({"smooth": -1.0}, "smooth must be a number >= 0; got -1.0"),
            ({"tversky_alpha": -0.1}, "tversky_alpha must be a number >= 0; got -0.1"),
            ({"tversky_beta": -0.1}, "tversky_beta must be a number >= 0; got -0.1"),
            ({"focal_tversky_gamma": 0}, "focal_tversky_gamma must be a number > 0; got 0"),
            (
                {"class_weights": torch.ones(2)},
                r"class_weights must have .* the 3 classes; got a tensor of shape \(2,",
            ),
        ),
        no_number=({"smooth": "1"}, {"focal_tversky_gamma": None}),
        look_ups=tuple(({"focal_tversky_gamma": 2.0}, shape) for shape in ((2, 3, 4, 5), (2, 2, 4, 5))),
    ),
}

LOSSES = {
    "dice_loss": Declared(
        changes={
            "smooth": 0.5,
            "squared_denominator": True,
            "include_background": False,
            "per_image": False,
            "ignore_index": [1],
            "class_weights": [1.0, 2.0, 3.0],
            "jaccard": True,
            "tversky_alpha": 0.7,
            "tversky_beta": 0.7,
            "focal_tversky_gamma": 2.0,
            "log_dice": True,
            "generalized": True,
        },
        validates_by=(("image", {}, "loss"),),
    ),
}
