"""Strict checks of the loss sections of a configuration, the same on both generations of Ludwig.

Ludwig drops unknown parameters silently, and from 0.12 on swallows the messages of its own range checks. So the
dictionary that the user wrote is checked against the declarations before Ludwig parses it.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable
from typing import Any

from jsonschema import Draft7Validator
from ludwig.constants import MODEL_ECD
from ludwig.error import ConfigValidationError

from ludwig_losses.declare.declaration import Declaration
from ludwig_losses.host.config.messages import (
    check_foreign_name,
    check_value,
    empty_type,
    for_ecd_only,
    reason,
    unknown_key,
    unknown_parameter,
    wrong_feature,
)
from ludwig_losses.host.config.misplaced import misplaced_losses
from ludwig_losses.host.config.names import (
    OF_LUDWIGS_LOSSES,
    keep_words,
    name_classes,
    name_classes_of_loss,
    plain_losses,
)
from ludwig_losses.host.config.sections import loss_sections
from ludwig_losses.host.registry import config_of, find, losses_for, ludwigs_parameters, parameter_schemas
from ludwig_losses.parameters import Place, Terms, shown


def check_as_written(upgrade_config: Callable, config: dict[str, Any]) -> dict[str, Any]:
    """Check loss sections as the user wrote them, before Ludwig changes or rejects them, and upgrade them."""
    config = plain_losses(config)
    check_raw_config(config)
    return keep_words(upgrade_config, config)


def check_rendered(check: Callable, updated_config: dict[str, Any]) -> Any:
    """Check loss sections that come from defaults or a saved model, too, before Ludwig checks the configuration."""
    check_raw_config(updated_config)
    name_classes(updated_config)
    return check(updated_config)


def check_raw_config(config: dict[str, Any]) -> None:
    """Check every loss section of a configuration dictionary.

    Raises:
        ConfigValidationError: with one line for each mistake.
    """
    model_type = config.get("model_type", MODEL_ECD)
    errors = [error for section in loss_sections(config) for error in _check_section(*section, model_type)]
    errors += misplaced_losses(config)
    if errors:
        raise ConfigValidationError("\n".join(errors))


def _check_section(place: Place, feature_type: str, loss: Any, tolerated: set[str], model_type: Any) -> list[str]:
    if loss is None:
        return []
    if errors := _check_mapping(place, feature_type, loss, "loss: ", model_type):
        return errors
    name = loss.get("type")
    if name is None:
        return _check_untyped(place, feature_type, loss, model_type)
    declaration = find(name) if isinstance(name, str) else None
    if declaration is None:
        return check_foreign_name(place, feature_type, name, model_type)
    if model_type != MODEL_ECD:
        return [f"{place}: {for_ecd_only(name, model_type)}"]
    if feature_type not in declaration.features:
        return [wrong_feature(place, feature_type, name, declaration)]
    return _check_parameters(place, feature_type, loss, declaration, tolerated)


def _check_mapping(place: Place, feature_type: str, section: Any, key: str, model_type: Any = MODEL_ECD) -> list[str]:
    """Check that a loss is written as a mapping, whose type, if there is one, is a name."""
    if not isinstance(section, dict):
        if model_type != MODEL_ECD and isinstance(section, str) and find(section) is not None:
            return [f"{place}: {for_ecd_only(section, model_type)}"]
        hint = f" Write `{key}{{type: {section}}}`." if isinstance(section, str) else ""
        return [f"{place}: got {shown(section)}, expected a mapping with a `type`.{hint}"]
    return [empty_type(place, feature_type, model_type)] if "type" in section and section["type"] is None else []


def _check_untyped(place: Place, feature_type: str, loss: dict[str, Any], model_type: Any) -> list[str]:
    """Without a type Ludwig takes its default loss and drops the parameters of any other.

    A parameter that is only ours stands for a forgotten type. One that losses of Ludwig's own have too does not, on
    whatever feature: Ludwig writes ``class_weights`` into every loss section that it upgrades.
    """
    errors = []
    ludwigs = ludwigs_parameters()
    declared = {name: found for name in losses_for(feature_type) if (found := find(name)) and name == found.name}
    for key in loss:
        owners = [name for name, declaration in declared.items() if key in declaration.parameters]
        if difflib.get_close_matches(str(key), ["type"]):
            errors.append(f"{place}: unknown parameter '{key}'. Did you mean 'type'?")
        elif owners and key not in ludwigs and model_type != MODEL_ECD:
            owned = f"there is no `type`; {key} is a parameter of {', '.join(owners)}, which"
            errors.append(f"{place.at(f'.{key}')}: {for_ecd_only(owned, model_type)}")
        elif owners and key not in ludwigs:
            errors.append(f"{place.at(f'.{key}')}: there is no `type`; {key} is a parameter of {', '.join(owners)}.")
    return errors


def _check_parameters(
    place: Place, feature_type: str, loss: dict[str, Any], declaration: Declaration, tolerated: set[str]
) -> list[str]:
    errors = []
    parameters = declaration.parameters
    here = {key: value for key, value in parameters.items() if feature_type in declaration.features_with(key)}
    for key, value in loss.items():
        if key == "type" or (key == "class_weights" and value is None):  # Ludwig adds the latter by itself.
            continue
        if key not in here:
            declared = parameters.get(key)
            if declared is not None and value == declared.default:
                continue  # A rendered configuration spells out every default.
            if key not in tolerated:
                errors.append(unknown_parameter(place, feature_type, key, value, here, declaration))
            continue
        problem = check_value(place.at(f".{key}"), here[key], value)
        if problem:
            errors.append(problem)
        elif isinstance(here[key], Terms):
            for index, term in enumerate(value):
                errors += _check_term(place.at(f".{key}[{index}]"), feature_type, term)
    return errors


def _check_term(place: Place, feature_type: str, term: Any) -> list[str]:
    """Check a term of another loss as strictly, of this package or of Ludwig's own."""
    if errors := _check_mapping(place, feature_type, term, ""):
        return errors
    name = term.get("type")
    if name is None:
        near = next((key for key in term if difflib.get_close_matches(str(key), ["type"])), None)
        hint = "" if near is None else f" Did you mean 'type' by '{near}'?"
        return [f"{place}: there is no `type`, which says which loss it is.{hint}"]
    declaration = find(name) if isinstance(name, str) else None
    if declaration is not None and declaration.has_terms:
        return [f"{place.at('.type')}: {name} has terms itself, so it cannot be a term of another loss."]
    if declaration is None:
        errors = check_foreign_name(place, feature_type, name) or _check_ludwigs_parameters(place, term)
    elif feature_type not in declaration.features:
        errors = [wrong_feature(place, feature_type, name, declaration)]
    else:
        errors = _check_parameters(place, feature_type, term, declaration, set())
        errors += _check_natively(place, term, [key for key, kind in declaration.parameters.items() if kind is None])
    return errors or _load_term(place, term)


