"""Strict checks of the loss sections of a configuration, the same on both generations of Ludwig.

Ludwig drops unknown parameters silently, and from 0.12 on swallows the messages of its own range checks. So the
dictionary that the user wrote is checked against the declarations before Ludwig parses it.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jsonschema import Draft7Validator
from ludwig.constants import CORN, LOSS, MODEL_ECD
from ludwig.error import ConfigValidationError

from ludwig_losses import plugins
from ludwig_losses.host.registry import (
    Declaration,
    config_of,
    declaration_of,
    find,
    losses_for,
    ludwigs_parameters,
    parameter_schemas,
)
from ludwig_losses.parameters import Classes, Number, Parameter, PerClass, Terms

# Parameters of Ludwig's own losses that mean the same as ours; their other ones are checked against the JSON schema.
_OF_LUDWIGS_LOSSES = {
    "weight": Number(default=1.0, minimum=0, description=""),
    "class_weights": PerClass(default=None, minimum=0, description=""),
}
# Losses of Ludwig's own for which a feature predicts differently: it looks at the type of its loss.
_ALONE_ONLY = (CORN,)


def check_raw_config(config: dict[str, Any]) -> None:
    """Check every loss section of a configuration dictionary.

    Raises:
        ConfigValidationError: with one line for each mistake.
    """
    model_type = config.get("model_type", MODEL_ECD)
    errors = [error for section in _loss_sections(config) for error in _check_section(*section, model_type)]
    if errors:
        raise ConfigValidationError("\n".join(errors))


def keep_words(upgrade: Callable, config: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a configuration, keeping words that stand for class weights: Ludwig takes them for those of an ancient
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
    default = ((config.get("defaults") or {}).get(feature.get("type")) or {}).get(LOSS) or {}
    declaration = find(feature[LOSS].get("type", default.get("type")))
    return declaration.parameters.get(key) if declaration else None


def name_classes(config: dict[str, Any]) -> None:
    """Turn class names that YAML read as numbers or booleans into strings, as they are in Ludwig's vocabularies."""
    for _, _, loss, _ in _loss_sections(config):
        declaration = find(loss.get("type")) if isinstance(loss, dict) else None
        if declaration is not None:
            _name_classes(loss, declaration.parameters)


def _name_classes(loss: dict[str, Any], parameters: dict[str, Parameter | None]) -> None:
    for key, parameter in parameters.items():
        value = loss.get(key)
        if isinstance(parameter, PerClass) and isinstance(value, dict):
            loss[key] = {str(name): number for name, number in value.items()}
        elif isinstance(parameter, Classes) and isinstance(value, list):
            loss[key] = [str(name) if isinstance(name, bool) else name for name in value]
        elif isinstance(parameter, Classes) and isinstance(value, bool):
            loss[key] = str(value)
        elif isinstance(parameter, Terms):
            for term in value or ():
                declaration = find(term["type"])
                _name_classes(term, _OF_LUDWIGS_LOSSES if declaration is None else declaration.parameters)


def _loss_sections(config: dict[str, Any]) -> Iterator[tuple[str, str, Any, set[str]]]:
    """Yield path, feature type and content of each loss section, and parameters to tolerate that it does not have."""
    defaults = config.get("defaults") or {}
    for index, feature in enumerate(config.get("output_features") or []):
        if isinstance(feature, dict) and LOSS in feature:
            name, feature_type = feature.get("name"), feature.get("type")
            path = f"output_features[{index}].loss (output feature '{name}')"
            loss = feature[LOSS]
            default = (defaults.get(feature_type) or {}).get(LOSS)
            if isinstance(loss, dict) and isinstance(default, dict) and "type" not in loss:
                loss = {**default, **loss}  # as Ludwig will merge them
            yield path, feature_type, loss, _other_losses_parameters(config, name, feature_type)
    for feature_type, default in defaults.items():
        if isinstance(default, dict) and LOSS in default:
            tolerated = _other_losses_parameters(config, None, feature_type)
            yield f"defaults.{feature_type}.loss", feature_type, default[LOSS], tolerated


def _other_losses_parameters(config: dict[str, Any], name: Any, feature_type: Any) -> set[str]:
    """A search over ``loss.type`` leaves parameters of the losses that a trial does not use."""
    searched = ((config.get("hyperopt") or {}).get("parameters") or {}).keys()
    if searched.isdisjoint({f"{name}.loss.type", f"defaults.{feature_type}.loss.type"}):
        return set()
    declared = filter(None, map(find, losses_for(feature_type)))
    return ludwigs_parameters(feature_type).union(*(declaration.parameters for declaration in declared))


