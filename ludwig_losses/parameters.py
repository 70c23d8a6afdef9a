"""What a loss parameter may be: one declaration, from which schema, strict check and documentation follow;
and what a feature may tell it once the data is known."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a loss.

    Args:
        default: the value when the configuration says nothing.
        description: one sentence for the user.
        features: the feature types that have the parameter; ``None`` for every type of the loss.
    """

    default: Any
    description: str
    features: tuple[str, ...] | None = None

    # Whether the configuration has to give a value: the default is none.
    required: ClassVar[bool] = False

    @property
    def allowed(self) -> str:
        """What may be written, as it stands in error messages and tables."""
        raise NotImplementedError

    def accepts(self, value: Any) -> bool:
        """Whether the value may be written."""
        raise NotImplementedError


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number (a bool is none)."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


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
        return "a number" + _range_text(self.minimum, self.above, self.maximum)

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

    @property
    def allowed(self) -> str:
        return f"{super().allowed}, or a list of such numbers"

    def accepts(self, value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return bool(value) and all(map(super().accepts, value))
        return super().accepts(value)


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
    """

    minimum: float | None = None
    maximum: float | None = None
    single: bool = False
    by_frequency: tuple[str, ...] = ()

    @property
    def _entry(self) -> Number:
        return Number(default=None, description="", minimum=self.minimum, maximum=self.maximum)

    @property
    def allowed(self) -> str:
        entry = self._entry.allowed
        per_class = f"a list or a dict by class name with {entry} for every class"
        return ", ".join([*([entry] if self.single else []), "null", *self.by_frequency, per_class])

    def accepts(self, value: Any) -> bool:
        if isinstance(value, str):
            return value in self.by_frequency
        if isinstance(value, dict):
            return bool(value) and all(map(self._entry.accepts, value.values()))
        if isinstance(value, (list, tuple)):
            return bool(value) and all(map(self._entry.accepts, value))
        return value is None or (self.single and self._entry.accepts(value))


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
        symbols: names among the classes that no user wrote (padding, unknown, start and stop).
        synonyms: further names of classes.
        padding: the index of the padding symbol, for sequences.
        frequencies: how often each class occurs, in the order of the classes; ``None`` where Ludwig has not counted.
    """

    name: str
    classes: list[str] | None = None
    num_classes: int | None = None
    symbols: frozenset[str] = frozenset()
    synonyms: Mapping[str, str] = field(default_factory=dict)
    padding: int | None = None
    frequencies: list[int] | None = None


def _range_text(minimum: float | None, above: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" in [{minimum:g}, {maximum:g}]"
    if above is not None and maximum is not None:
        return f" in ({above:g}, {maximum:g}]"
    bounds = ((">=", minimum), (">", above), ("<=", maximum))
    return "".join(f" {sign} {bound:g}" for sign, bound in bounds if bound is not None)
