"""What a loss parameter may be: one declaration, from which schema, strict check and documentation follow;
and what a feature may tell it once the data is known."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ludwig_losses._ranges import range_text


@dataclass(frozen=True)
class Fault:
    """What is wrong with a value.

    Args:
        value: what is not accepted.
        expected: what would be, as a message says it.
        entry: which part of the parameter's value it is, such as ``[1]``; empty for all of it.
    """

    value: Any
    expected: str
    entry: str = ""

    def __str__(self) -> str:
        return f"got {shown(self.value)}, expected {self.expected}."


@dataclass(frozen=True)
class Place:
    """Where something stands in a configuration, as messages begin with it."""

    path: str
    feature: str | None = None

    def at(self, path: str) -> Place:
        """Return a place inside of this one, for instance ``at(".gamma")`` or ``at("[1]")``."""
        return replace(self, path=self.path + path)

    def __str__(self) -> str:
        return self.path if self.feature is None else f"{self.path} (output feature '{self.feature}')"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a loss.

    Args:
        default: the value when the configuration says nothing.
        description: one sentence for the user.
        features: the feature types that have the parameter; ``None`` for every type of the loss.
        worth_trying: values that ``ludwig-losses compare --tune`` tries beside the default.
        worth_trying_on: the feature types on which it does; ``None`` for every type that has the parameter.
    """

    default: Any
    description: str
    features: tuple[str, ...] | None = None
    worth_trying: tuple[Any, ...] = ()
    worth_trying_on: tuple[str, ...] | None = None

    # Whether the configuration has to give a value: the default is none.
    required: ClassVar[bool] = False

    @property
    def allowed(self) -> str:
        """What may be written, as it stands in error messages and tables."""
        raise NotImplementedError

    def accepts(self, value: Any) -> bool:
        """Whether the value may be written."""
        raise NotImplementedError

    def fault(self, value: Any) -> Fault | None:
        """Return what is wrong with the value, or ``None``."""
        return None if self.accepts(value) else Fault(value, self.allowed)


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number (a bool is none)."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer larger than every float
        return False


