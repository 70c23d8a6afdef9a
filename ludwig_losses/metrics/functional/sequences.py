"""Predicted sequences of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ludwig_losses.metrics.functional import Values

# The columns of :func:`token_counts`.
TRUE, RIGHT, EXACT, EDITS = range(4)


def tokens(truth: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]]) -> Values:
    """Measure predicted sequences of tokens, without start, stop and padding."""
    counts = token_counts(truth, predicted)
    if not counts[:, TRUE].sum():
        return {}
    return {name: float(value) for name, value in token_values(counts.mean(axis=0)).items()}


def token_counts(truth: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]]) -> np.ndarray:
    """Return a row ``[N, 4]`` for each sequence: its true tokens, how many are predicted at their position, whether all
    of it is, and the insertions, deletions and substitutions that it takes."""
    rows = [
        (len(true), sum(a == b for a, b in zip(true, other, strict=False)), [*true] == [*other], _edits(true, other))
        for true, other in zip(truth, predicted, strict=True)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def token_values(mean: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics by the mean of such rows, ``[..., 4]``."""
    return {
        "token_accuracy": mean[..., RIGHT] / mean[..., TRUE],
        "sequence_accuracy": mean[..., EXACT],
        "edit_distance": mean[..., EDITS] / mean[..., TRUE],
    }


def _edits(true: Sequence[int], other: Sequence[int]) -> int:
    """Return Levenshtein's distance, a row of its table at a time."""
    target = np.asarray(other, dtype=np.int64)
    place = np.arange(len(target) + 1)
    row = place
    for count, token in enumerate(true, start=1):
        best = np.concatenate([[count], np.minimum(row[1:] + 1, row[:-1] + (target != token))])
        # An insertion costs 1 for each step to the right.
        row = np.minimum.accumulate(best - place) + place
    return int(row[-1])
