"""Inputs as bad as a host can produce, drawn at random, for every loss with its options drawn at random.

What is drawn for a function, and how, the family of its oracle says. A case is a name and a seed, and every part of it
comes from a source of its own: a further option leaves the other parts of all cases as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

import oracles
from ludwig_losses import functional
from oracles._hostile import Draw, Subject, ignored_classes
from oracles._inputs import Options, Shape

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
TARGET_DTYPES = (torch.bool, torch.int8, torch.uint8, torch.int32, torch.int64)

SUBJECTS = {name: facts.hostile for name, facts in oracles.FUNCTIONS.items() if facts.hostile is not None}


@dataclass(frozen=True)
class Layout:
    """How logits lie in memory: a tensor that holds them, and the view of it that the loss gets."""

    hold: Callable[[Tensor], Tensor]
    view: Callable[[Tensor, Shape], Tensor]


LAYOUTS = {
    "contiguous": Layout(lambda x: x, lambda x, shape: x),
    "transposed": Layout(lambda x: x.transpose(0, -1).contiguous(), lambda x, shape: x.transpose(0, -1)),
    "strided": Layout(lambda x: torch.stack([x, x], dim=-1), lambda x, shape: x[..., 0]),
    "offset": Layout(lambda x: torch.cat([x[:1], x]), lambda x, shape: x[1:]),
    "expanded": Layout(lambda x: x[:1].clone(), lambda x, shape: x.expand(shape)),
}


@dataclass(frozen=True)
class Case:
    """One call of a function.

    Args:
        held: the tensor whose layout the logits are a view of.
        target: class indices, labels, or ``None``.
        weight: what the elements of an unreduced result count in the mean; ``None`` for all the same.
        autocast: whether the call is made inside ``torch.autocast``.
        traits: what is special about the case, in words.
    """

    name: str
    seed: int
    shape: Shape
    held: Tensor
    layout: str
    target: Tensor | None
    options: Options
    weight: Tensor | None
    autocast: bool
    traits: frozenset[str]

    @property
    def subject(self) -> Subject:
        return SUBJECTS[self.name]

    @property
    def function(self) -> Callable[..., Tensor]:
        return partial(getattr(functional, self.name), **self.options)

    @property
    def oracle(self) -> Callable[..., Tensor]:
        """The oracle, of float64 logits and targets of int64."""
        given = {k: _double(v) for k, v in self.options.items() if k not in self.subject.technical}
        oracle = partial(oracles.ORACLES[self.name], **given)
        return lambda logits, target=None: oracle(logits, *([] if target is None else [target.long()]))

    @property
    def counts_nothing(self) -> bool:
        """Whether there is no element, or every one is ignored."""
        counted = torch.ones(()) if self.weight is None else self.weight
        if self.target is not None:
            counted = counted * ~torch.isin(self.target.long(), ignored_classes(self.options))
        return 0 in self.shape or not counted.any()

    @property
    def smooth(self) -> bool:
        """Whether there is one gradient, and rounding does not change it."""
        if self.subject.jumps(self):
            return False
        margin = 1e-9 if self.held.dtype == torch.float64 else 1e-4
        return self.subject.distance(self.logits.double(), self.target, self.options) > margin

    @property
    def logits(self) -> Tensor:
        return LAYOUTS[self.layout].view(self.held, self.shape)

    def call(self, function: Callable[..., Tensor], logits: Tensor) -> Tensor:
        return function(logits, self.target) if self.subject.has_target else function(logits)

    def __str__(self) -> str:
        given = {key: value.tolist() if isinstance(value, Tensor) else value for key, value in self.options.items()}
        lines = [
            f"{self.name}, seed {self.seed}: {self.shape}, {given}, {', '.join(sorted(self.traits))}",
            f"logits = {self.logits}",
            f"target = {self.target}",
            f"weight = {self.weight}",
        ]
        return "\n".join(lines)


def draw_case(name: str, seed: int) -> Case:
    """Return the case of a number, always the same one."""
    subject = SUBJECTS[name]
    source = partial(_source, name, seed)
    draw = source("shape")
    shape = subject.kind.shape(draw)
    dtype = draw.choice(DTYPES)
    classes = 2 if subject.kind.class_dim is None else shape[subject.kind.class_dim] + subject.kind.further
    options = _draw_options(subject, partial(source, shape=shape, classes=classes, dtype=dtype))
    labels = _draw_labels(source("labels"), subject, options, shape, classes)
    spoil = partial(_spoil, source("senseless"), subject, options, labels)
    layout, held = _draw_logits(source("logits"), subject, options, shape, labels, dtype, spoil)
    target = _draw_target(source("target"), subject, options, labels)
    per_element = subject.has_target and not subject.scalar
    weight = _draw_weight(source("weight"), labels, classes) if per_element else None
    case = Case(name, seed, shape, held, layout, target, options, weight, source("autocast").chance(0.2), frozenset())
    return Case(**{**vars(case), "traits": _traits(case, dtype, classes)})


def _source(name: str, seed: int, part: str, **known: Any) -> Draw:
    draw = Draw(f"{name} {seed} {part}")
    vars(draw).update(known)
    return draw


def _draw_options(subject: Subject, source: Callable[..., Draw]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, values in subject.options.items():
        draw = source(f"option {name}", given=options)
        rivals = {other for group in subject.exclusive if name in group for other in group}
        if (
            (name in subject.demanded or draw.chance(0.6))
            and not rivals & {*options}
            and subject.needs.get(name, "") in {*options, ""}
        ):
            options[name] = values(draw)
    return options


def _draw_labels(draw: Draw, subject: Subject, options: Options, shape: Shape, classes: int) -> Tensor:
    """The labels of the kind, some or all of them ignored."""
    labels = subject.kind.labels(draw, subject.kind.target_shape(shape), classes)
    ignored = ignored_classes(options)
    if len(ignored):
        chosen = ignored[draw.integers(len(ignored), *labels.shape)]
        labels = torch.where(draw.uniform(*labels.shape) < draw.choice((0.0, 0.3, 1.0)), chosen, labels)
    return labels


def _draw_target(draw: Draw, subject: Subject, options: Options, labels: Tensor) -> Tensor | None:
    """The labels as a host hands them over: in any type that holds them, not always contiguous."""
    if not subject.has_target or (
        subject.optional_target and draw.chance(0.5) and not {*subject.with_target} & {*options}
    ):
        return None
    held = [dtype for dtype in TARGET_DTYPES if bool((labels.to(dtype) == labels).all())]
    target = labels.to(draw.choice(held))
    layout = LAYOUTS[draw.choice(("contiguous", "transposed", "strided", "offset"))]
    return layout.view(layout.hold(target), target.shape) if target.dim() else target


def _draw_weight(draw: Draw, labels: Tensor, classes: int) -> Tensor | None:
    """What a module's mean gives each element: class weights, a mask, both or none; all of them may be 0."""
    weight = None
    if draw.chance(0.4):
        draw.classes = classes
        weight = draw.per_class()[labels.clamp(0, classes - 1)]
    if draw.chance(0.4):
        counted = draw.uniform(*labels.shape) >= draw.choice((0.3, 1.0))
        weight = counted if weight is None else weight * counted
    return weight


