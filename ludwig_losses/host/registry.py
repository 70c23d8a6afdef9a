"""Lookups in Ludwig's registries: the losses, declared ones and Ludwig's own, and their metrics."""

from __future__ import annotations

import copy

from ludwig.modules import loss_modules
from ludwig.modules.metric_registry import get_metric_registry
from ludwig.schema.features.loss import loss as loss_schemas
from torch import nn

from ludwig_losses.declare.declaration import Declaration
from ludwig_losses.declare.schema import BaseLossConfig, json_schema
from ludwig_losses.metrics.reported.base import FeatureMetric, MetricOfLoss


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
    """Return the JSON schema of each parameter of a loss of this package or of Ludwig's own."""
    properties = json_schema(loss_schemas.get_loss_schema_registry()[name])["properties"]
    return {key: schema for key, schema in properties.items() if key != "type"}


def load_config(loss: dict) -> BaseLossConfig | None:
    """Return the config object for a loss section if the loss is a declared one, else ``None``."""
    return None if find(loss.get("type")) is None else config_of(loss)


def config_of(loss: dict) -> BaseLossConfig:
    """Return the config object for a loss section, of this package or of Ludwig's own."""
    # `from_dict` pops keys from its argument.
    return loss_schemas.get_loss_schema_registry()[loss["type"]].from_dict(copy.deepcopy(dict(loss)))


def module_of(config: BaseLossConfig) -> nn.Module:
    """Return the module of a loss of this package or of Ludwig's own."""
    return loss_modules.create_loss(config)


def metrics_of_feature(feature_type: str) -> list[type[FeatureMetric]]:
    """Return the metrics that every output feature of a type has."""
    classes = dict.fromkeys(get_metric_registry().values())
    return [cls for cls in classes if issubclass(cls, FeatureMetric) and feature_type in cls.features]


def metrics_of_losses() -> set[str]:
    """Return the names of the metrics that only features trained with certain losses have."""
    return {name for name, metric_cls in get_metric_registry().items() if issubclass(metric_cls, MetricOfLoss)}
