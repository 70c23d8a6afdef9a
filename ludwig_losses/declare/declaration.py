"""A loss as it was declared: what joins its schema, its module and the feature types that may use it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ludwig_losses.advice import Advice
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.schema import parameters_of
from ludwig_losses.parameters import Parameter, Terms

if TYPE_CHECKING:
    from ludwig_losses.declare.loss import Loss


@dataclass(frozen=True)
class Declaration:
    """A loss as it was declared.

    Args:
        config_cls: its schema.
        module_cls: its module.
        features: the types of output features that may use it.
        aliases: its other names.
        require: called before a module is made; raises where Ludwig lacks what every loss needs.
    """

    config_cls: type[LossConfig]
    module_cls: type[Loss]
    features: tuple[str, ...]
    aliases: tuple[str, ...]
    require: Callable[[], None]

    @property
    def name(self) -> str:
        return self.config_cls.type

    @property
    def origin(self) -> str:
        """Where the loss was declared."""
        return origin_of(self.module_cls)

    @property
    def summary(self) -> str:
        """The first line of the schema's docstring."""
        return (self.config_cls.__doc__ or "").strip().partition("\n")[0]

    @property
    def advice(self) -> Advice | None:
        """When to take the loss, where its schema says so."""
        return self.config_cls.advice

    @property
    def parameters(self) -> dict[str, Parameter | None]:
        return parameters_of(self.config_cls)

    @property
    def has_terms(self) -> bool:
        """Whether the loss is made of others."""
        return any(isinstance(parameter, Terms) for parameter in self.parameters.values())

    def features_with(self, key: str) -> tuple[str, ...]:
        """The feature types on which the loss has a parameter."""
        parameter = self.parameters[key]
        only = self.features if parameter is None or parameter.features is None else parameter.features
        return tuple(feature for feature in self.features if feature in only)


def origin_of(cls: type) -> str:
    """Return the name of a class and the file that it stands in."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or "interactive session"
    return f"{cls.__qualname__} ({file})"
