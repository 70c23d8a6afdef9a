"""How many rows have each class of a binary feature, or each label of a set feature: Ludwig counts neither.

They are counted for losses that ask for it only. The metadata of other configurations stays as it is, and so does the
key of their cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ludwig.constants import BINARY, LOSS, NAME, OUTPUT_FEATURES, PROC_COLUMN, TYPE
from ludwig.features.feature_registries import get_base_type_registry

from ludwig_losses.declare.config import LossConfig
from ludwig_losses.host.registry import config_of, find

# In the metadata of a feature: the number of rows, and of those with each class.
ROWS, ROWS_OF_CLASSES = "rows", "rows_of_classes"


def asks_for_counts(feature: dict[str, Any]) -> bool:
    """Whether a feature, as a dictionary, has a loss that asks how many rows have each class."""
    loss = feature.get(LOSS)
    if not isinstance(loss, dict) or find(loss.get("type")) is None:
        return False
    config = config_of(loss)
    return isinstance(config, LossConfig) and config.asks_for_counts(feature[TYPE])


def build_with_counts(
    build: Callable,
    config: Any,
    metadata: dict[str, Any],
    feature_name_to_preprocessing_parameters: dict[str, Any],
    dataset_cols: dict[str, Any],
    feature_configs: list[dict[str, Any]],
    backend: Any,
) -> dict[str, Any]:
    """Return Ludwig's metadata of all features, with the counts that losses ask for."""
    known, parameters = {*metadata}, feature_name_to_preprocessing_parameters
    metadata = build(config, metadata, parameters, dataset_cols, feature_configs, backend)
    for feature in feature_configs:
        if feature[NAME] not in known and asks_for_counts(feature):
            processed: dict[str, Any] = {}
            get_base_type_registry()[feature[TYPE]].add_feature_data(
                feature, dataset_cols, processed, metadata, parameters[feature[NAME]], backend, True
            )
            rows = np.stack([*backend.df_engine.compute(processed[feature[PROC_COLUMN]])])
            has_class = np.stack([~rows, rows], axis=1) if feature[TYPE] == BINARY else rows
            counts = has_class.sum(axis=0).tolist()
            metadata[feature[NAME]] |= {ROWS: len(rows), ROWS_OF_CLASSES: counts}
    return metadata


def add_counts_to_checksum(calculate: Callable, original_dataset: Any, config: dict[str, Any]) -> str:
    """Give data with counts a checksum of its own: the metadata in the cache of other losses has none."""
    checksum = calculate(original_dataset, config)
    return f"{checksum}-counts" if any(map(asks_for_counts, config.get(OUTPUT_FEATURES, []))) else checksum
