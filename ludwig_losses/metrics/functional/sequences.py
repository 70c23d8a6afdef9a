"""Predicted sequences of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torchmetrics.functional.text import word_error_rate

from ludwig_losses.metrics.functional import Values


def tokens(truth: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]]) -> Values:
    """Measure predicted sequences of tokens, without start, stop and padding."""
    total = sum(map(len, truth))
    if not total:
        return {}
    right = sum(a == b for row, other in zip(truth, predicted, strict=True) for a, b in zip(row, other, strict=False))
    as_text: Callable[[Sequence[int]], str] = lambda row: " ".join(map(str, row))  # noqa: E731
    return {
        "token_accuracy": right / total,
        "sequence_accuracy": float(np.mean([[*a] == [*b] for a, b in zip(truth, predicted, strict=True)])),
        "edit_distance": float(word_error_rate([*map(as_text, predicted)], [*map(as_text, truth)])),
    }
