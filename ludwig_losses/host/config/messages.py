"""Messages about mistakes in loss sections: what is wrong, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ludwig.constants import MODEL_ECD

from ludwig_losses import plugins
from ludwig_losses.declare.declaration import Declaration
from ludwig_losses.host.registry import find, losses_for
from ludwig_losses.parameters import Parameter, PerClass, Place, is_number, shown

CLASS_WEIGHTS, POSITIVE_CLASS_WEIGHT = "class_weights", "positive_class_weight"
_CHANGE_MODEL = f"Write model_type: {MODEL_ECD}, or remove the loss."


def check_foreign_name(place: Place, feature_type: str, name: Any, model_type: Any = MODEL_ECD) -> list[str]:
    """A name that is neither ours nor Ludwig's for this feature is reported with the nearest ones."""
    known = _losses_of_model(feature_type, model_type)
    if not known or name in known or model_type not in model_types():  # Ludwig says that there is no such type
        return []
    failed = "".join(f" The plug-in {plugin} did not load: {reason}." for plugin, reason in plugins.failures.items())
    near = did_you_mean(name, known)
    own = ""
    if not near and not failed and model_type == MODEL_ECD:
        own = f" A loss of your own needs {plugins.VARIABLE}, or its package installed."
    return [
        (
            f"{place.at('.type')}: unknown loss {shown(name)}.{near} "
            f"For {feature_type} features there are: {', '.join(known)}.{failed}{own}"
        )
    ]


def empty_type(place: Place, feature_type: str, model_type: Any = MODEL_ECD) -> str:
    return f"{place.at('.type')}: type is empty; choose one of {', '.join(_losses_of_model(feature_type, model_type))}."


def _losses_of_model(feature_type: str, model_type: Any) -> list[str]:
    """The names of the losses of a feature type that a model type may use: declared ones are for ecd."""
    return [name for name in losses_for(feature_type) if model_type == MODEL_ECD or find(name) is None]


def model_types() -> list[str]:
    """Return the model types of this Ludwig."""
    from ludwig.schema.model_types.base import model_type_schema_registry  # loaded later than the losses

    return sorted(model_type_schema_registry)


def for_ecd_only(losses: str, model_type: Any) -> str:
    """Say that a loss, or several, is not for the model type of a configuration."""
    there_are = model_types()
    got = model_type if isinstance(model_type, str) else shown(model_type)
    missing = "" if model_type in there_are else f", which this Ludwig does not have (it has {', '.join(there_are)})"
    return f"{losses} works with model_type {MODEL_ECD}; got model_type {got}{missing}. {_CHANGE_MODEL}"


def reason(error: Exception) -> str:
    """The text of an error of Ludwig's schemas, without the frame that pydantic adds."""
    details = error.errors() if hasattr(error, "errors") else ()
    return "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in details) or str(error)


def wrong_feature(place: Place, feature_type: str, name: str, declaration: Declaration) -> str:
    alternatives = losses_for(feature_type)
    others = [other for other in alternatives if (found := find(other)) is None or feature_type in found.features]
    instead = f" For {feature_type} features there are: {', '.join(others)}." if others else ""
    return (
        f"{place.at('.type')}: {name} is a loss for {', '.join(declaration.features)} features, "
        f"not for {feature_type} features.{instead}"
    )


def unknown_parameter(
    place: Place, feature_type: str, key: str, value: Any, here: dict[str, Parameter | None], declaration: Declaration
) -> str:
    owner = f"{declaration.name} on {feature_type} features"
    if key in declaration.parameters:
        types = ", ".join(declaration.features_with(key))
        only = f"got {shown(value)}, but {key} is for {types} features only."
        return f"{place.at('.' + key)}: {only}{_balance_instead(key, value, here)} {_has(owner, here)}"
    return unknown_key(place, key, value, here, owner, _balance_instead(key, value, here))


def _balance_instead(key: str, value: Any, here: dict[str, Parameter | None]) -> str:
    """Say how class weights of Ludwig's binary losses are written, where one number in [0, 1] balances two classes."""
    balance = next((name for name, kind in here.items() if isinstance(kind, PerClass) and kind.single), None)
    if balance is None and key == POSITIVE_CLASS_WEIGHT and CLASS_WEIGHTS in here and is_number(value):
        return f" Write {CLASS_WEIGHTS}: [1, {value:g}] instead, the weights of the negative and the positive class."
    if balance is None or value is None or key not in (CLASS_WEIGHTS, POSITIVE_CLASS_WEIGHT):
        return ""
    number = _share(key, value)
    written = balance if number is None else f"{balance}: {number:.4g}"
    return f" Write {written} instead, the weight of the positive class; the negative class weighs 1 - {balance}."


def _share(key: str, value: Any) -> float | None:
    """Return the positive class's share of the weights of two classes, if it is known."""
    weights = [1, value] if key == POSITIVE_CLASS_WEIGHT else value
    known = isinstance(weights, list) and len(weights) == 2 and all(is_number(w) and w >= 0 for w in weights)
    return weights[1] / sum(weights) if known and sum(weights) else None


def unknown_key(place: Place, key: Any, value: Any, known: Iterable[str], owner: str, instead: str = "") -> str:
    known = list(known)
    hint = instead or did_you_mean(key, known)
    return f"{place}: unknown parameter '{key}' (value {shown(value)}).{hint} {_has(owner, known)}"


def _has(owner: str, parameters: Iterable[str]) -> str:
    return f"{owner} has the parameters: {', '.join(parameters)}."


def check_value(place: Place, parameter: Parameter | None, value: Any) -> str | None:
    """Return what is wrong with the value of a parameter, or ``None``."""
    fault = None if parameter is None else parameter.fault(value)
    if parameter is None or fault is None:
        return None
    hint = ""
    if isinstance(value, str):
        try:
            hint = f" In YAML this is text; write {float(value)!r}." if parameter.accepts(float(value)) else ""
        except ValueError:
            words = getattr(parameter, "options", getattr(parameter, "by_frequency", ()))
            hint = did_you_mean(value, words)
    return f"{place.at(fault.entry)}: {fault}{hint}"


def did_you_mean(word: Any, known: Any) -> str:
    near = difflib.get_close_matches(str(word).lower(), [str(name) for name in known], n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