def shown(value: Any) -> str:
    """Return a value as messages show it: what is very long is cut."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write integers of thousands of digits.
        return "a very large number"
    return text if len(text) <= 200 else f"{text[:100]}...{text[-20:]}"


def _is_index(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 0


def _is_name(value: Any) -> bool:
    return isinstance(value, (str, bool))  # YAML reads true and false, names of binary classes, as bool.


@dataclass(frozen=True, kw_only=True)
class Number(Parameter):
    """A finite number within a range; ``above`` excludes its bound, ``minimum`` and ``maximum`` include theirs."""

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None

    @property
    def allowed(self) -> str:
        return "a number" + range_text(self.minimum, self.above, self.maximum)

    def accepts(self, value: Any) -> bool:
        return (
            is_number(value)
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
        )


@dataclass(frozen=True, kw_only=True)
class OptionalNumber(Number):
    """A number within a range, or nothing."""

    @property
    def allowed(self) -> str:
        return f"{super().allowed}, or null"

    def accepts(self, value: Any) -> bool:
        return value is None or super().accepts(value)


@dataclass(frozen=True, kw_only=True)
class Numbers(Number):
    """A number within a range, or a list of such numbers."""

    def entry(self, index: int) -> Number:
        """What the entry of a list may be."""
        return Number(default=None, description="", minimum=self.minimum, above=self.above, maximum=self.maximum)

    @property
    def allowed(self) -> str:
        return f"{super().allowed}, or a list of such numbers"

    def accepts(self, value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return bool(value) and all(self.entry(index).accepts(number) for index, number in enumerate(value))
        return super().accepts(value)

    def fault(self, value: Any) -> Fault | None:
        entries = enumerate(value) if isinstance(value, (list, tuple)) else ()
        faults = ((index, self.entry(index).fault(number)) for index, number in entries)
        wrong = (replace(fault, entry=f"[{index}]") for index, fault in faults if fault is not None)
        return next(wrong, None) or super().fault(value)


@dataclass(frozen=True, kw_only=True)
class Levels(Numbers):
    """A number between 0 and 1, or a list of such numbers that ascends."""

    above: float = 0
    maximum: float = 1

    @property
    def allowed(self) -> str:
        return "a number in (0, 1), or a list of such numbers, each larger than the one before"

    def accepts(self, value: Any) -> bool:
        numbers = list(value) if isinstance(value, (list, tuple)) else [value]
        ascends = all(is_number(number) and 0 < number < 1 for number in numbers) and sorted({*numbers}) == numbers
        return bool(numbers) and ascends

    def fault(self, value: Any) -> Fault | None:
        return Parameter.fault(self, value)


@dataclass(frozen=True, kw_only=True)
class Coefficients(Numbers):
    """The first coefficients of a series, one number or a list; the j-th, from 1, is at least ``minimum / j``."""

    minimum: float

    def entry(self, index: int) -> Number:
        return Number(default=None, description="", minimum=self.minimum / (index + 1))

    @property
    def allowed(self) -> str:
        return f"a number >= {self.minimum:g}, or a list whose j-th number is >= {self.minimum:g} / j"


@dataclass(frozen=True, kw_only=True)
class NumberOrWord(Number):
    """A number within a range, or a word that stands for one."""

    options: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return ", ".join([super().allowed, *self.options])

    def accepts(self, value: Any) -> bool:
        return value in self.options if isinstance(value, str) else super().accepts(value)


@dataclass(frozen=True, kw_only=True)
class Whole(Parameter):
    """A whole number from ``minimum`` on."""

    minimum: int

    @property
    def allowed(self) -> str:
        return f"a whole number >= {self.minimum}"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= self.minimum


@dataclass(frozen=True, kw_only=True)
class Index(Parameter):
    """The index of a class or symbol, or nothing."""

    @property
    def allowed(self) -> str:
        return "a whole number >= 0, or null"

    def accepts(self, value: Any) -> bool:
        return value is None or _is_index(value)


@dataclass(frozen=True, kw_only=True)
class Classes(Parameter):
    """Some classes: one, a list, or none; text is a name and a number an index.

    Args:
        options: words for certain classes; then a value is one of them or a list, not a single class or none.
    """

    options: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        if self.options:
            return f"{', '.join(self.options)}, or a list of names or of indices of classes"
        return "the name or the index of a class, a list of names or of indices, or null"

    def accepts(self, value: Any) -> bool:
        if self.options and not isinstance(value, (list, tuple)):
            return isinstance(value, str) and value in self.options
        if not isinstance(value, (list, tuple)):
            return value is None or _is_name(value) or _is_index(value)
        return bool(value) and (all(map(_is_name, value)) or all(map(_is_index, value)))

    def fault(self, value: Any) -> Fault | None:
        fault = super().fault(value)
        if fault and isinstance(value, (list, tuple)) and value and all(_is_name(v) or _is_index(v) for v in value):
            mixed = "names or indices, which cannot be mixed: put quotes around a name that looks like a number"
            return replace(fault, expected=mixed)
        return fault


@dataclass(frozen=True, kw_only=True)
class Order(Parameter):
    """All classes from low to high, by name, or nothing.

    A number is a name here: as indices, numbers would stand for how frequent the classes are. Once resolved, the
    entries are mappings from a name to its index, which is how a model is saved.
    """

    @property
    def allowed(self) -> str:
        return "a list with the names of all classes, each once, from low to high, or null"

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, (list, tuple)):
            return value is None
        if all(isinstance(entry, dict) for entry in value):
            return all(len(entry) == 1 and all(map(_is_index, entry.values())) for entry in value)
        return all(_is_name(entry) or is_number(entry) for entry in value) and len({*map(str, value)}) == len(value)


@dataclass(frozen=True, kw_only=True)
class Count(Parameter):
    """How many of something, or nothing."""

    @property
    def allowed(self) -> str:
        return "a whole number >= 1, or null"

    def accepts(self, value: Any) -> bool:
        return value is None or (
            isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 1
        )


@dataclass(frozen=True, kw_only=True)
class Flag(Parameter):
    """Yes or no."""

    @property
    def allowed(self) -> str:
        return "true or false"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True, kw_only=True)
class Choice(Parameter):
    """One of a few names."""

    options: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(self.options)

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.options


@dataclass(frozen=True, kw_only=True)
class PerClass(Parameter):
    """One number per class: a list in the order of the classes, or a dict from class name to number.

    Args:
        minimum, maximum: the range of each number, bounds included.
        single: whether one number may stand for all classes.
        by_frequency: words that may stand for numbers, which follow from how often each class occurs.
        weights: whether the numbers are weights of examples, so that there is nothing to learn if all of them are 0.
    """

    minimum: float | None = None
    maximum: float | None = None
    single: bool = False
    by_frequency: tuple[str, ...] = ()
    weights: bool = False

    @property
    def _entry(self) -> Number:
        return Number(default=None, description="", minimum=self.minimum, maximum=self.maximum)

    @property
    def allowed(self) -> str:
        entry = self._entry.allowed
        per_class = f"a list or a dict by class name with {entry} for every class"
        per_class += ", not all of them 0" if self.weights else ""
        return ", ".join([*([entry] if self.single else []), "null", *self.by_frequency, per_class])

    def accepts(self, value: Any) -> bool:
        if isinstance(value, str):
            return value in self.by_frequency
        if not isinstance(value, (dict, list, tuple)):
            return value is None or (self.single and self._entry.accepts(value))
        values = _entries(value)
        return bool(values) and all(map(self._entry.accepts, values)) and not (self.weights and not any(values))

    def fault(self, value: Any) -> Fault | None:
        fault = super().fault(value)
        if fault and self.weights and replace(self, weights=False).accepts(value):
            return replace(fault, expected="a number > 0 for at least one class: else there is nothing to learn")
        return fault


def _entries(value: dict | list | tuple) -> list[Any]:
    return [*value.values()] if isinstance(value, dict) else [*value]


@dataclass(frozen=True, kw_only=True)
class Terms(Parameter):
    """Losses, each with its own parameters."""

    default: Any = None
    required: ClassVar[bool] = True

    @property
    def allowed(self) -> str:
        return "a list of losses, each a mapping with its `type` and parameters"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, (list, tuple)) and bool(value)  # each of them is checked as a loss


@dataclass(frozen=True)
class Feature:
    """What preprocessing found out about an output feature.

    Args:
        name: of the feature.
        classes: the names of its classes in the order of their indices; ``None`` where they have no names.
        num_classes: how many there are; ``None`` where there are none.
        symbols: names among the classes that Ludwig adds (padding, unknown, start and stop).
        synonyms: further names of classes.
        padding: the index of the padding symbol, for sequences.
        frequencies: how often each class occurs, in the order of the classes; ``None`` where Ludwig has not counted.
        top_k: how many predictions Ludwig's hits at k looks at; ``None`` where it has no such metric.
        of_labels: whether a row has any number of the classes.
        rows, rows_of_classes: how many rows the data of several labels a row has, and how many have each label, where
            the loss asks for it.
        path: where its loss, or the term of it that is looked at, stands in the configuration.
    """

    name: str
    classes: list[str] | None = None
    num_classes: int | None = None
    symbols: frozenset[str] = frozenset()
    synonyms: Mapping[str, str] = field(default_factory=dict)
    padding: int | None = None
    frequencies: list[int] | None = None
    top_k: int | None = None
    of_labels: bool = False
    rows: int | None = None
    rows_of_classes: list[int] | None = None
    path: str = "loss"

    def place(self, parameter: str = "") -> Place:
        """Where the loss, or one of its parameters, stands, for a message to begin with."""
        return Place(f"{self.path}.{parameter}" if parameter else self.path, self.name)


def numeric_order(names: Sequence[str]) -> list[str] | None:
    """Return names that are different numbers by their values, ``None`` where they are not."""
    try:
        numbers = {name: float(name) for name in names}
    except ValueError:
        return None
    if len({number for number in numbers.values() if is_number(number)}) < len(names):
        return None
    return sorted(names, key=lambda name: numbers[name])
