"""The classes of a feature, which losses need to know: taken from the metadata of preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ludwig.constants import BINARY, IMAGE, PREPROCESSING, SET
from ludwig.error import ConfigValidationError
from ludwig.utils import strings_utils

from ludwig_losses.host.data.colours import names_of_colours
from ludwig_losses.host.data.counts import ROWS, ROWS_OF_CLASSES
from ludwig_losses.host.registry import declaration_of
from ludwig_losses.parameters import Feature


def update_config_with_metadata(update: Callable, config_obj: Any, training_set_metadata: dict) -> None:
    """Resolve the class names in the losses, then let Ludwig update the configuration."""
    features = enumerate(config_obj.output_features)
    indices = {index: feature for index, feature in features if declaration_of(type(feature.loss)) is not None}
    declared = [*indices.values()]
    for index, feature in indices.items():
        described = describe(feature, training_set_metadata[feature.name])
        try:
            feature.loss.resolve(replace(described, path=f"output_features[{index}].loss"))
        except ValueError as error:
            raise ConfigValidationError(str(error)) from error

    # Ludwig resolves class weights itself, differently for each type: for text it prepends two zeros each time it
    # sees them, so a saved model could not be resumed. It gets none to resolve.
    hidden = [(feature.loss, weights) for feature in declared if (weights := feature.loss.class_weights)]
    for loss, _ in hidden:
        loss.class_weights = None
    try:
        update(config_obj, training_set_metadata)
    finally:
        for loss, weights in hidden:
            loss.class_weights = weights


# Ludwig adds these to a vocabulary.
SYMBOLS = frozenset(getattr(strings_utils, f"{name}_SYMBOL") for name in ("START", "STOP", "PADDING", "UNKNOWN"))


def describe(feature: Any, metadata: dict) -> Feature:
    """Return what preprocessing found out about an output feature."""
    if feature.type == BINARY:
        named = "bool2str" in metadata
        return Feature(
            feature.name,
            classes=metadata["bool2str"] if named else ["False", "True"],
            num_classes=2,
            synonyms={} if named else {"0": "False", "1": "True"},
            frequencies=metadata.get(ROWS_OF_CLASSES),
        )
    if feature.type == IMAGE:
        names = names_of_colours(metadata[PREPROCESSING].get("channel_class_map"))
        return Feature(
            feature.name,
            classes=names,
            num_classes=metadata[PREPROCESSING].get("num_classes"),
            synonyms={name.upper(): name for name in names or ()},
        )
    classes = metadata.get("idx2str")
    if classes is None:
        return Feature(feature.name)
    padding_symbol = metadata.get("padding_symbol") or metadata[PREPROCESSING].get("padding_symbol")
    padding = metadata.get("pad_idx", metadata["str2idx"].get(padding_symbol))
    frequency = metadata.get("str2freq")
    return Feature(
        feature.name,
        classes=list(classes),
        num_classes=len(classes),
        symbols=SYMBOLS,
        padding=padding,
        frequencies=None if frequency is None else [int(frequency.get(name, 0)) for name in classes],
        top_k=getattr(feature, "top_k", None),
        of_labels=feature.type == SET,
        rows=metadata.get(ROWS),
        rows_of_classes=metadata.get(ROWS_OF_CLASSES),
    )
