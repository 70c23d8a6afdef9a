"""The classes of masks: found in all masks of the training data, and kept for everything that the model evaluates.

Where height, width and channels are given, Ludwig takes the classes from the first mask alone, and does so again for
every data set that it evaluates; its newer versions take a colour that is not among them for class 0. Here the masks of
features with a loss of this package are looked at until all declared classes are found, an evaluation has the classes
of the trained model, and a colour that is none of them is an error. Other image features are left to Ludwig.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from ludwig.constants import (
    IMAGE,
    INFER_IMAGE_NUM_CLASSES,
    INFER_IMAGE_SAMPLE_SIZE,
    LOSS,
    NAME,
    OUTPUT_FEATURES,
    PREPROCESSING,
    PROC_COLUMN,
    TYPE,
)

from ludwig_losses.host.data import colours
from ludwig_losses.host.data.colours import BadMaskError, BadMasksError, names_of_colours
from ludwig_losses.host.registry import find
from ludwig_losses.parameters import shown

logger = logging.getLogger(__name__)

METHOD, CLASSES, NUM_CLASSES, MODE = "resize_method", "channel_class_map", "num_classes", "mode"
# A prefix of the resize method, which Ludwig passes to every function that reads an image, in any process, also for
# data that is read later. It marks the masks of features with a loss of this package.
_MARK = "mask:"
# Set by find_classes, for add_feature_data.
_COLUMN, _CHANNELS = "ludwig_losses_column", "ludwig_losses_channels"
# Whether the data being prepared belongs to a configuration with such a feature.
_preparing: ContextVar[bool] = ContextVar("ludwig_losses_masks", default=False)


def is_mask(feature: dict[str, Any]) -> bool:
    """Whether a feature, as a dictionary, is an image output feature with a loss of this package."""
    loss = feature.get(LOSS)
    return feature.get(TYPE) == IMAGE and isinstance(loss, dict) and find(loss.get(TYPE)) is not None


def names_of_masks(config: Any) -> list[str]:
    """Return the names of these features of a configuration."""
    config = config if isinstance(config, dict) else config.to_dict()
    return [feature[NAME] for feature in config.get(OUTPUT_FEATURES, []) if is_mask(feature)]


def add_masks_to_checksum(calculate: Callable, original_dataset: Any, config: dict[str, Any]) -> str:
    """Give data with such masks a checksum of its own: for Ludwig's losses it is prepared differently."""
    checksum = calculate(original_dataset, config)
    return f"{checksum}-masks" if names_of_masks(config) else checksum