def _check_section(path: str, feature_type: str, loss: Any, tolerated: set[str], model_type: str) -> list[str]:
    if loss is None:
        return []
    if not isinstance(loss, dict):
        hint = f" Write `loss: {{type: {loss}}}`." if isinstance(loss, str) else ""
        return [f"{path}: got {loss!r}, expected a mapping with a `type`.{hint}"]
    name = loss.get("type")
    if name is None:
        return _check_untyped(path, feature_type, loss)
    declaration = find(name) if isinstance(name, str) else None
    if declaration is None:
        return _check_foreign_name(path, feature_type, name)
    if feature_type not in declaration.features:
        return [_wrong_feature(path, feature_type, name, declaration)]
    if model_type != MODEL_ECD:
        return [f"{path}: {name} works with model_type ecd; got model_type {model_type}."]
    return _check_parameters(path, feature_type, loss, declaration, tolerated)


def _check_untyped(path: str, feature_type: str, loss: dict[str, Any]) -> list[str]:
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
            errors.append(f"{path}: unknown parameter '{key}'. Did you mean 'type'?")
        elif owners and key not in ludwigs:
            errors.append(f"{path}.{key}: there is no `type`; {key} is a parameter of {', '.join(owners)}.")
    return errors


def _check_foreign_name(path: str, feature_type: str, name: Any) -> list[str]:
    """A name that is neither ours nor Ludwig's for this feature is reported with the nearest ones."""
    known = losses_for(feature_type)
    if not known or name in known:
        return []
    failed = "".join(f" The plug-in {plugin} did not load: {reason}." for plugin, reason in plugins.failures.items())
    near = _did_you_mean(name, known)
    own = "" if near or failed else f" A loss of your own needs {plugins.VARIABLE}, or its package installed."
    return [
        f"{path}.type: unknown loss {name!r}.{near} For {feature_type} features there are: {', '.join(known)}."
        f"{failed}{own}"
    ]


def _wrong_feature(path: str, feature_type: str, name: str, declaration: Declaration) -> str:
    alternatives = losses_for(feature_type)
    others = [other for other in alternatives if (found := find(other)) is None or feature_type in found.features]
    instead = f" For {feature_type} features there are: {', '.join(others)}." if others else ""
    return (
        f"{path}.type: {name} is a loss for {', '.join(declaration.features)} features, "
        f"not for {feature_type} features.{instead}"
    )


def _check_parameters(
    path: str, feature_type: str, loss: dict[str, Any], declaration: Declaration, tolerated: set[str]
) -> list[str]:
    errors = []
    parameters = declaration.parameters
    here = {key: value for key, value in parameters.items() if feature_type in declaration.features_with(key)}
    for key, value in loss.items():
        if key == "type" or (key == "class_weights" and value is None):  # Ludwig adds the latter by itself.
            continue
        if key not in here:
            if key in parameters and value == parameters[key].default:
                continue  # A rendered configuration spells out every default.
            if key not in tolerated:
                errors.append(_unknown_parameter(path, feature_type, key, value, here, declaration))
            continue
        problem = _check_value(here[key], value)
        if problem:
            errors.append(f"{path}.{key}: {problem}")
        elif isinstance(here[key], Terms):
            for index, term in enumerate(value):
                errors += _check_term(path.replace(".loss", f".loss.{key}[{index}]", 1), feature_type, term)
    return errors


def _check_term(path: str, feature_type: str, term: Any) -> list[str]:
    """Check a loss that is a part of another one, as strictly, whoever it is from."""
    if not isinstance(term, dict):
        hint = f" Write `{{type: {term}}}`." if isinstance(term, str) else ""
        return [f"{path}: got {term!r}, expected a mapping with a `type`.{hint}"]
    name = term.get("type")
    if name is None:
        near = next((key for key in term if difflib.get_close_matches(str(key), ["type"])), None)
        hint = "" if near is None else f" Did you mean 'type' by '{near}'?"
        return [f"{path}: there is no `type`, which says which loss it is.{hint}"]
    declaration = find(name) if isinstance(name, str) else None
    if name in _ALONE_ONLY or (declaration is not None and declaration.has_terms):
        why = "has terms itself" if declaration else "changes how Ludwig predicts"
        return [f"{path}.type: {name} {why}, so it cannot be a term of another loss."]
    if declaration is None:
        errors = _check_foreign_name(path, feature_type, name) or _check_ludwigs_parameters(path, term)
    elif feature_type not in declaration.features:
        errors = [_wrong_feature(path, feature_type, name, declaration)]
    else:
        errors = _check_parameters(path, feature_type, term, declaration, set())
        errors += _check_natively(path, term, [key for key, kind in declaration.parameters.items() if kind is None])
    return errors or _load_term(path, term)


def _load_term(path: str, term: dict[str, Any]) -> list[str]:
    """Load a term as its loss will: not every range stands in Ludwig's JSON schemas."""
    term = copy.deepcopy(term)
    declaration = find(term["type"])
    _name_classes(term, _OF_LUDWIGS_LOSSES if declaration is None else declaration.parameters)
    try:
        config_of(term)
    except Exception as error:  # of either generation's kind
        return [f"{path}: {error}"]
    return []