def _load_term(place: Place, term: dict[str, Any]) -> list[str]:
    """Load a term as its loss will: not every range stands in Ludwig's JSON schemas."""
    term = copy.deepcopy(term)
    declaration = find(term["type"])
    name_classes_of_loss(term, OF_LUDWIGS_LOSSES if declaration is None else declaration.parameters)
    try:
        config_of(term)
    except Exception as error:  # of either generation's kind
        return [f"{place}: {reason(error)}"]
    return []


def _check_ludwigs_parameters(place: Place, term: dict[str, Any]) -> list[str]:
    known = parameter_schemas(term["type"])
    errors = []
    for key, value in term.items():
        if key not in known and key != "type" and not (key == "class_weights" and value is None):
            errors.append(unknown_key(place, key, value, known, term["type"]))
        elif (problem := check_value(place.at(f".{key}"), OF_LUDWIGS_LOSSES.get(key), value)) is not None:
            errors.append(problem)
    return errors + _check_natively(place, term, known.keys() - OF_LUDWIGS_LOSSES.keys())


def _check_natively(place: Place, term: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """Check what Ludwig would check, if it knew that there is a loss in the list."""
    schemas = parameter_schemas(term["type"])
    found = ((key, next(Draft7Validator(schemas[key]).iter_errors(term[key]), None)) for key in keys if key in term)
    return [
        f"{place.at(f'.{key}')}: {error.message}."
        for key, error in found
        if error is not None and term[key] != schemas[key].get("default", term)
    ]
