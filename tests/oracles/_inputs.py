"""Random targets for logits of a shape, and the shapes that several families are tested on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, ...]
Options = Mapping[str, Any]
MakeTarget = Callable[[Shape, torch.Generator], "Tensor | None"]


@dataclass(frozen=True)
class Inputs:
    """Shapes of logits, how to make targets for them, and options that go with both."""

    make_target: MakeTarget
    shapes: tuple[Shape, ...]
    options: dict[str, Any] = field(default_factory=dict)


def each(make_target: MakeTarget, shapes: tuple[Shape, ...], *options: dict[str, Any]) -> tuple[Inputs, ...]:
    """The same shapes and targets with each of some sets of options."""
    return tuple(Inputs(make_target, shapes, given) for given in options)


def class_first(shape: Shape, generator: torch.Generator) -> Tensor:
    """Class indices for logits ``[B, C, ...]``."""
    return torch.randint(shape[1], shape[:1] + shape[2:], generator=generator)


def class_last(shape: Shape, generator: torch.Generator) -> Tensor:
    """Class indices for logits ``[..., C]``."""
    return torch.randint(shape[-1], shape[:-1], generator=generator)


def ranks(shape: Shape, generator: torch.Generator) -> Tensor:
    """Ranks for logits ``[..., K - 1]``, of which there are ``K``."""
    return torch.randint(shape[-1] + 1, shape[:-1], generator=generator)


def per_element(shape: Shape, generator: torch.Generator) -> Tensor:
    """0 or 1 for each logit."""
    return torch.randint(2, shape, generator=generator)


def per_row(shape: Shape, generator: torch.Generator) -> Tensor:
    """A label for each row, about three rows to a label."""
    return torch.randint(1 + shape[0] // 3, shape[:1], generator=generator)


def consecutive(shape: Shape, generator: torch.Generator) -> None:
    """No labels: rows ``2i`` and ``2i + 1`` are a pair."""


def amounts(shape: Shape, generator: torch.Generator) -> Tensor:
    """A number of at least 0 for each vector of logits ``[..., K]``."""
    return 3 * torch.rand(shape[:-1], generator=generator, dtype=torch.float64)


def anomaly_labels(shape: Shape, generator: torch.Generator) -> Tensor:
    """Unlabelled (-1), normal (0) or anomalous (1)."""
    return torch.randint(-1, 2, shape, generator=generator)


def other_scores(shape: Shape, generator: torch.Generator) -> Tensor:
    """The scores of other rows."""
    return 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


def nothing(shape: Shape, generator: torch.Generator) -> None:
    """The loss takes no target."""


ELEMENTS = ((7,), (1,), (4, 3), (2, 3, 4), (2, 1, 3, 4))
CLASS_FIRST = ((6, 4), (1, 2), (3, 4, 5), (2, 3, 4, 5))
CLASS_FIRST_OF_FOUR = ((6, 4), (1, 4), (3, 4, 5), (2, 4, 3, 5))
IMAGES = ((2, 4, 6), (1, 2, 3, 3), (3, 4, 4, 5))
IMAGES_OF_FOUR = ((1, 4, 3, 3), (3, 4, 4, 5))
CLASS_LAST = ((6, 4), (3,), (1, 2), (2, 5, 7), (2, 2, 3, 6))
ROWS = ((8, 4), (1, 3), (2, 3), (9, 5))
SCORES = ((7,), (1,), (12,))

TWO_WEIGHTS = torch.tensor([0.75, 0.25])
FOUR_WEIGHTS = torch.tensor([0.75, 0.25, 1.5, 0.5])

# Shapes of logits and of targets that do not go together.
WRONG_FOR_CLASS_FIRST = (
    ((4, 3), (3,)),
    ((4, 3), (4, 1)),
    ((4, 3), (4, 3)),
    ((2, 3, 4, 5), (2, 5, 4)),
    ((2, 3, 4, 4), (2, 1, 4, 4)),
    ((2, 3, 4), (2, 3)),
    ((4,), (4,)),
    ((3,), ()),
    ((), ()),
)
WRONG_FOR_CLASS_LAST = (
    ((4, 3), (3,)),
    ((4, 3), (4, 1)),
    ((4, 3), (4, 3)),
    ((2, 3, 4), (2, 4)),
    ((2, 3, 4), (6,)),
    ((), ()),
)
WRONG_FOR_SCORES = (((4,), (4, 1)), ((4, 1), (4,)), ((4, 1), (4, 1)), ((4,), (1,)), ((4,), ()), ((), ()))
