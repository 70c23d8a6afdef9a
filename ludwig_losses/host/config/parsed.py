"""Checks across the sections of a parsed configuration, and the choice of the validation metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ludwig.constants import LOSS, NUMBER
from ludwig.error import ConfigValidationError

from ludwig_losses.declare.schema import parameters_of
from ludwig_losses.host import contract
from ludwig_losses.host.registry import declaration_of, load_config
from ludwig_losses.parameters import Place, Terms


def set_validation_parameters(set_parameters: Callable, config: Any) -> None:
    """Let best model and early stopping follow the loss where the feature's default metric does not judge what it
    trains, unless the user chose. A rendered or saved configuration has a metric, which it keeps."""
    chosen = config.trainer is None or getattr(config.trainer, "validation_metric", None)
    set_parameters(config)
    if not chosen:
        for feature in config.output_features:
            if feature.name == config.trainer.validation_field and _validates_on_loss(feature):
                config.trainer.validation_metric = LOSS


def _validates_on_loss(feature: Any) -> bool:
    declared = declaration_of(type(feature.loss)) is not None
    return declared and feature.loss.validates_on_loss(feature.type)


def parse_and_check(from_dict: Callable, config: dict[str, Any]) -> Any:
    """Parse a configuration, then check across its sections: inside Ludwig's parser pydantic would frame messages."""
    parsed = from_dict(config)
    check_parsed_config(parsed)
    return parsed


def check_parsed_config(config: Any) -> None:
    """Check across the sections of a configuration.

    Raises:
        ConfigValidationError: naming the sections, their values and what to write instead.
    """
    for index, feature in enumerate(config.output_features):
        place = Place(f"output_features[{index}]", feature.name)
        contract.require(place, feature.type, feature.loss)
        declaration = declaration_of(type(feature.loss))
        if declaration is None:
            continue
        for where, loss in with_terms(place.at(".loss"), feature.loss):
            try:
                loss.check()
            except ValueError as error:
                raise ConfigValidationError(f"{where}: {error}") from error
            if feature.type == NUMBER:
                _check_normalization(where, loss, feature.preprocessing.normalization)
        if declaration.module_cls.projects(feature.loss) and getattr(feature, "calibration", False):
            raise ConfigValidationError(
                f"{place.at('.calibration')}: true rescales softmax probabilities, but a feature "
                f"trained with {feature.loss.type} predicts others. Remove calibration, or choose another loss."
            )
        _check_balance(place.at(".loss"), config, feature)
        if feature.loss.keeps_pairs:
            _check_pairs(f"{place.at('.loss')}: {feature.loss.type} with consecutive pairs", config, feature)


def with_terms(place: Place, loss: Any) -> Iterator[tuple[Place, Any]]:
    """Yield the declared losses among the terms of a loss, then the loss itself."""
    for key, parameter in parameters_of(type(loss)).items():
        terms = getattr(loss, key) if isinstance(parameter, Terms) else None
        for index, term in enumerate(terms or ()):
            config = load_config(term)
            if config is not None:
                yield place.at(f".{key}[{index}]"), config
    yield place, loss


def suits_normalization(loss: Any, normalization: str | None) -> bool:
    """Whether a loss has a meaning for numbers that are normalised in a way."""
    return loss.normalizations is None or normalization in loss.normalizations


def _check_normalization(where: Place, loss: Any, normalization: str | None) -> None:
    """Refuse a normalization under which the loss has no meaning; Ludwig's default is one, too."""
    if not suits_normalization(loss, normalization):
        allowed = " or ".join(map(str, loss.normalizations)).replace("None", "null")
        raise ConfigValidationError(
            f"{where}: {loss.type} {loss.why_not_normalized}, but preprocessing.normalization of the feature is "
            f"{normalization}, which may be Ludwig's default. Write preprocessing: {{normalization: {allowed}}}."
        )


def _check_balance(where: Place, config: Any, feature: Any) -> None:
    """Refuse counts of classes beside a preprocessing that changes how often these occur, after they were counted."""
    for key in ("oversample_minority", "undersample_majority"):
        value = getattr(config.preprocessing, key, None)
        if value and feature.loss.asks_for_counts(feature.type):
            raise ConfigValidationError(
                f"{where}: {feature.loss.type} counts the classes of the data as they are, but preprocessing.{key}: "
                f"{value} trains on others. Remove it, or write the numbers by class instead of having them counted."
            )


def _check_pairs(what: str, config: Any, feature: Any) -> None:
    """Refuse settings that separate the pairs of consecutive rows."""
    instead = f"or {feature.loss.instead_of_pairs}."
    for key in ("batch_size", "eval_batch_size", "max_batch_size"):
        size = getattr(config.trainer, key, None)
        # Ludwig's search for a batch size may have saved 1 with a model: it becomes one pair.
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
