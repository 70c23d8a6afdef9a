"""Entering a loss into Ludwig: from one declaration, everything that Ludwig looks up."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ludwig.constants import LOGITS, MAXIMIZE, MINIMIZE
from ludwig.modules import loss_modules
from ludwig.modules.metric_modules import LossMetric
from ludwig.modules.metric_registry import (
    get_metric_feature_type_registry,
    get_metric_objective,
    get_metric_registry,
    get_metric_tensor_input,
    register_metric,
)
from ludwig.schema.features.loss import loss as loss_schemas
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.host.metrics import MeansMetric
from ludwig_losses.host.schema import ANOMALY, BaseLossConfig, DeclaredLossConfig, json_schema, parameters_of, with_type
from ludwig_losses.parameters import Parameter, Terms

if TYPE_CHECKING:
    from ludwig_losses.losses.base import Loss

_Module = TypeVar("_Module", bound="Loss")
_Metric = TypeVar("_Metric", bound=Any)


@dataclass(frozen=True)
class Declaration:
    """A loss as it was declared: its schema, its module, the feature types that may use it, its other names."""

    config_cls: type[BaseLossConfig]
    module_cls: type[Loss]
    features: tuple[str, ...]
    aliases: tuple[str, ...]

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
        return getattr(self.config_cls, "advice", None)

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


class DeclaredLossMetric(MeansMetric, LossMetric):
    """The evaluation metric of every declared loss; Ludwig demands one under the name of the loss.

    Ludwig's own average weighs all batches alike, and asks the device after each whether the loss is a number; this one
    is the loss of all rows as one batch, as far as that is made of means, and asks at the end.
    """

    def __init__(self, config: BaseLossConfig, **kwargs: Any) -> None:
        super().__init__()
        self.loss_function = loss_modules.create_loss(config)
        self.columns = 2 * self.loss_function.num_means

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.keep_means(self.loss_function.batch_means(preds, target))

    def compute(self) -> Tensor:
        values, denominators = self.kept_means()
        if values.isnan().any():
            warnings.warn("The loss of some batches is not a number; they do not count in its average.", stacklevel=2)
        elif values.numel() and not denominators.any():
            warnings.warn("No row of the data counts in the loss: its value says nothing.", stacklevel=2)
        return self.loss_function.from_means(self.average(values, denominators))

    def get_current_value(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch, which Ludwig has mostly just updated the metric with."""
        return self.loss_function.value_of(preds, target)


# Feature type -> metrics that Ludwig reports for all of its features, whatever the loss.
_metrics_of_features: dict[str, list[type[Any]]] = {}


def register_feature_metric(*, features: Iterable[str], tensor: str) -> Callable[[type[_Metric]], type[_Metric]]:
    """Class decorator that makes a metric known under its ``NAMES``, the larger the better, and adds it to features.

    The class has a method ``for_feature`` that makes the metric of one of Ludwig's output features, and tells Ludwig
    with ``can_report`` not to make one itself: several names are one metric.

    Args:
        features: the output feature types.
        tensor: what the metric compares with the targets, Ludwig's ``PREDICTIONS`` or ``LOGITS``.
    """

    def enter(metric_cls: type[_Metric]) -> type[_Metric]:
        for name in metric_cls.NAMES:
            register_metric(name, list(features), MAXIMIZE, tensor)(metric_cls)
        for feature in features:
            _metrics_of_features.setdefault(feature, []).append(metric_cls)
        return metric_cls

    return enter


def metrics_of_feature(feature_type: str) -> list[type[Any]]:
    """Return the metrics that every output feature of a type has."""
    return _metrics_of_features.get(feature_type, [])


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
        module_cls.declaration = Declaration(config_cls, module_cls, features, aliases)
        for metric_cls in module_cls.metrics:
            for name in metric_cls.NAMES:
                objective = MINIMIZE if name in getattr(metric_cls, "LOWER_IS_BETTER", ()) else MAXIMIZE
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
    """Refuse what would fail, or make other losses fail, once Ludwig reads the registries."""
    where = origin_of(module_cls)
    if not (isinstance(config_cls, type) and issubclass(config_cls, DeclaredLossConfig)):
        raise TypeError(
            f"{where}: register_loss needs a schema, a subclass of ludwig_losses.LossConfig; got {config_cls!r}"
        )
    if not isinstance(getattr(config_cls, "type", None), str):
        raise TypeError(f'{where}: {config_cls.__name__} has no name; write `type: str = loss_type("my_loss")` in it')
    if not (issubclass(module_cls, nn.Module) and hasattr(module_cls, "projects")):
        raise TypeError(f"{where}: a loss module is a subclass of ludwig_losses.Loss; got {module_cls.__mro__[1]!r}")
    known = {ANOMALY, *loss_schemas._loss_feature_registry}  # older Ludwigs get the feature type from the pack
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
    elif name in get_metric_registry() and not _is_misfed(name):
        # A loss that Ludwig lists without a metric of its name does not train.
        raise ValueError(f"{where}: Ludwig has a loss or metric named {name!r} itself; choose another `type`")


