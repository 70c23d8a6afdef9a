"""The labels of an anomaly feature: 0 normal, 1 anomaly, -1 unlabelled."""

from __future__ import annotations

import logging
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from ludwig.utils.data_utils import get_sanitized_feature_name

from ludwig_losses.declare.schema import ANOMALY

logger = logging.getLogger(__name__)

NORMAL, ANOMALOUS, UNLABELLED = 0, 1, -1
_WORDS = {"": UNLABELLED, "nan": UNLABELLED, "none": UNLABELLED, "false": NORMAL, "true": ANOMALOUS}


def add_missing_labels(build: Callable, config: Any, dataset_df: Any, features: Any, *args: Any, **kwargs: Any) -> Any:
    """Build the dataset; if the data has no labels, every row is unlabelled."""
    present = {get_sanitized_feature_name(column) for column in dataset_df.columns}
    for feature in features:
        if feature["type"] == ANOMALY and feature["column"] not in present:
            logger.warning(
                f"Anomaly feature '{feature['name']}': the data has no column '{feature['column']}', so every row is "
                f"unlabelled. Its columns are: {', '.join(map(str, dataset_df.columns))}."
            )
            dataset_df = dataset_df.assign(**{feature["column"]: UNLABELLED})
    return build(config, dataset_df, features, *args, **kwargs)


def cast(column: Any, backend: Any) -> Any:
    """Return labels as they were written as 0, 1 and -1.

    Raises:
        ValueError: a label is none of them, naming the row and the value.
    """
    if backend.df_engine.partitioned:
        return backend.df_engine.map_objects(column, _label, meta=(column.name, np.int8)).astype(np.int8)
    labels = [_parsed(value) for value in column]
    if None in labels:
        row = labels.index(None)
        raise ValueError(_refusal(column.iloc[row], f"column '{column.name}', row {row + 1} of the data: "))
    return column.__class__(np.asarray(labels, dtype=np.int8), index=column.index, name=column.name)


def _label(value: Any) -> int:
    label = _parsed(value)
    if label is None:
        raise ValueError(_refusal(value, ""))
    return label


def _refusal(value: Any, where: str) -> str:
    return (
        f"{where}got {value!r} as the label of an anomaly feature, expected 0 or false (normal), 1 or true (anomaly), "
        f"-1 or nothing (unlabelled)."
    )


def _parsed(value: Any) -> int | None:
    """Return the label that a value means, ``None`` if it means none."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        try:
            value = float(word)
        except ValueError:
            return None
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if value is None or not isinstance(value, numbers.Real):
        # pandas.NA is no float.
        return UNLABELLED if value is None or type(value).__name__ in ("NAType", "NaTType") else None
    if math.isnan(value):
        return UNLABELLED
    return int(float(value)) if value in (NORMAL, ANOMALOUS, UNLABELLED) else None
