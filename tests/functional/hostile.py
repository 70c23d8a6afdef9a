"""Inputs as bad as a host can produce, drawn at random, for every loss with its options drawn at random.

A case is a name and a seed. Every part of it comes from a source of its own: a further option in the table below leaves
the other parts of all cases as they are.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

import oracles
from ludwig_losses import functional

Shape = tuple[int, ...]
Options = Mapping[str, Any]

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
TARGET_DTYPES = (torch.bool, torch.int8, torch.uint8, torch.int32, torch.int64)


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


@dataclass(frozen=True)
class Kind:
    """What logits and targets are made of.

    Args:
        shape: of the logits.
        class_dim: the dimension of the classes, if the logits have one.
        maskable: whether a logit may be ``-inf``.
        values: makes of any numbers what the function takes.
        further: how many more classes there are than logits.
    """

    shape: Callable[[Draw], Shape]
    class_dim: int | None
    maskable: bool = True
    values: Callable[[Tensor, torch.dtype], Tensor] = lambda numbers, dtype: numbers
    further: int = 0

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


ELEMENTS = Kind(lambda d: _sizes(d, 1, 4, room=24), None)
CLASS_FIRST = Kind(lambda d: _with_classes(d, _sizes(d, 1, 3)), 1)
IMAGES = Kind(lambda d: _with_classes(d, _sizes(d, 2, 3)), 1)
CLASS_LAST = Kind(lambda d: (*_sizes(d, 1, 2), _classes(d)), -1)
WIDE = Kind(_wide_or, -1)
ORDERED = Kind(CLASS_LAST.shape, -1, further=1)
ROWS = Kind(lambda d: (d.randint(0, 9), d.choice((1, 2, 3, 5))), None, maskable=False)
SCORES = Kind(lambda d: (d.randint(0, 9),), None, maskable=False)
# The gradient of a small distance, 1 / d**2, has to fit float16.
DISTANCES = Kind(
    SCORES.shape, None, maskable=False, values=lambda x, dtype: x.abs().clamp_min(0.05 * (dtype == torch.float16))
)


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
    scalar: bool = False
    scale: Callable[[Case], Tensor] = lambda case: torch.ones(())
    jumps: Callable[[Case], bool] = lambda case: False
    distance: Callable[[Tensor, Tensor, Options], float] = lambda logits, target, options: math.inf


def _unknown_classes(options: Options, classes: int) -> Any:
    """Examples of no known class want something of every one that is known; of a single known class, of all."""
    known = options.get("known")
    if known is None:
        return range(classes)
    return () if len(known) == 1 else [c for c in range(classes) if c not in known.tolist()]


def _rounding_decides(case: Case) -> bool:
    """Without smoothing, a class that is neither present nor predicted costs 0; with the least mass, 1.

    A root is steep at 0: where there are hardly numbers left for the mistakes, they decide.
    """
    if case.counts_nothing:
        return False
    names = ("log_dice", "focal_tversky_gamma", "class_weights")
    options = {name: value for name, value in case.options.items() if name not in names}
    scores = oracles.dice_scores(case.logits.double(), case.target.long(), **options)
    steep = 1e-290 if case.held.dtype == torch.float64 else 1e-30
    return any(
        (options.get("smooth") == 0 and 0 < numerator + mistakes < 1e-30)
        or (case.options.get("focal_tversky_gamma", 1) > 1 and mistakes < steep * (numerator + mistakes))
        for image in scores
        for numerator, mistakes in image
    )


def _by_length(case: Case) -> Tensor:
    """The gradient of a unit row is of the size of 1 / temperature; that of a short row is as much larger."""
    length = case.logits.double().norm(dim=1, keepdim=True)
    return 1 / (case.options.get("temperature", 0.07) * torch.where(length > 0, length, 1))


def _between_errors(logits: Tensor, target: Tensor, options: Options) -> float:
    """The least difference between two errors of a class: where they tie, the Lovász extension has a corner."""
    p = logits.softmax(dim=1).unsqueeze(-1).flatten(2)
    labels = target.long().reshape(len(p), p.shape[2])
    counted = ~torch.isin(labels, ignored_classes(options))
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


def _overlap_ignored(draw: Draw) -> int | list[int]:
    """As :meth:`Draw.ignored`, with a class left that counts."""
    counted = range(draw.classes)[0 if draw.given.get("include_background", True) else 1 :]
    ignored = draw.ignored()
    left = {*counted} - {*ignored_classes({"ignore_index": ignored}).tolist()}
    return ignored if left else draw.choice((255, -100, [255, -100]))


def _ignored_beside_classes(draw: Draw) -> int | list[int]:
    """As :meth:`Draw.ignored`, and no class whose mean is asked for."""
    averaged, ignored = draw.given.get("classes", "present"), draw.ignored()
    if isinstance(averaged, str) or not {*averaged} & {*ignored_classes({"ignore_index": ignored}).tolist()}:
        return ignored
    return draw.choice(([c for c in range(draw.classes) if c not in averaged], 255, -100))


def _missed_weight(draw: Draw) -> float:
    return draw.choice((0.3, 1.0, 2.0) if draw.given.get("tversky_alpha") == 0 else (0.0, 0.3, 1.0, 2.0))


def _memory(draw: Draw) -> Tensor:
    """Past embeddings, of any length, none of them or some."""
    rows = draw.normal(draw.choice((0, 1, 4)), draw.shape[1]) * draw.logarithmic(1e-3, 1e4)
    return (rows * (draw.uniform(len(rows), 1) < 0.8)).to(draw.dtype)


def _memory_labels(draw: Draw) -> Tensor:
    labels = draw.integers(draw.choice((1, 3, 100)), len(draw.given["memory"])) - draw.choice((0, 3))
    return labels.to(draw.choice((torch.int8, torch.int32, torch.int64)))


def _to_threshold(logits: Tensor, _: Tensor, options: Options, alpha: float = 1.5) -> float:
    """The least distance of a logit from the threshold, from where on its probability is not 0."""
    if not logits.numel():
        return math.inf
    alpha = options.get("alpha", alpha)
    x = (alpha - 1) * (logits - logits.amax(dim=-1, keepdim=True))
    p = oracles.entmax(logits, alpha)
    distance = (x + p.amax(dim=-1, keepdim=True) ** (alpha - 1)).abs().min().item()
    # There the derivative, p**(2 - alpha), has a slope that is infinite: rounding changes it from farther away.
    return distance**1.5 / 3 if 1.5 < alpha < 2 else distance


def _is_nearly_hard(case: Case) -> bool:
    """Reduced focal loss jumps where a probability passes the threshold; at 0.5, only its gradient does.

    A threshold of 1 is passed, if at all, where there is no loss left.
    """
    threshold, z = case.options.get("reduced_threshold", 1.0), case.logits.double()
    p = torch.stack([z.sigmoid(), (-z).sigmoid()]) if case.subject.kind is ELEMENTS else z.softmax(dim=1)
    return threshold < 1 and bool(((p - threshold).abs() < 1e-5).any())


def _poly_coefficients(draw: Draw) -> float | list[float]:
    """The change of the first coefficient of the expansion, or of the first few; down to what removes it."""
    epsilons = [draw.choice((-1.0, -0.5, 0.0, 2.0, 5.0)) / j for j in range(1, draw.randint(1, 4) + 1)]
    return epsilons[0] if draw.chance(0.4) else epsilons


_gamma = {"gamma": lambda d: d.choice((0.0, 0.3, 1.0, 2.0, 5.0))}
_known = {"known": Draw.some_classes}
_smoothing = {"label_smoothing": lambda d: d.choice((0.0, 0.1, 1.0))}
_classification = {**_smoothing, "ignore_index": Draw.ignored}
# The gradient has to fit float16.
_focal = {
    "gamma": lambda d: d.choice((0.0, 0.3, 1.0, 2.0, 5.0, 30.0)),
    **_classification,
    "reduced_threshold": lambda d: d.choice((0.5, 0.8, 1.0) if d.given.get("gamma") == 30 else (0.2, 0.5, 0.8, 1.0)),
}
_alpha = {"alpha": lambda d: 1 + d.choice((0.24, 0.26, 0.5, 1.0, d.random(), d.logarithmic(1e-9, 1.0)))}


def _to_boundary(distance: Tensor, target: Tensor | None, options: Options) -> float:
    """The least difference between a distance and the radius, where the soft boundary has a corner, or the cutoff."""
    to_cutoff = _to_cutoff(distance, target, options)
    if options.get("nu", 0) == 0 or not distance.numel():
        return to_cutoff
    return min((distance - options["radius2"]).abs().min().item(), to_cutoff)


def _to_cutoff(score: Tensor, _: Tensor | None, options: Options) -> float:
    """The least difference between a score and its cutoff."""
    return (score - options.get("cutoff", math.inf)).abs().min().item() if score.numel() else math.inf


def _cutoff(draw: Draw) -> float | Tensor:
    """One number, or one for each row; exact in every type, so that all agree which rows are beyond it."""
    cutoff = draw.choice((0.0, 1.0, 2.5, 512.0, math.inf))
    if draw.chance(0.5):
        return cutoff
    each = torch.where(draw.uniform(*draw.shape) < 0.5, cutoff, draw.choice((0.0, 0.5, math.inf)))
    return each if draw.chance(0.5) else torch.tensor(cutoff, dtype=torch.float64)


def _radius2(draw: Draw) -> float | Tensor:
    radius2 = draw.choice((0.0, 1.0, draw.logarithmic(1e-3, 1e4)))
    return radius2 if draw.chance(0.5) else torch.tensor(radius2, dtype=torch.float64)


def _on(draw: Draw) -> bool:
    return True


# A new option is one line: its name, and how to draw a value.
SUBJECTS = {
    "sigmoid_focal_loss": Subject(ELEMENTS, {**_focal, "alpha": lambda d: d.per_class(2)}, jumps=_is_nearly_hard),
    "softmax_focal_loss": Subject(CLASS_FIRST, {**_focal, "alpha": Draw.per_class}, jumps=_is_nearly_hard),
    "poly_loss": Subject(CLASS_FIRST, {**_gamma, **_classification, "epsilon": _poly_coefficients}),
    "dice_loss": Subject(
        IMAGES,
        {
            "smooth": lambda d: d.choice((0.0, 1e-6, 0.1, 10.0)),
            "include_background": lambda d: d.classes == 1 or d.chance(0.3),
            "ignore_index": _overlap_ignored,
            "class_weights": Draw.per_class,
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
    "lovasz_softmax_loss": Subject(
        CLASS_FIRST,
        {
            "classes": lambda d: d.choice(("present", "all", d.some_classes().tolist())),
            "per_image": lambda d: d.chance(0.7),
            "ignore_index": _ignored_beside_classes,
        },
        scalar=True,
        distance=_between_errors,
    ),
    "nt_xent_loss": Subject(
        ROWS,
        {
            "temperature": lambda d: d.choice((0.05, 0.5, 3.0)),
            "chunk_size": lambda d: d.randint(1, 10),
            "average": lambda d: d.choice(("pairs", "anchors", "anchors")),
            "memory": _memory,
            "memory_labels": _memory_labels,
        },
        needs={"memory_labels": "memory"},
        technical=("chunk_size",),
        scalar=True,
        scale=_by_length,
    ),
    "corn_loss": Subject(ORDERED),
    "entmax15_loss": Subject(WIDE, _classification),
    "sparsemax_loss": Subject(WIDE, _classification),
    "entmax_loss": Subject(WIDE, {**_alpha, **_classification}),
    "entropic_open_set_loss": Subject(CLASS_LAST, _known, maskable=_unknown_classes),
    "objectosphere_loss": Subject(
        CLASS_LAST,
        {
            **_known,
            "xi": lambda d: d.choice((0.0, 1.0, 100.0)),
            # The gradient, 2 zeta F, has to fit float16.
            "zeta": lambda d: d.choice((0.0, 0.01, 0.5)),
            "features": lambda d: d.logarithmic(1e-3, 1e4) * d.normal(*d.shape[:-1], d.randint(1, 4)).to(d.dtype),
        },
        maskable=_unknown_classes,
    ),
    "bi_tempered_logistic_loss": Subject(
        CLASS_LAST,
        {
            "t1": lambda d: d.choice((0.0, 0.3, 0.8, 1.0)),
            "t2": lambda d: d.choice((1.0, 1.2, 2.0, 4.0)),
            **_smoothing,
        },
    ),
    "corn_probabilities": Subject(ORDERED, has_target=False),
    "deep_svdd_loss": Subject(
        DISTANCES,
        {"nu": lambda d: d.choice((0.0, 0.01, 0.5, 1.0)), "radius2": _radius2, "cutoff": _cutoff},
        demanded=("radius2",),
        has_target=False,
        distance=_to_boundary,
    ),
    "deep_sad_loss": Subject(
        DISTANCES,
        {
            "eta": lambda d: d.choice((0.1, 3.0, 10.0)),
            "eps": lambda d: d.choice((1e-9, 1e-3, 0.5)),
            "cutoff": _cutoff,
        },
        distance=_to_boundary,
    ),
    "drocc_loss": Subject(
        SCORES,
        {
            "adversarial_score": lambda d: d.logarithmic(1e-2, 1e4) * d.normal(*d.shape).to(d.dtype),
            "mu": lambda d: d.choice((0.0, 0.3, 10.0)),
            "cutoff": _cutoff,
        },
        demanded=("adversarial_score",),
        has_target=False,
        distance=_to_cutoff,
    ),
    "entmax": Subject(CLASS_LAST, _alpha, has_target=False, distance=_to_threshold),
    "entmax15": Subject(CLASS_LAST, has_target=False, distance=_to_threshold),
    "sparsemax": Subject(CLASS_LAST, has_target=False, distance=partial(_to_threshold, alpha=2.0)),
    "tempered_softmax": Subject(CLASS_LAST, {"t": lambda d: d.choice((1.0, 1.2, 2.0, 4.0))}, has_target=False),
    "known_softmax": Subject(CLASS_LAST, _known, demanded=("known",), maskable=_unknown_classes, has_target=False),
}


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
        oracle = partial(getattr(oracles, self.name), **given)
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
    """Class indices, of all or few classes, some or all of them ignored; or labels of rows."""
    if subject.kind is DISTANCES:
        few = torch.tensor(draw.choice(((0,), (1,), (-1,), (-1, 1), (0, 1), (-1, 0, 1))))
        return few[draw.integers(len(few), shape[0])]
    if subject.kind is ROWS:
        return draw.integers(draw.choice((1, 2, 1 + shape[0] // 2, 100)), shape[0]) - draw.choice((0, 3))
    labels = draw.integers(classes, *subject.kind.target_shape(shape))
    present = draw.choice((1, 2, classes, classes))
    labels = (labels % present + draw.randrange(classes)) % classes
    ignored = ignored_classes(options)
    if len(ignored):
        chosen = ignored[draw.integers(len(ignored), *labels.shape)]
        labels = torch.where(draw.uniform(*labels.shape) < draw.choice((0.0, 0.3, 1.0)), chosen, labels)
    return labels


def _draw_target(draw: Draw, subject: Subject, options: Options, labels: Tensor) -> Tensor | None:
    """The labels as a host hands them over: in any type that holds them, not always contiguous."""
    if not subject.has_target or (subject.kind is ROWS and draw.chance(0.5) and "memory_labels" not in options):
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
    """Which logits are ``-inf``: none of a true class, and of a pair ``[0, z]`` only the second."""
    if subject.kind is ELEMENTS:
        return (labels != 1) & (draw.uniform(*shape) < 0.5)
    if subject.kind is ORDERED:  # what is beyond the true class may be impossible
        return (torch.arange(shape[-1]) >= labels.unsqueeze(-1)) & (draw.uniform(*shape) < 0.5)
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
        "absent class": target is not None and case.subject.kind is not ROWS and target.unique().numel() < classes,
        "weighted": weight is not None,
        "all ignored": 0 not in case.shape and case.counts_nothing,
        **{f"with {option}": True for option in case.options},
        **{f"without {option}": option not in case.options for option in case.subject.options},
    }
    return frozenset(trait for trait, holds in traits.items() if holds)