def _is_misfed(name: str) -> bool:
    """Whether Ludwig evaluates a loss of its own, which then does not train, on another tensor than it is made for."""
    module_cls = loss_modules.loss_impl_registry.get(loss_schemas.get_loss_schema_registry().get(name))
    return module_cls is not None and module_cls.get_loss_inputs() != get_metric_tensor_input(name)


def origin_of(cls: type) -> str:
    """Return the name of a class and the file that it stands in."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or "interactive session"
    return f"{cls.__qualname__} ({file})"


def declaration_of(config_cls: type[BaseLossConfig]) -> Declaration | None:
    """Return the declaration behind a config class, or ``None`` for a loss of Ludwig's own."""
    return getattr(loss_modules.loss_impl_registry.get(config_cls), "declaration", None)


def projects(config: BaseLossConfig) -> bool:
    """Whether a feature with this loss predicts with the projection, and the score, of the loss."""
    declaration = declaration_of(type(config))
    return declaration is not None and declaration.module_cls.projects(config)


def find(name: str | None) -> Declaration | None:
    """Return the declaration of the loss with this name or alias, or ``None``."""
    return declaration_of(loss_schemas.get_loss_schema_registry().get(name))


def catalogue() -> dict[str, Declaration]:
    """Return every declared loss by its name (not its aliases), in the order of their names."""
    names = loss_schemas.get_loss_schema_registry()
    return {name: found for name in sorted(names) if (found := find(name)) is not None and found.name == name}


def metrics_of_losses() -> set[str]:
    """Return the names of the metrics that only features trained with certain losses have."""
    of_features = {metric_cls for classes in _metrics_of_features.values() for metric_cls in classes}
    classes = get_metric_registry().items()
    return {name for name, metric_cls in classes if hasattr(metric_cls, "NAMES") and metric_cls not in of_features}


def register_term_metrics(metric_cls: type, names: Iterable[str], features: Iterable[str]) -> None:
    """Register the metrics that hold the values of the terms of a loss; the lower, the better."""
    for name in names:
        register_metric(name, list(features), MINIMIZE, LOGITS)(metric_cls)


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


def losses_by_feature() -> dict[str, list[str]]:
    """Return the names of all losses, Ludwig's own included, for each feature type."""
    return {feature: losses_for(feature) for feature in sorted(loss_schemas._loss_feature_registry)}


def losses_for(feature_type: str) -> list[str]:
    """Return the names of all losses, Ludwig's own included, that a feature type may use."""
    return sorted(loss_schemas._loss_feature_registry.get(feature_type, {}))


def ludwigs_parameters(feature_type: str | None = None) -> set[str]:
    """Return the parameters of all losses of Ludwig's own, for a feature type or for any."""
    of_features = loss_schemas._loss_feature_registry
    classes = (of_features.get(feature_type, {}) if feature_type else loss_schemas.get_loss_schema_registry()).values()
    own = [config_cls for config_cls in classes if declaration_of(config_cls) is None]
    return {name for config_cls in own for name in config_cls.get_valid_field_names()}


def parameter_schemas(name: str) -> dict[str, dict]:
    """Return the JSON schema of each parameter of a loss, whoever it is from."""
    properties = json_schema(loss_schemas.get_loss_schema_registry()[name])["properties"]
    return {key: schema for key, schema in properties.items() if key != "type"}


def load_config(loss: dict) -> BaseLossConfig | None:
    """Return the config object for a loss section if the loss is a declared one, else ``None``."""
    return None if find(loss.get("type")) is None else config_of(loss)


def config_of(loss: dict) -> BaseLossConfig:
    """Return the config object for a loss section, whoever the loss is from."""
    # Ludwig removes from what it gets.
    return loss_schemas.get_loss_schema_registry()[loss["type"]].from_dict(copy.deepcopy(dict(loss)))


def module_of(config: BaseLossConfig) -> nn.Module:
    """Return the module of a loss, whoever it is from."""
    return loss_modules.create_loss(config)
