"""Everything that Ludwig does with a configuration before it makes a model, to find mistakes early."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Hashable, Iterator
from typing import Any

import yaml
from ludwig.error import ConfigValidationError
from ludwig.schema.model_types.base import ModelConfig

from ludwig_losses.host.config.misplaced import misplaced_losses
from ludwig_losses.host.data import batch_sizes, masks
from ludwig_losses.host.data.classes import describe
from ludwig_losses.host.registry import declaration_of, module_of
from ludwig_losses.parameters import Feature, shown


def read(path: str) -> dict[str, Any]:
    """Read a configuration.

    Raises:
        OSError: there is no such file.
        ValueError: it is no YAML, no configuration, or gives a key twice; with the line where that is known.
    """
    try:
        with open(path, encoding="utf-8") as file:
            config = yaml.load(file, Loader=_UniqueKeys)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: this is not a text file, so it is no configuration.") from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        context = f" {error.context}" if error.context else ""
        raise ValueError(f"{path}{line}: this is not YAML: {error.problem}{context}.") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: this is not YAML: {' '.join(str(error).split())}.") from None
    missing = [key for key in ("input_features", "output_features") if key not in (config or ())]
    if not isinstance(config, dict):
        raise ValueError(f"{path}: got {_kind(config)}, expected a mapping with input_features and output_features.")
    for key in missing:
        raise ValueError(f"{path}: {key} is missing.")
    for key in ("input_features", "output_features"):
        entries = config[key]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{path}: {key}: got {shown(entries)}, expected a list of mappings, one for each feature.")
    return config


def parse(path: str, config: dict[str, Any]) -> None:
    """Parse a configuration; loss sections that Ludwig would silently ignore are errors here, too.

    Raises:
        ValueError: for everything that is wrong with it.
    """
    misplaced = misplaced_losses(config, of_ludwig_too=True)
    if misplaced:
        raise ConfigValidationError("\n".join(misplaced))
    try:
        parsed = ModelConfig.from_dict(config)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: Ludwig cannot read it: {type(error).__name__}: {error}.") from error
    batch_sizes.check_config(parsed)


def resolve(config: dict[str, Any], dataset: str) -> list[str]:
    """Preprocess data without leaving files, make the losses, and describe the classes of each feature.

    Raises:
        ValueError: for everything that does not fit the data.
    """
    from ludwig.api import LudwigModel
    from ludwig.features.feature_registries import update_config_with_metadata

    if not os.path.exists(dataset):
        raise FileNotFoundError(f"{dataset}: there is no such file.")
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        # Ludwig locks the folder of its cache with a file.
        backend = {"type": "local", "cache_dir": folder}
        model = LudwigModel(config, logging_level=logging.CRITICAL, backend=backend)
        data = _preprocessed(model, dataset, folder)
        metadata = data.training_set_metadata
        masks.read_all(model.config_obj.to_dict()["output_features"], data[:3])
        update_config_with_metadata(model.config_obj, metadata)
        declared = [f for f in model.config_obj.output_features if declaration_of(type(f.loss)) is not None]
        for feature in declared:
            module_of(feature.loss)
    return [_classes(feature.loss.type, describe(feature, metadata[feature.name])) for feature in declared]


def _preprocessed(model: Any, dataset: str, folder: str) -> Any:
    try:
        return model.preprocess(dataset=dataset, skip_save_processed_input=True, output_directory=folder)
    except RuntimeError as error:  # as older Ludwigs raise whatever is wrong with the data
        raise (error.__cause__ if isinstance(error.__cause__, ValueError) else error) from None


def _classes(loss: str, feature: Feature) -> str:
    known = "" if feature.classes is None else f", classes in this order: {shown(feature.classes)}"
    return f"output feature '{feature.name}': {loss}{known}."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence everything but this package's logger."""
    ours = logging.getLogger("ludwig_losses")
    handler = logging.StreamHandler()  # made before the redirection: it writes to standard error
    ours.addHandler(handler)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        ours.removeHandler(handler)


def _kind(value: Any) -> str:
    if value is None:
        return "an empty file"
    return "a list" if isinstance(value, list) else f"the text {shown(str(value)[:60])}"


class _UniqueKeys(yaml.SafeLoader):
    """YAML without duplicate keys: a plain loader silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = (key_node.tag, key_node.value) if isinstance(key_node, yaml.ScalarNode) else None
            if key in seen and key_node.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key_node.value}' stands twice", key_node.start_mark
                )
            seen.update([key] if key else [])
        return super().construct_mapping(node, deep)
