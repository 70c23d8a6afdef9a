"""Which losses need which group of patches, and their refusal where it is not in place."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ludwig.constants import (
    BINARY,
    CATEGORY,
    IMAGE,
    LOSS,
    NUMBER,
    SEQUENCE,
    SET,
    SOFTMAX_CROSS_ENTROPY,
    TEXT,
    TIMESERIES,
    VECTOR,
)
from ludwig.error import ConfigValidationError

from ludwig_losses import patches
from ludwig_losses.declare.schema import ANOMALY
from ludwig_losses.host import patch
from ludwig_losses.host.registry import declaration_of, find, projects
from ludwig_losses.parameters import Place
from ludwig_losses.patches import Group

_WITH_CLASSES = (BINARY, CATEGORY, IMAGE, SEQUENCE, SET, TEXT)


def _every(feature_type: str, loss: Any) -> bool:
    return declaration_of(type(loss)) is not None


def _has_metrics(loss: Any) -> bool:
    declaration = declaration_of(type(loss))
    return declaration is not None and bool(declaration.module_cls.metrics)


# Group -> whether a loss on a feature of some type needs it. The start of several ranks checks their groups itself.
NEEDS: dict[str, Callable[[str, Any], bool]] = {
    "losses": _every,
    "configurations": _every,
    "anomaly": lambda feature_type, loss: feature_type == ANOMALY,
    "evaluation loss": _every,
    "validation metric": lambda feature_type, loss: _every(feature_type, loss) and loss.validates_on_loss(feature_type),
    "classes": lambda feature_type, loss: feature_type in _WITH_CLASSES and _every(feature_type, loss),
    "class counts": lambda feature_type, loss: _every(feature_type, loss) and loss.asks_for_counts(feature_type),
    # The default validation metric of anomaly features is one of theirs.
    "metrics": lambda feature_type, loss: feature_type == ANOMALY or _has_metrics(loss) or projects(loss),
    "binary predictions": lambda feature_type, loss: feature_type == BINARY and projects(loss),
    "category predictions": lambda feature_type, loss: feature_type == CATEGORY and projects(loss),
    "set predictions": lambda feature_type, loss: feature_type == SET and _every(feature_type, loss),
    "sequence predictions": lambda feature_type, loss: feature_type in (SEQUENCE, TEXT) and projects(loss),
    "number predictions": lambda feature_type, loss: feature_type in (NUMBER, TIMESERIES) and projects(loss),
    "first step": lambda feature_type, loss: _every(feature_type, loss) and loss.begins,
    "interval calibration": lambda feature_type, loss: _every(feature_type, loss) and loss.calibrates,
    "soft labels": lambda feature_type, loss: feature_type == VECTOR and loss.type == SOFTMAX_CROSS_ENTROPY,
    "batch sizes": lambda feature_type, loss: _every(feature_type, loss) and loss.fewest_rows_in_evaluation > 1,
    "masks": lambda feature_type, loss: feature_type == IMAGE and _every(feature_type, loss),
    "pairs": lambda feature_type, loss: _every(feature_type, loss) and loss.keeps_pairs,
}


def require(place: Place, feature_type: str, loss: Any) -> None:
    """Refuse a loss on a feature if what it needs is not in place.

    Raises:
        ConfigValidationError: naming what it needs, which part of Ludwig is missing, and both versions.
    """
    for group in patches.GROUPS:
        if group.name in NEEDS and NEEDS[group.name](feature_type, loss):
            reason = patch.why_not(group, import_modules=True)
            if reason:
                raise ConfigValidationError(f"{place.at('.loss')}: {_refusal(loss.type, group, reason)}")


def require_group(name: str, what: str) -> None:
    """Refuse something that is no loss if a group is not in place.

    Raises:
        ConfigValidationError: naming what it needs, which part of Ludwig is missing, and both versions.
    """
    group = _group(name)
    reason = patch.why_not(group)
    if reason:
        raise ConfigValidationError(_refusal(what, group, reason))


def warn_if_nothing_is_registered(api: ModuleType) -> None:
    """Look, once Ludwig is imported, whether the losses have been registered: a module that has moved calls nothing."""
    patch.why_not(_group("losses"))


def _group(name: str) -> Group:
    return next(group for group in patches.GROUPS if group.name == name)


def require_for_every_loss(loss_type: str) -> None:
    """Refuse a loss where not even configurations are checked, by which :func:`require` is called.

    Raises:
        ConfigValidationError: as :func:`require_group`.
    """
    for name in ("losses", "configurations"):
        require_group(name, loss_type)


def check_config(config: Any) -> None:
    """Refuse a parsed configuration with a loss of this package where configurations are not checked.

    Raises:
        ConfigValidationError: as :func:`require_group`.
    """
    for feature in config.output_features:
        if _every(feature.type, feature.loss):
            require_for_every_loss(feature.loss.type)


def train_on_known_backend(train: Callable, model: Any, *args: Any, **kwargs: Any) -> Any:
    """Train, unless a loss of this package meets a Ray backend whose workers would train apart.

    Raises:
        ConfigValidationError: as :func:`require_group`.
    """
    if getattr(model.backend, "BACKEND_TYPE", None) == "ray":
        for name in _own_losses(model.config["output_features"])[:1]:
            for group in ("ranks", "Ray workers"):
                require_group(group, f"{name} with backend: ray")
    return train(model, *args, **kwargs)


def _own_losses(sections: list[dict[str, Any]]) -> list[str]:
    declared = (find((section.get(LOSS) or {}).get("type")) for section in sections)
    return [declaration.name for declaration in declared if declaration is not None]


def _refusal(what: str, group: Group, reason: str) -> str:
    return (
        f"{what} needs {group.purpose}, and the part '{group.name}' that sees to it is switched off: {reason}. "
        f"{patch.versions()} do not fit: install a pair that is listed in the README of ludwig-losses under supported "
        f"versions. `ludwig-losses patches` lists the parts."
    )
