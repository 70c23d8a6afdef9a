"""Class names and words in loss sections, which YAML and Ludwig would change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ludwig.constants import LOSS

from ludwig_losses.host.config.sections import loss_sections, name_of_loss
from ludwig_losses.host.registry import find
from ludwig_losses.parameters import Classes, Number, Order, Parameter, PerClass, Terms, is_number

# Parameters of Ludwig's own losses that mean the same as ours; their other ones are checked against the JSON schema.
OF_LUDWIGS_LOSSES: dict[str, Parameter | None] = {
    "weight": Number(default=1.0, minimum=0, description=""),
    "class_weights": PerClass(default=None, minimum=0, weights=True, description=""),
}


def keep_words(upgrade: Callable, config: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a configuration, keeping words that stand for class weights: Ludwig takes them for the syntax of an old
    version and writes null in their place."""
    words = {}
    for index, feature in enumerate(config.get("output_features") or []):
        loss = feature.get(LOSS) if isinstance(feature, dict) else None
        for key, value in loss.items() if isinstance(loss, dict) else ():
            if isinstance(value, str) and isinstance(_parameter(config, feature, key), PerClass):
                words[index, key] = value
    upgraded = upgrade(config)
    for (index, key), word in words.items():
        upgraded["output_features"][index][LOSS][key] = word
    return upgraded


def _parameter(config: dict[str, Any], feature: dict[str, Any], key: str) -> Parameter | None:
    declaration = find(name_of_loss(config, feature))
    return declaration.parameters.get(key) if declaration else None


def plain_losses(config: dict[str, Any]) -> dict[str, Any]:
    """Return a copy in which our loss sections contain plain numbers and lists for NumPy's and torch's, which cannot
    be saved with the model, and no ``class_weights: 1``, which in older Ludwigs meant equal weights."""
    config = copy.deepcopy(config)
    features = [feature for feature in config.get("output_features") or () if isinstance(feature, dict)]
    defaults = [default for default in (config.get("defaults") or {}).values() if isinstance(default, dict)]
    for holder in (*features, *defaults):
        name = name_of_loss(config, holder)
        if isinstance(holder.get(LOSS), dict) and find(name) is not None:
            holder[LOSS] = _without_equal_weights(_plain(holder[LOSS]), name)
    return config


def _without_equal_weights(loss: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Write null for class weights of 1, as Ludwig does for its own losses; in terms, too."""
    weights = loss.get("class_weights")
    if is_number(weights) and weights == 1:
        loss["class_weights"] = None
    declaration = find(name)
    for key, parameter in declaration.parameters.items() if declaration else ():
        terms = loss.get(key) if isinstance(parameter, Terms) else None
        for term in terms if isinstance(terms, list) else ():
            if isinstance(term, dict):
                _without_equal_weights(term, None)  # a term has no terms
    return loss


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value.tolist() if hasattr(value, "tolist") else value


def name_classes(config: dict[str, Any]) -> None:
    """Turn class names that YAML read as numbers or booleans into strings, as they are in Ludwig's vocabularies."""
    for _, _, loss, _ in loss_sections(config):
        declaration = find(loss.get("type")) if isinstance(loss, dict) else None
        if declaration is not None:
            name_classes_of_loss(loss, declaration.parameters)


def name_classes_of_loss(loss: dict[str, Any], parameters: dict[str, Parameter | None]) -> None:
    for key, parameter in parameters.items():
        value = loss.get(key)
        if isinstance(parameter, PerClass) and isinstance(value, dict):
            loss[key] = {str(name): number for name, number in value.items()}
        elif isinstance(parameter, Order) and isinstance(value, list):
            loss[key] = [name if isinstance(name, dict) else str(name) for name in value]
        elif isinstance(parameter, Classes) and isinstance(value, list):
            loss[key] = [str(name) if isinstance(name, bool) else name for name in value]
        elif isinstance(parameter, Classes) and isinstance(value, bool):
            loss[key] = str(value)
        elif isinstance(parameter, Terms):
            for term in value or ():
                declaration = find(term["type"])
                name_classes_of_loss(term, OF_LUDWIGS_LOSSES if declaration is None else declaration.parameters)
