"""The temperature of Ludwig's ``calibration: true``, for logits that are there already."""

from __future__ import annotations

import numpy as np
from ludwig.utils.calibration import TemperatureScaling


def temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return what Ludwig would divide the logits by, fitted on these rows; 1 where it would keep probabilities.

    Args:
        logits: ``[N]`` of a binary feature, ``[N, C]`` of a category feature.
        truth: ``[N]``, class indices.
    """
    binary = logits.ndim == 1
    scaling = TemperatureScaling(num_classes=2 if binary else logits.shape[1], binary=binary)
    scaling.train_calibration(logits, truth)
    return float(scaling.temperature)
