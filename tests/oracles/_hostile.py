"""What hostile inputs are drawn from: kinds of logits and targets, and options that several families share.

A case is a name and a seed. Every part of it comes from a source of its own: a further option leaves the other parts of
all cases as they are.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from oracles._inputs import Options, Shape

if TYPE_CHECKING:
    from functional.hostile import Case


class Draw(random.Random):
    """A source of random numbers, and what an option may depend on."""

    shape: Shape = ()
    classes: int = 0
    dtype: torch.dtype = torch.float32
    given: Options = {}  # noqa: RUF012 - replaced, never changed

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    @property
    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.getrandbits(48))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(max(high, 1), shape, generator=self.generator)

    def size(self) -> int:
        """The size of a dimension: now and then 0 or 1."""
        return self.choices((0, 1, 2, 3, 4), (3, 20, 30, 30, 17))[0]

    def logarithmic(self, low: float, high: float) -> float:
        return low * (high / low) ** self.random()

    def per_class(self, count: int | None = None) -> Tensor:
        """One number of at least 0 for each class; some of them 0, or all."""
        weights = self.uniform(count or self.classes).float() * self.choice((0.001, 0.1, 1.0))
        return weights * (self.uniform(len(weights)) >= self.choice((0.0, 0.3, 1.0)))

    def some_classes(self) -> Tensor:
        """Some or all classes, at least one, in any order."""
        return torch.tensor(self.sample(range(self.classes), self.randint(1, self.classes)))

    def ignored(self) -> int | list[int]:
        """A class, a number that is none, or several of both, or nothing."""
        indices = [self.choice((self.randrange(self.classes), 255, -100)) for _ in range(self.randint(0, 3))]
        return indices[0] if indices and self.chance(0.7) else indices


def class_labels(draw: Draw, shape: Shape, classes: int) -> Tensor:
    """Class indices, of all or few classes."""
    labels = draw.integers(classes, *shape)
    present = draw.choice((1, 2, classes, classes))
    return (labels % present + draw.randrange(classes)) % classes


def labels_of_rows(draw: Draw, shape: Shape, classes: int) -> Tensor:
    return draw.integers(draw.choice((1, 2, 1 + shape[0] // 2, 100)), shape[0]) - draw.choice((0, 3))


def anomaly_labels(draw: Draw, shape: Shape, classes: int) -> Tensor:
    """Unlabelled (-1), normal (0) or anomalous (1); one, two or all of them."""
    few = torch.tensor(draw.choice(((0,), (1,), (-1,), (-1, 1), (0, 1), (-1, 0, 1))))
    return few[draw.integers(len(few), shape[0])]


def negatives(draw: Draw, shape: Shape, labels: Tensor) -> Tensor:
    """Some logits of the negative class: of a pair ``[0, z]`` only the second may be ``-inf``."""
    return (labels != 1) & (draw.uniform(*shape) < 0.5)


def beyond_the_true_rank(draw: Draw, shape: Shape, labels: Tensor) -> Tensor:
    """Some logits of ranks above the true one, which may be impossible."""
    return (torch.arange(shape[-1]) >= labels.unsqueeze(-1)) & (draw.uniform(*shape) < 0.5)


@dataclass(frozen=True)
class Kind:
    """What logits and targets are made of.

    Args:
        shape: of the logits.
        class_dim: the dimension of the classes, if the logits have one.
        maskable: whether a logit may be ``-inf``.
        values: makes of any numbers what the function takes.
        further: how many more classes there are than logits.
        labels: draws targets of a shape, of so many classes.
        of_rows: whether targets are any labels of rows, and no classes.
        masked: draws which logits are ``-inf``; ``None`` for some classes other than the true one.
    """

    shape: Callable[[Draw], Shape]
    class_dim: int | None
    maskable: bool = True
    values: Callable[[Tensor, torch.dtype], Tensor] = lambda numbers, dtype: numbers
    further: int = 0
    labels: Callable[[Draw, Shape, int], Tensor] = class_labels
    of_rows: bool = False
    masked: Callable[[Draw, Shape, Tensor], Tensor] | None = None

    def target_shape(self, shape: Shape) -> Shape:
        if self.class_dim is None:
            return shape
        at = self.class_dim % len(shape)
        return shape[:at] + shape[at + 1 :]

    def result_shape(self, shape: Shape) -> Shape:
        """The shape of a function's result without targets: a number for each logit, or for each class."""
        return (*shape[:-1], shape[-1] + self.further) if self.further else shape


