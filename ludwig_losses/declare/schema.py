"""The two generations of Ludwig's schemas (marshmallow up to 0.11, pydantic from 0.12) behind one interface."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from typing import Any

from ludwig.constants import BINARY, CATEGORY, IMAGE, NUMBER, SEQUENCE, SET, TEXT, TIMESERIES, VECTOR
from ludwig.modules.loss_modules import LogitsInputsMixin
from ludwig.schema import utils as schema_utils
from ludwig.schema.features.loss.loss import BaseLossConfig

from ludwig_losses.parameters import (
    Choice,
    Classes,
    Count,
    Flag,
    Index,
    Levels,
    Number,
    NumberOrWord,
    Numbers,
    OptionalNumber,
    Order,
    Parameter,
    PerClass,
    Terms,
    Whole,
)

ANOMALY = "anomaly"  # Ludwig's constants have it from 0.14 on.

__all__ = [
    "ANOMALY",
    "BINARY",
    "CATEGORY",
    "IMAGE",
    "NUMBER",
    "SEQUENCE",
    "SET",
    "TEXT",
    "TIMESERIES",
    "VECTOR",
    "BaseLossConfig",
    "DeclaredLossConfig",
    "LogitsInputsMixin",
    "field",
    "json_schema",
    "loss_type",
    "parameters_of",
    "with_type",
]

PYDANTIC = hasattr(BaseLossConfig, "model_fields")


def keep_inherited_fields(config_cls: Any) -> None:
    """Give a pydantic class of configurations the fields that it inherits as they were declared.

    Ludwig's metaclass returns inherited defaults as attributes. Pydantic takes these for new fields and drops their
    ranges, options and descriptions.
    """
    for name in config_cls.model_fields.keys() - inspect.get_annotations(config_cls).keys():
        owner = next(cls for cls in config_cls.__mro__ if name in inspect.get_annotations(cls))
        config_cls.__pydantic_fields__[name] = copy.copy(owner.model_fields[name])


class DeclaredLossConfig(BaseLossConfig):
    """Ludwig's base of loss configurations; a class body below it is all that a schema needs."""

    if PYDANTIC:

        @classmethod
        def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
            super().__pydantic_init_subclass__(**kwargs)
            keep_inherited_fields(cls)
            # A field may take the place of a class variable, as class_weights does.
            cls.__class_vars__ = cls.__class_vars__ - cls.model_fields.keys()
            cls.model_rebuild(force=True)

    else:

        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            schema_utils.ludwig_dataclass(cls)  # completes the class in place


def loss_type(name: str) -> Any:
    """The ``type`` field of a loss configuration: the name under which ``loss.type`` selects it."""
    return schema_utils.ProtectedString(name, description="Type of loss.")


def field(parameter: Parameter) -> Any:
    """Return Ludwig's schema field for a parameter, with the parameter attached for :func:`parameters_of`.

    Raises:
        ValueError: the default of the parameter, or what is worth trying, is none of its values.
    """
    if not parameter.required and not parameter.accepts(parameter.default):
        raise ValueError(f"the default of a parameter is {parameter.default!r}, expected {parameter.allowed}")
    wrong = [value for value in parameter.worth_trying if not parameter.accepts(value)]
    if wrong:
        raise ValueError(f"worth_trying of a parameter has {wrong[0]!r}, expected {parameter.allowed}")
    native = _native_field(parameter)
    if PYDANTIC:
        native.metadata = [*native.metadata, parameter]
        return native
    default = {"default": native.default}
    if native.default_factory is not dataclasses.MISSING:
        default = {"default_factory": native.default_factory}
    return dataclasses.field(metadata={**native.metadata, "parameter": parameter}, **default)


def parameters_of(config_cls: type[BaseLossConfig]) -> dict[str, Parameter | None]:
    """Return the parameters of a config class, its own ones before the inherited ones.

    A field that was written with Ludwig's own helpers has no ``Parameter``: its value is left to Ludwig to check.
    """
    if PYDANTIC:
        attached = {name: info.metadata for name, info in config_cls.model_fields.items()}
    else:
        attached = {info.name: info.metadata.values() for info in dataclasses.fields(config_cls)}
    names = [name for cls in config_cls.__mro__ for name in inspect.get_annotations(cls) if name in attached]
    return {
        name: next((entry for entry in attached[name] if isinstance(entry, Parameter)), None)
        for name in dict.fromkeys(names)
        if name != "type"
    }


def json_schema(config_cls: type[BaseLossConfig]) -> dict[str, Any]:
    """Return the JSON schema of a config class, from which Ludwig's validator is made."""
    if PYDANTIC:
        return schema_utils.unload_jsonschema_from_config_class(config_cls)
    return schema_utils.unload_jsonschema_from_marshmallow_class(config_cls)


