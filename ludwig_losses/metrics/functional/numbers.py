"""Predicted numbers."""

from __future__ import annotations

import numpy as np

from ludwig_losses.metrics.catalogue import SMALLEST_MEAN, TWEEDIE_POWER

DEVIANCES = ("poisson_deviance", "tweedie_deviance")
# Undoing a normalization in float32 makes of a 0 a number that is at most so large beside the mean.
_ROUNDING = 1e-6


def error_sums(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the sums ``[N, 7]`` from which :func:`error_values` follow, of rows that may be added up.

    Args:
        truth: ``[N]``, or ``[N, T]`` where a row has several numbers.
        predicted: the same shape.
    """
    truth, predicted = (np.asarray(values, dtype=np.float64).reshape(len(truth), -1) for values in (truth, predicted))
    error, centred = predicted - truth, truth - truth.mean()  # R2 does not depend on where 0 is.
    columns = (np.ones_like(error), np.abs(error), error**2, centred, centred**2, *_deviances(truth, predicted))
    return np.stack([column.sum(axis=1) for column in columns], axis=1)


def error_values(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics by such sums, ``[..., 7]``; ``r2`` is NaN where all true numbers are the same, and a deviance
    where one is negative."""
    count, absolute, square, truth, truth_square, *deviances = np.moveaxis(np.asarray(sums), -1, 0)
    variation = truth_square - truth**2 / count
    return {
        "root_mean_squared_error": np.sqrt(square / count),
        "mean_absolute_error": absolute / count,
        "r2": 1 - square / np.where(variation > 0, variation, np.nan),
        # Runs of earlier versions have kept none.
        **{name: total / count for name, total in zip(DEVIANCES, deviances, strict=False)},
    }


def _deviances(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Poisson and the Tweedie deviance of each number, NaN if one of the true ones is negative."""
    rounding = _ROUNDING * np.abs(truth).mean()
    if truth.min() < -rounding:
        return np.full_like(truth, np.nan), np.full_like(truth, np.nan)
    y, mean = np.where(truth > rounding, truth, 0), np.maximum(predicted, SMALLEST_MEAN)
    poisson = y * np.log(np.where(y > 0, y, mean) / mean) - y + mean
    p = TWEEDIE_POWER
    tweedie = (y ** (2 - p) / (1 - p) + mean ** (2 - p)) / (2 - p) - y * mean ** (1 - p) / (1 - p)
    return 2 * poisson, 2 * tweedie