def _classes(draw: Draw) -> int:
    return draw.choices((1, 2, 3, 4, 6), (8, 30, 25, 25, 12))[0]


def _sizes(draw: Draw, least: int, most: int, room: int = 12) -> Shape:
    """Sizes of some dimensions with little room together, as the oracles are slow."""
    sizes: list[int] = []
    for _ in range(draw.randint(least, most)):
        sizes.append(min(draw.size(), room // max(math.prod(sizes), 1)))
    return tuple(sizes)


def _with_classes(draw: Draw, sizes: Shape) -> Shape:
    return (sizes[0], _classes(draw), *sizes[1:])


def _wide_or(draw: Draw) -> Shape:
    """``[..., C]``, now and then with so many classes that rows are searched for those that matter."""
    if draw.chance(0.01):
        return (draw.randint(1, 2), 600)
    return (*_sizes(draw, 1, 2), _classes(draw))


ELEMENTS = Kind(lambda d: _sizes(d, 1, 4, room=24), None, masked=negatives)
CLASS_FIRST = Kind(lambda d: _with_classes(d, _sizes(d, 1, 3)), 1)
IMAGES = Kind(lambda d: _with_classes(d, _sizes(d, 2, 3)), 1)
CLASS_LAST = Kind(lambda d: (*_sizes(d, 1, 2), _classes(d)), -1)
WIDE = Kind(_wide_or, -1)
ORDERED = Kind(CLASS_LAST.shape, -1, further=1, masked=beyond_the_true_rank)
ROWS = Kind(
    lambda d: (d.randint(0, 9), d.choice((1, 2, 3, 5))), None, maskable=False, labels=labels_of_rows, of_rows=True
)
SCORES = Kind(lambda d: (d.randint(0, 9),), None, maskable=False)
# The gradient of a small distance, 1 / d**2, has to fit float16.
DISTANCES = Kind(
    SCORES.shape,
    None,
    maskable=False,
    values=lambda x, dtype: x.abs().clamp_min(0.05 * (dtype == torch.float16)),
    labels=anomaly_labels,
)

SMOOTHING: Mapping[str, Callable[[Draw], Any]] = {"label_smoothing": lambda d: d.choice((0.0, 0.1, 1.0))}
CLASSIFICATION = {**SMOOTHING, "ignore_index": Draw.ignored}


def every_class(options: Options, classes: int) -> range:
    return range(classes)


def ignored_classes(options: Options) -> Tensor:
    """The numbers of ``ignore_index``: one, several or none."""
    given = options.get("ignore_index")
    return torch.tensor([given] if isinstance(given, int) else given or [], dtype=torch.long)


@dataclass(frozen=True)
class Subject:
    """A function, what it is fed with, and its options.

    Args:
        kind: what its logits and targets are made of.
        options: how to draw each option, from those before it (``given``) if they have to go together.
        demanded: options that are never left out.
        exclusive: groups of options of which at most one is given.
        needs: options that are given only with another one.
        technical: options that change how the result is computed, and not the result: the oracle does not have them.
        maskable: the classes that may have a logit of ``-inf`` where they are not the target.
        has_target: whether the function takes targets; one that does not returns the shape of its logits.
        optional_target: whether the target may be left out, unless one of the options ``with_target`` is given.
        scalar: whether the result is one number for the whole batch.
        scale: how large the terms are that may cancel in the gradient, where that can be more than 1.
        jumps: whether the value jumps so near that rounding decides.
        distance: how far logits and target are from a corner, where there is more than one gradient.
    """

    kind: Kind
    options: Mapping[str, Callable[[Draw], Any]] = field(default_factory=dict)
    demanded: tuple[str, ...] = ()
    exclusive: tuple[tuple[str, ...], ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    technical: tuple[str, ...] = ()
    maskable: Callable[[Options, int], Any] = every_class
    has_target: bool = True
    optional_target: bool = False
    with_target: tuple[str, ...] = ()
    scalar: bool = False
    scale: Callable[[Case], Tensor] = lambda case: torch.ones(())
    jumps: Callable[[Case], bool] = lambda case: False
    distance: Callable[[Tensor, Tensor, Options], float] = lambda logits, target, options: math.inf
