"""Predicted numbers."""

from __future__ import annotations

import numpy as np


def error_sums(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the sums ``[N, 5]`` from which :func:`error_values` follow, of rows that may be added up.

    Args:
        truth: ``[N]``, or ``[N, T]`` where a row has several numbers.
        predicted: the same shape.
    """
    truth, predicted = (np.asarray(values, dtype=np.float64).reshape(len(truth), -1) for values in (truth, predicted))
    error, centred = predicted - truth, truth - truth.mean()  # R2 does not depend on where 0 is.
    columns = (np.ones_like(error), np.abs(error), error**2, centred, centred**2)
    return np.stack([column.sum(axis=1) for column in columns], axis=1)


def error_values(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics by such sums, ``[..., 5]``; ``r2`` is NaN where all true numbers are the same."""
    count, absolute, square, truth, truth_square = np.moveaxis(np.asarray(sums), -1, 0)
    variation = truth_square - truth**2 / count
    return {
        "root_mean_squared_error": np.sqrt(square / count),
        "mean_absolute_error": absolute / count,
        "r2": 1 - square / np.where(variation > 0, variation, np.nan),
    }