def _check_ludwigs_parameters(path: str, term: dict[str, Any]) -> list[str]:
    known = parameter_schemas(term["type"])
    errors = []
    for key, value in term.items():
        if key not in known and key != "type" and not (key == "class_weights" and value is None):
            errors.append(
                f"{path}: unknown parameter '{key}' (value {value!r}).{_did_you_mean(key, known)} "
                f"{term['type']} has the parameters: {', '.join(known)}."
            )
        elif (problem := _check_value(_OF_LUDWIGS_LOSSES.get(key), value)) is not None:
            errors.append(f"{path}.{key}: {problem}")
    return errors + _check_natively(path, term, known.keys() - _OF_LUDWIGS_LOSSES.keys())


def _check_natively(path: str, term: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """Check what Ludwig would check, if it knew that there is a loss in the list."""
    schemas = parameter_schemas(term["type"])
    found = ((key, next(Draft7Validator(schemas[key]).iter_errors(term[key]), None)) for key in keys if key in term)
    return [
        f"{path}.{key}: {error.message}."
        for key, error in found
        if error is not None and term[key] != schemas[key].get("default", term)
    ]


def _unknown_parameter(
    path: str, feature_type: str, key: str, value: Any, here: dict[str, Parameter | None], declaration: Declaration
) -> str:
    parameters = f"{declaration.name} on {feature_type} features has the parameters: {', '.join(here)}."
    if key in declaration.parameters:
        types = ", ".join(declaration.features_with(key))
        return f"{path}.{key}: got {value!r}, but {key} is for {types} features only. {parameters}"
    return f"{path}: unknown parameter '{key}' (value {value!r}).{_did_you_mean(key, here)} {parameters}"


def _check_value(parameter: Parameter | None, value: Any) -> str | None:
    """Return what is wrong with a value, or ``None``."""
    if parameter is None or parameter.accepts(value):
        return None
    hint = ""
    if isinstance(value, str):
        try:
            hint = f" In YAML this is text; write {float(value)!r}." if parameter.accepts(float(value)) else ""
        except ValueError:
            words = getattr(parameter, "options", getattr(parameter, "by_frequency", ()))
            hint = _did_you_mean(value, words)
    return f"got {value!r}, expected {parameter.allowed}.{hint}"


def _did_you_mean(word: Any, known) -> str:
    near = difflib.get_close_matches(str(word).lower(), [str(name) for name in known], n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def set_validation_parameters(set_parameters: Callable, config) -> None:
    """Let best model and early stopping follow the loss where other metrics mean nothing, unless the user chose."""
    chosen = config.trainer is None or getattr(config.trainer, "validation_metric", None)
    set_parameters(config)
    if not chosen:
        for feature in config.output_features:
            if feature.name == config.trainer.validation_field and getattr(feature.loss, "validate_on_loss", False):
                config.trainer.validation_metric = LOSS


def check_parsed_config(config) -> None:
    """Check what several sections of a configuration say together.

    Raises:
        ConfigValidationError: naming the sections, their values and what to write instead.
    """
    for feature in config.output_features:
        declaration = declaration_of(type(feature.loss))
        if declaration is None:
            continue
        try:
            feature.loss.check()
        except ValueError as error:
            raise ConfigValidationError(f"output feature '{feature.name}': loss: {error}") from error
        if declaration.module_cls.projects(feature.loss) and getattr(feature, "calibration", False):
            raise ConfigValidationError(
                f"output feature '{feature.name}': calibration: true rescales softmax probabilities, but a feature "
                f"trained with {feature.loss.type} predicts others. Remove calibration, or choose another loss."
            )
        if feature.loss.keeps_pairs:
            _check_pairs(config, feature)


def _check_pairs(config, feature) -> None:
    """Refuse what tears the pairs of consecutive rows apart."""
    what = f"output feature '{feature.name}': {feature.loss.type} with consecutive pairs"
    instead = f"or {feature.loss.instead_of_pairs}."
    for key in ("batch_size", "eval_batch_size", "max_batch_size"):
        size = getattr(config.trainer, key, None)
        # 1 is what Ludwig's search for a batch size may have found and saved with a model: it becomes one pair.
        if isinstance(size, int) and size % 2 and size != 1:
            raise ConfigValidationError(
                f"{what} needs an even trainer.{key}; got {size}. Write {key}: {size + 1}, {instead}"
            )
    preprocessing = config.preprocessing
    for key, harmless in (
        ("sample_ratio", 1.0),
        ("sample_size", None),
        ("oversample_minority", None),
        ("undersample_majority", None),
    ):
        value = getattr(preprocessing, key, harmless)
        if value is not None and value != harmless:
            raise ConfigValidationError(
                f"{what} cannot keep pairs together with preprocessing.{key}: {value}, which picks single rows. "
                f"Remove it, {instead}"
            )
    if (config.backend or {}).get("type") == "ray":
        raise ConfigValidationError(
            f"{what} cannot keep pairs together with backend: ray, which always shuffles rows. "
            f"Use backend: local, {instead}"
        )