def _draw_logits(
    draw: Draw,
    subject: Subject,
    options: Options,
    shape: Shape,
    labels: Tensor,
    dtype: torch.dtype,
    spoil: Callable[[Tensor], Tensor],
) -> tuple[str, Tensor]:
    values = _VALUES[draw.choice([*_VALUES])](draw, shape, subject.kind.class_dim, labels)
    layout = draw.choice([*LAYOUTS])
    masked = torch.zeros(shape, dtype=torch.bool)
    if subject.kind.maskable and draw.chance(0.3):
        masked = _draw_mask(draw, subject, options, shape, labels)
    if layout == "expanded":
        masked = masked.all(dim=0, keepdim=True).expand(shape)
    values = subject.kind.values(values, dtype).masked_fill(masked, -torch.inf).to(dtype)
    if layout != "expanded":
        values = spoil(values)
    return layout, LAYOUTS[layout].hold(values)


def _spoil(draw: Draw, subject: Subject, options: Options, labels: Tensor, values: Tensor) -> Tensor:
    """Make nonsense of the logits of some ignored elements, or of all."""
    if not len(ignored_classes(options)) or draw.chance(0.6):
        return values
    spoiled = torch.isin(labels, ignored_classes(options)) & (draw.uniform(*labels.shape) < draw.choice((0.5, 1.0)))
    logits = draw.uniform(*values.shape) < draw.choice((0.3, 1.0))
    if subject.kind.class_dim is not None:
        spoiled = spoiled.unsqueeze(subject.kind.class_dim)
    return values.masked_fill(spoiled & logits, draw.choice((torch.nan, torch.inf, -torch.inf)))