def add_feature_data(
    add: Callable,
    feature_config: dict[str, Any],
    input_df: Any,
    proc_df: Any,
    metadata: Any,
    preprocessing_parameters: dict[str, Any],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Prepare the images of a feature, masks with :func:`find_classes` and :func:`read_image`.

    Raises:
        ValueError: the masks do not have the declared classes, or one has a colour that is no class.
    """
    if _preparing.get():
        _keep_no_decoded_images(feature_config[NAME], preprocessing_parameters)
    if not is_mask(feature_config):
        return add(feature_config, input_df, proc_df, metadata, preprocessing_parameters, *args, **kwargs)
    marked = {**preprocessing_parameters, METHOD: _MARK + preprocessing_parameters[METHOD]}
    try:
        return add(feature_config, input_df, proc_df, metadata, marked, *args, **kwargs)
    except BadMasksError as bad:
        if isinstance(bad, BadMaskError) and bad.mask is None:
            # Where masks are all read at once, what reads them gets the content of files, without their names.
            name = colours.name_of(_entries(marked[_COLUMN]), marked[_CHANNELS], bad)
            bad = BadMaskError(bad.problem, name)
        raise ValueError(f"output feature '{feature_config[NAME]}': {bad}") from bad


def _keep_no_decoded_images(name: str, preprocessing_parameters: dict[str, Any]) -> None:
    """Decode images whenever they are read: Ludwig keeps decoded ones in a file that is named after the feature and the
    number of rows alone, and takes it for those of any data with as many rows."""
    if preprocessing_parameters.get(MODE) == "lazy_cached":
        preprocessing_parameters[MODE] = "lazy"
        logger.warning(
            f"feature '{name}': with preprocessing.mode: lazy_cached Ludwig would read the images of another data set "
            "with as many rows; mode: lazy is used."
        )


def find_classes(finalize: Callable, preprocessing_parameters: dict[str, Any], encoder_type: Any, column: Any) -> tuple:
    """Return what Ludwig finds out about a column of images; for masks with the classes of the trained model, or those
    that are found in all masks.

    Raises:
        BadMasksError: the masks do not have the declared classes.
    """
    if not preprocessing_parameters[METHOD].startswith(_MARK):
        return finalize(preprocessing_parameters, encoder_type, column)
    without = {**preprocessing_parameters, NUM_CLASSES: None, INFER_IMAGE_NUM_CLASSES: False}
    *found, _ = finalize(without, encoder_type, column)
    preprocessing_parameters |= {_COLUMN: column, _CHANNELS: found[3]}
    classes = preprocessing_parameters.get(CLASSES) or _search(preprocessing_parameters)
    return (*found, torch.tensor(classes, dtype=torch.uint8))


def _search(preprocessing_parameters: dict[str, Any]) -> list[list[int]]:
    num_classes = preprocessing_parameters[NUM_CLASSES]
    if not num_classes and not preprocessing_parameters[INFER_IMAGE_NUM_CLASSES]:
        raise BadMasksError(
            "preprocessing.num_classes is missing: the number of colours that the masks have, each a class."
        )
    return colours.find(
        _entries(preprocessing_parameters[_COLUMN]),
        preprocessing_parameters[_CHANNELS],
        num_classes,
        preprocessing_parameters[INFER_IMAGE_SAMPLE_SIZE],
    )


def _entries(column: Any) -> Iterable[Any]:
    if not hasattr(column, "npartitions"):
        return iter(column)
    return itertools.chain.from_iterable(column.get_partition(i).compute() for i in range(column.npartitions))


def read_image(read: Callable, img_entry: Any, *args: Any, **how: Any) -> np.ndarray | None:
    """Read an image, a mask as the class of each pixel.

    Raises:
        BadMaskError: a colour is none of the classes, or this is no image.
    """
    method = how.get(METHOD, "")
    if not method.startswith(_MARK):
        return read(img_entry, *args, **how)
    size = how["img_height"], how["img_width"]
    try:
        image = colours.read(img_entry, how["num_channels"])
        return colours.classes_of(image, how[CLASSES], size, method.removeprefix(_MARK)).numpy()
    except BadMaskError as bad:
        raise BadMaskError(bad.problem, img_entry if isinstance(img_entry, str) else None, bad.number) from bad


def preprocess_masks_for_evaluation(
    preprocess: Callable, config: Any, *args: Any, training_set_metadata: Any = None, **kwargs: Any
) -> Any:
    """Preprocess data for an evaluation, whose masks have the classes of the model.

    Raises:
        ValueError: they have others, as the training of another model has left them in the cache.
    """
    names = names_of_masks(config)
    expected = _classes_in(training_set_metadata, names)
    dataset, metadata = preprocess(config, *args, training_set_metadata=training_set_metadata, **kwargs)
    for name, found in _classes_in(metadata, names).items():
        if found != expected.get(name, found):
            raise ValueError(
                f"output feature '{name}': the masks were prepared with the classes {shown(found)}, but those of the "
                f"model are {shown(expected[name])}: another model was trained on this data, and its cache is used. "
                f"Delete the files that Ludwig has written beside the data."
            )
    return dataset, metadata


def _classes_in(metadata: Any, names: list[str]) -> dict[str, list[str] | None]:
    if not isinstance(metadata, dict):
        return {}
    found = {name: metadata.get(name, {}).get(PREPROCESSING, {}) for name in names}
    return {name: names_of_colours(known[CLASSES]) for name, known in found.items() if CLASSES in known}


def refuse_foreign_masks(original: Callable, trainer: Any, training_set: Any, *args: Any, **kwargs: Any) -> Any:
    """Train on masks that were read for a loss of this package, if the model has one.

    Raises:
        ValueError: the data was preprocessed for a loss of Ludwig's own.
    """
    for name, feature in trainer.model.output_features.items():
        if feature.type() != IMAGE or find(feature.loss.type) is None:
            continue
        if not any(prepared[NAME] == name and is_mask(prepared) for prepared in training_set.features.values()):
            raise ValueError(
                f"output feature '{name}': the data was preprocessed for another loss, for which Ludwig may leave out "
                f"classes of the masks. Preprocess it with loss: {{type: {feature.loss.type}}}."
            )
    return original(trainer, training_set, *args, **kwargs)


def read_all(features: list[dict[str, Any]], datasets: Iterable[Any]) -> None:
    """Read all masks of prepared data sets, of which newer Ludwigs read each only when it is trained on.

    Raises:
        ValueError: a mask has a colour that is no class.
    """
    columns = [feature[PROC_COLUMN] for feature in features if is_mask(feature)]
    for dataset, column in itertools.product([data for data in datasets if data is not None], columns):
        for start in range(0, len(dataset), colours.MASKS_AT_ONCE):
            dataset.get(column, range(start, min(start + colours.MASKS_AT_ONCE, len(dataset))))


def fetch_batch(fetch: Callable, batcher: Any) -> Any:
    """Fetch a batch in a thread of its own; an error becomes a batch, for :func:`advance` to raise: Ludwig takes it for
    the end of the epoch."""
    try:
        return fetch(batcher)
    except Exception as error:
        if any(map(is_mask, batcher.dataset.features.values())):
            return error
        raise


def advance(original: Callable, batcher: Any) -> None:
    """Go on to the next batch that was fetched, or raise what :func:`fetch_batch` has met."""
    original(batcher)
    if isinstance(batcher._async_next, Exception):
        batcher._stop_async()
        raise batcher._async_next


def build_with_masks(build: Callable, config: Any, *args: Any, **kwargs: Any) -> Any:
    """Build the dataset, with :func:`add_feature_data` and :func:`cache_images` knowing about its masks."""
    token = _preparing.set(bool(names_of_masks(config)))
    try:
        return build(config, *args, **kwargs)
    finally:
        _preparing.reset(token)


def cache_images(cache: Callable, column: list[Any], cache_dir: Any, feature_name: str) -> list[str]:
    """Write images that are in memory to files, in a folder for these images: Ludwig would read those that another data
    set has left under the same numbers."""
    if _preparing.get():
        cache_dir = cache_dir / _digest(column)
        cache_dir.mkdir(exist_ok=True)
    return cache(column, cache_dir, feature_name)


def _digest(images: list[Any]) -> str:
    digest = hashlib.sha256()
    for image in images:
        content = image if isinstance(image, (bytes, dict)) else np.ascontiguousarray(image)
        digest.update(f"{getattr(content, 'shape', '')}{getattr(content, 'dtype', '')}".encode())
        digest.update(repr(content).encode() if isinstance(content, dict) else content)
    return digest.hexdigest()[:32]
