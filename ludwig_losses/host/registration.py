"""Registers losses and metrics with Ludwig: one declaration provides everything that Ludwig looks up."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from ludwig.constants import LOGITS, MAXIMIZE, MINIMIZE
from ludwig.modules import loss_modules
from ludwig.modules.metric_registry import (
    get_metric_feature_type_registry,
    get_metric_objective,
    get_metric_registry,
    get_metric_tensor_input,
    register_metric,
)
from ludwig.schema.features.loss import loss as loss_schemas

from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.declaration import Declaration, origin_of
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import ANOMALY, BaseLossConfig, json_schema, with_type
from ludwig_losses.host import contract
from ludwig_losses.host.model.metrics import DeclaredLossMetric
from ludwig_losses.host.registry import find, losses_by_feature
from ludwig_losses.metrics.reported.base import FeatureMetric
from ludwig_losses.metrics.reported.terms import TermsMetric

_Module = TypeVar("_Module", bound=Loss)


def register_loss(
    config_cls: type[BaseLossConfig], *, features: str | Iterable[str], aliases: Iterable[str] = ()
) -> Callable[[type[_Module]], type[_Module]]:
    """Class decorator that makes a loss module selectable with ``loss.type`` in a Ludwig configuration.

    Registers the schema, the implementation and the metric of the same name, for every feature type and every name.
    What Ludwig lists under one of the names without being able to train it is replaced.

    Args:
        config_cls: the schema class; its ``type`` is the name of the loss.
        features: the output feature types, for instance ``["category", "image"]``.
        aliases: further names for the same loss.

    Raises:
        TypeError: a class is not a schema or not a loss module.
        ValueError: a name is taken, or a feature type does not exist.
    """
    features = (features,) if isinstance(features, str) else tuple(features)
    aliases = tuple(aliases)

    def enter(module_cls: type[_Module]) -> type[_Module]:
        _check(config_cls, module_cls, features, aliases)
        require = functools.partial(contract.require_for_every_loss, config_cls.type)
        module_cls.declaration = Declaration(config_cls, module_cls, features, aliases, require)
        for metric_cls in module_cls.metrics:
            for name in metric_cls.NAMES:
                objective = MINIMIZE if name in metric_cls.LOWER_IS_BETTER else MAXIMIZE
                register_metric(name, list(features), objective, LOGITS)(metric_cls)
        _enter(config_cls, module_cls, features)
        for alias in aliases:
            alias_cls = with_type(config_cls, alias)
            # Pickle finds classes by name in their module.
            setattr(sys.modules[alias_cls.__module__], alias_cls.__name__, alias_cls)
            _enter(alias_cls, module_cls, features)
        validation = sys.modules.get("ludwig.config_validation.validation")
        if validation is not None and hasattr(validation, "get_schema"):  # imported before, and not just being imported
            validation.get_schema.cache_clear()
        return module_cls

    return enter


def _enter(config_cls: type[BaseLossConfig], module_cls: type[Loss], features: tuple[str, ...]) -> None:
    loss_schemas.register_loss(list(features))(config_cls)
    loss_modules.register_loss(config_cls)(module_cls)
    register_metric(config_cls.type, list(features), MINIMIZE, LOGITS)(DeclaredLossMetric)


def _check(config_cls: type, module_cls: type, features: tuple[str, ...], aliases: tuple[str, ...]) -> None:
    """Refuse declarations that would fail, or make other losses fail, when Ludwig reads the registries."""
    where = origin_of(module_cls)
    if not (isinstance(config_cls, type) and issubclass(config_cls, LossConfig)):
        raise TypeError(
            f"{where}: register_loss needs a schema, a subclass of ludwig_losses.LossConfig; got {config_cls!r}"
        )
    if not isinstance(getattr(config_cls, "type", None), str):
        raise TypeError(f'{where}: {config_cls.__name__} has no name; write `type: str = loss_type("my_loss")` in it')
    if not issubclass(module_cls, Loss):
        raise TypeError(f"{where}: a loss module is a subclass of ludwig_losses.Loss; got {module_cls.__mro__[1]!r}")
    known = {ANOMALY, *loss_schemas._loss_feature_registry}  # older Ludwigs get the feature type from this package
    unknown = [feature for feature in features if feature not in known]
    if unknown or not features:
        raise ValueError(
            f"{where}: features = {list(features)}; the output feature types are {', '.join(sorted(known))}"
        )
    for name in (config_cls.type, *aliases):
        _check_name(where, name, module_cls)
    json_schema(config_cls)


def _check_name(where: str, name: str, module_cls: type) -> None:
    found = find(name)
    if found is not None:
        # Running a cell of a notebook again replaces the loss that it has declared before.
        same = (found.module_cls.__module__, found.module_cls.__qualname__)
        if same != (module_cls.__module__, module_cls.__qualname__):
            raise ValueError(f"{where}: the name {name!r} is taken by {found.origin}; choose another `type`")
    elif name in get_metric_registry() and not _gets_wrong_tensor(name):
        # A loss that Ludwig lists without a metric of its name does not train.
        raise ValueError(f"{where}: Ludwig has a loss or metric named {name!r} itself; choose another `type`")


def _gets_wrong_tensor(name: str) -> bool:
    """Whether Ludwig evaluates a loss of its own on the wrong tensor, so that it does not train."""
    module_cls = loss_modules.loss_impl_registry.get(loss_schemas.get_loss_schema_registry().get(name))
    return module_cls is not None and module_cls.get_loss_inputs() != get_metric_tensor_input(name)


def register_feature_metric(metric_cls: type[FeatureMetric]) -> None:
    """Make a metric known under its names for all output features of its types."""
    for name in metric_cls.NAMES:
        objective = MINIMIZE if name in metric_cls.LOWER_IS_BETTER else MAXIMIZE
        register_metric(name, list(metric_cls.features), objective, metric_cls.tensor)(metric_cls)


def register_term_metrics(names: Iterable[str], features: Iterable[str]) -> None:
    """Register the metrics that hold the values of the terms of a loss; the lower, the better."""
    for name in names:
        register_metric(name, list(features), MINIMIZE, LOGITS)(TermsMetric)


def complete_metrics() -> None:
    """Register the metric of each of Ludwig's losses for all feature types that it offers the loss for: one without
    its metric does not train."""
    for feature, names in losses_by_feature().items():
        for name in names:
            if (
                find(name) is None
                and name in get_metric_registry()
                and name not in get_metric_feature_type_registry().get(feature, {})
            ):
                metric_cls = get_metric_registry()[name]
                register_metric(name, [feature], get_metric_objective(name), get_metric_tensor_input(name))(metric_cls)