def _draw_mask(draw: Draw, subject: Subject, options: Options, shape: Shape, labels: Tensor) -> Tensor:
    """Which logits are ``-inf``: none of a true class, unless the kind has a way of its own."""
    if subject.kind.masked is not None:
        return subject.kind.masked(draw, shape, labels)
    classes = shape[subject.kind.class_dim]
    everywhere = draw.chance(0.5)
    chosen = draw.uniform(*([classes] if everywhere else (*labels.shape, classes))) < 0.5
    allowed = torch.tensor([c in subject.maskable(options, classes) for c in range(classes)])
    # An ignored class may be masked, but not all the others with it.
    ignored = torch.isin(labels, ignored_classes(options))
    true = torch.nn.functional.one_hot((labels + ignored) % classes, classes).bool()
    if everywhere:
        true = true.flatten(0, -2).any(dim=0).expand(true.shape)
    return (chosen & allowed & ~true).movedim(-1, subject.kind.class_dim)


def _gap(draw: Draw, shape: Shape, class_dim: int | None, labels: Tensor, right: bool) -> Tensor:
    """Logits of a network that is sure, rightly or wrongly."""
    size = draw.choice((10.0, 16.6, 30.0, 90.0, 1e3, 1e4))
    if class_dim is None:
        sure = 2.0 * (labels.reshape(labels.shape + (1,) * (len(shape) - labels.dim())) % 2) - 1
        return (sure if right else -sure).double().expand(shape) * size
    classes = shape[class_dim]
    chosen = labels.clamp(0, classes - 1) + (0 if right else 1)
    return size * torch.nn.functional.one_hot(chosen % classes, classes).movedim(-1, class_dim).double()


_VALUES: dict[str, Callable[[Draw, Shape, int | None, Tensor], Tensor]] = {
    "normal": lambda d, shape, *_: d.normal(*shape) * d.logarithmic(1e-2, 30),
    "wide": lambda d, shape, *_: (2 * d.uniform(*shape) - 1) * d.logarithmic(10, 1e4),
    "of any size": lambda d, shape, *_: d.normal(*shape).sign() * 10 ** (7 * d.uniform(*shape) - 3),
    "largest": lambda d, shape, *_: d.normal(*shape).sign() * d.choice((1e4, 6e4)),
    "all equal": lambda d, shape, *_: torch.full(shape, d.choice((0.0, 1.0, -3.0, 1e4, -1e4)), dtype=torch.float64),
    "tied": lambda d, shape, *_: (d.integers(3, *shape) - 1.0).double() * d.choice((0.5, 1.0, 2.0, 1e4)),
    "tied pixels": lambda d, shape, *_: d.normal(*shape[:2], *[1] * len(shape[2:])).expand(shape) * 3,
    "offset": lambda d, shape, *_: d.normal(*shape) * 3 + d.choice((100.0, 9000.0, -9000.0)),
    "rightly sure": partial(_gap, right=True),
    "wrongly sure": partial(_gap, right=False),
    "rightly sure, nearly": lambda d, *rest: _gap(d, *rest, right=True) + d.normal(*rest[0]),
    "wrongly sure, nearly": lambda d, *rest: _gap(d, *rest, right=False) + d.normal(*rest[0]),
    "zero rows": lambda d, shape, *_: d.normal(*shape) * (d.uniform(shape[0], *[1] * len(shape[1:])) < 0.5),
}


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _traits(case: Case, dtype: torch.dtype, classes: int) -> frozenset[str]:
    logits, target, weight = case.logits, case.target, case.weight
    traits = {
        str(dtype): True,
        case.layout: True,
        f"target {getattr(target, 'dtype', None)}": case.subject.has_target,
        "autocast": case.autocast,
        "empty": 0 in case.shape,
        "one row": case.shape[0] == 1,
        "one class": classes == 1,
        "-inf": bool(logits.isneginf().any()),
        "senseless": bool(logits.isnan().any()) or bool((logits == torch.inf).any()),
        "large": logits.numel() > 0 and logits.nan_to_num(neginf=0).abs().max() >= 5000,
        "tied": logits.numel() > 1 and logits.flatten().unique().numel() < logits.numel(),
        "all equal": logits.numel() > 1 and logits.flatten().unique().numel() == 1,
        "absent class": target is not None and not case.subject.kind.of_rows and target.unique().numel() < classes,
        "weighted": weight is not None,
        "all ignored": 0 not in case.shape and case.counts_nothing,
        **{f"with {option}": True for option in case.options},
        **{f"without {option}": option not in case.options for option in case.subject.options},
    }
    return frozenset(trait for trait, holds in traits.items() if holds)
