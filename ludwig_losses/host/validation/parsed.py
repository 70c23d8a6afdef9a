"""Checks of a parsed configuration: what its sections say together; and the choice of the validation metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ludwig.constants import LOSS
from ludwig.error import ConfigValidationError

from ludwig_losses.host.registry import declaration_of


def set_validation_parameters(set_parameters: Callable, config: Any) -> None:
    """Let best model and early stopping follow the loss where other metrics mean nothing, unless the user chose."""
    chosen = config.trainer is None or getattr(config.trainer, "validation_metric", None)
    set_parameters(config)
    if not chosen:
        for feature in config.output_features:
            if feature.name == config.trainer.validation_field and getattr(feature.loss, "validate_on_loss", False):
                config.trainer.validation_metric = LOSS


def check_parsed_config(config: Any) -> None:
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


def _check_pairs(config: Any, feature: Any) -> None:
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