def with_type(config_cls: type[BaseLossConfig], name: str) -> type[BaseLossConfig]:
    """Derive the config class that an alias needs, since Ludwig selects by type and looks losses up by class."""
    class_name = f"{config_cls.__name__}__{name}"
    namespace = {
        "__module__": config_cls.__module__,
        "__qualname__": class_name,
        "__doc__": config_cls.__doc__,
        "__annotations__": {"type": str},
        "type": loss_type(name),
    }
    metaclass: Any = type(config_cls)
    return metaclass(class_name, (config_cls,), namespace)


def _native_field(parameter: Parameter) -> Any:  # noqa: PLR0912 - one case for each type
    common = {"default": parameter.default, "description": parameter.description}
    match parameter:
        case Levels():
            return schema_utils.OneOfOptionsField(allow_none=False, field_options=_levels_options(), **common)
        case Numbers():
            return schema_utils.OneOfOptionsField(allow_none=False, field_options=_numbers_options(parameter), **common)
        case NumberOrWord():
            return schema_utils.OneOfOptionsField(allow_none=False, field_options=_word_options(parameter), **common)
        case Number():
            nothing = isinstance(parameter, OptionalNumber)
            return schema_utils.FloatRange(**_range(parameter), allow_none=nothing, **common)
        case Index():
            return schema_utils.NonNegativeInteger(allow_none=True, **common)
        case Whole(minimum=minimum):
            return schema_utils.IntegerRange(min=minimum, **common)
        case Count():
            return schema_utils.PositiveInteger(allow_none=True, **common)
        case Flag():
            return schema_utils.Boolean(**common)
        case Choice(options=options):
            return schema_utils.StringOptions(list(options), **common)
        case Classes():
            return schema_utils.OneOfOptionsField(allow_none=True, field_options=_classes_options(), **common)
        case Order():
            return schema_utils.OneOfOptionsField(allow_none=True, field_options=_order_options(), **common)
        case PerClass():
            return schema_utils.OneOfOptionsField(
                allow_none=True, field_options=_per_class_options(parameter), **common
            )
        case Terms():
            return schema_utils.DictList(allow_none=True, **common)
    raise TypeError(f"no schema field for a parameter of type {type(parameter).__name__}")


def _range(parameter: Number) -> dict[str, Any]:
    lowest = parameter.minimum if parameter.above is None else parameter.above
    return {"min": lowest, "max": parameter.maximum, "min_inclusive": parameter.above is None}


def _levels_options() -> list[Any]:
    number = schema_utils.FloatRange(default=0.5, min=0, max=1, description="A number.")
    return [number, schema_utils.List(list_type=float, allow_none=False, description="Several numbers.")]


def _numbers_options(parameter: Numbers) -> list[Any]:
    number = schema_utils.FloatRange(default=parameter.default, description="A number.", **_range(parameter))
    return [number, schema_utils.List(list_type=float, allow_none=False, description="Several numbers.")]


def _word_options(parameter: NumberOrWord) -> list[Any]:
    lowest, options = _range(parameter)["min"], list(parameter.options)
    default = lowest if parameter.above is None else lowest + 1.0
    number = schema_utils.FloatRange(default=default, description="A number.", **_range(parameter))
    words = schema_utils.StringOptions(options, default=options[0], allow_none=False, description="A word.")
    return [number, words]


def _classes_options() -> list[Any]:
    return [
        schema_utils.String(default="", description="The name of a class."),
        schema_utils.NonNegativeInteger(default=0, description="The index of a class."),
        schema_utils.List(list_type=str, allow_none=False, description="Names of classes."),
        schema_utils.List(list_type=int, allow_none=False, description="Indices of classes."),
    ]


def _order_options() -> list[Any]:
    return [
        schema_utils.List(list_type=str, allow_none=False, description="Names of classes, from low to high."),
        schema_utils.DictList(allow_none=False, description="Their names, each with its index: in a saved model."),
    ]


def _per_class_options(parameter: PerClass) -> list[Any]:
    options = [
        schema_utils.List(list_type=float, allow_none=False, description="A number for each class, in their order."),
        schema_utils.Dict(default={}, allow_none=False, description="A number for each class, by its name."),
    ]
    if parameter.by_frequency:
        words, meaning = list(parameter.by_frequency), "What the numbers follow from."
        options.append(schema_utils.StringOptions(words, default=words[0], description=meaning))
    if parameter.single:
        bounds = {"min": parameter.minimum, "max": parameter.maximum}
        options.insert(0, schema_utils.FloatRange(default=parameter.default, description="A single number.", **bounds))
    return options
