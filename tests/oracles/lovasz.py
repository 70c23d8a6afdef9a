"""Lovász-Softmax, Berman et al., CVPR 2018, from set functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import Declared, Function


def jaccard_loss(wrong: set[int], foreground: set[int]) -> float:
    """``1 - IoU`` of a class when the pixels ``wrong`` are mispredicted: ``|wrong| / |foreground or wrong|``."""
    return len(wrong) / len(foreground | wrong) if wrong else 0.0


def lovasz_softmax_loss(
    logits: Tensor,
    target: Tensor,
    *,
    classes: str | list[int] = "present",
    per_image: bool = False,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    """Mean over the classes of ``sum_k m_k (J(first k pixels) - J(first k - 1))``, largest error first."""
    ignored = [ignore_index] if isinstance(ignore_index, int) else ignore_index or []
    z = logits.movedim(1, 0).unsqueeze(-1).flatten(2)
    labels = target.unsqueeze(-1).flatten(1)
    images = [(z[:, i], labels[i]) for i in range(len(labels))] if per_image else [(z.flatten(1), labels.flatten())]
    losses = []
    for pixels, label_of in images:
        kept = torch.tensor([label not in ignored for label in label_of.tolist()], dtype=torch.bool)
        image, y = pixels[:, kept].softmax(dim=0), label_of[kept].tolist()
        if y:
            averaged = {"present": sorted(set(y)), "all": [c for c in range(len(z)) if c not in ignored]}
            averaged = averaged[classes] if isinstance(classes, str) else classes
            losses.append(torch.stack([_class_loss(image[c], y, c) for c in averaged]).mean())
    return torch.stack(losses).mean() if losses else 0 * logits.nan_to_num(0, 0, 0).sum()


def _class_loss(p: Tensor, labels: list[int], c: int) -> Tensor:
    foreground = {i for i, y in enumerate(labels) if y == c}
    errors = [1 - p[i] if i in foreground else p[i] for i in range(len(labels))]
    order = sorted(range(len(labels)), key=lambda i: errors[i].item(), reverse=True)
    jaccard = [jaccard_loss(set(order[:k]), foreground) for k in range(len(order) + 1)]
    return sum(errors[i] * (jaccard[k + 1] - jaccard[k]) for k, i in enumerate(order))


def _between_errors(logits: Tensor, target: Tensor, options: inputs.Options) -> float:
    """The least difference between two errors of a class: where they tie, the Lovász extension has a corner."""
    p = logits.softmax(dim=1).unsqueeze(-1).flatten(2)
    labels = target.long().reshape(len(p), p.shape[2])
    counted = ~torch.isin(labels, hostile.ignored_classes(options))
    p, one_image = p.movedim(1, -1), slice(None)
    gaps = [math.inf]
    for i in range(len(p)) if options.get("per_image") else [one_image]:
        kept = counted[i]
        true = torch.nn.functional.one_hot(labels[i][kept], p.shape[2])
        errors = (p[i][kept] - true).abs().sort(dim=0).values.diff(dim=0)
        present = true.any(dim=0)
        gaps += errors[:, present].flatten().tolist()
        # Of an absent class only the largest error counts.
        gaps += errors[-1:, ~present].flatten().tolist() if options.get("classes", "present") != "present" else []
    return min(gaps)


def _ignored_beside_classes(draw: hostile.Draw) -> int | list[int]:
    """As :meth:`hostile.Draw.ignored`, and no class whose mean is asked for."""
    averaged, ignored = draw.given.get("classes", "present"), draw.ignored()
    if isinstance(averaged, str) or not {*averaged} & {*hostile.ignored_classes({"ignore_index": ignored}).tolist()}:
        return ignored
    return draw.choice(([c for c in range(draw.classes) if c not in averaged], 255, -100))


_OPTIONS = ({}, {"classes": "all"}, {"classes": [0]}, {"per_image": True})
_OPTIONS_OF_FOUR_CLASSES = (
    {"ignore_index": 1},
    {"ignore_index": [0, 2], "per_image": True},
    {"ignore_index": 2, "classes": "all", "per_image": True},
    {"ignore_index": 2, "classes": [3, 1]},
)

FUNCTIONS = {
    "lovasz_softmax_loss": Function(
        cases=(
            *inputs.each(inputs.class_first, inputs.CLASS_FIRST, *_OPTIONS),
            *inputs.each(inputs.class_first, inputs.IMAGES_OF_FOUR, *_OPTIONS_OF_FOUR_CLASSES),
        ),
        hostile=hostile.Subject(
            hostile.CLASS_FIRST,
            {
                "classes": lambda d: d.choice(("present", "all", d.some_classes().tolist())),
                "per_image": lambda d: d.chance(0.7),
                "ignore_index": _ignored_beside_classes,
            },
            scalar=True,
            distance=_between_errors,
        ),
        wrong_shapes=inputs.WRONG_FOR_CLASS_FIRST,
        out_of_range=(
            ({"classes": [0, 7]}, r"classes: \[0, 7\], but there is no class 7; there are"),
            ({"classes": [0, -1]}, "there is no class -1"),
        ),
        look_ups=(({"classes": "all", "per_image": True}, (2, 3, 4, 5)),),
    ),
}

LOSSES = {
    "lovasz_softmax_loss": Declared(
        of_whole_batch=True,
        changes={"classes": [0], "per_image": True, "ignore_index": [1]},
    ),
}
