"""How well a score ranks rows, for many weights of the rows at once."""

from __future__ import annotations

import numpy as np


class Ranking:
    """A score, and which rows it should rank first."""

    def __init__(self, score: np.ndarray, is_positive: np.ndarray) -> None:
        self.order = np.argsort(-score, kind="stable")
        ordered, is_positive = score[self.order], is_positive[self.order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        ends = np.append(starts[1:], len(ordered))
        # Everything is computed at the positive rows only, which are few with many classes.
        self.places = np.flatnonzero(is_positive)
        group = np.repeat(np.arange(len(starts)), ends - starts)[self.places]
        self.before, self.until = starts[group], ends[group]
        positives = np.append(0, is_positive.cumsum())
        self.found_before, self.found_until = positives[self.before], positives[self.until]

    def curve(self, weights: np.ndarray) -> Curve:
        """Return what weights ``[b, rows]`` make of it."""
        ordered = np.take(weights, self.order, axis=1)
        positive = ordered[:, self.places]
        flagged, found = _sums(ordered), _sums(positive)
        return Curve(
            positive,
            found[:, self.found_before],
            found[:, self.found_until],
            flagged[:, self.before],
            flagged[:, self.until],
            flagged[:, -1] - found[:, -1],
        )


def _sums(weights: np.ndarray) -> np.ndarray:
    """Return the sums ``[b, n + 1]`` of the first 0 to n weights."""
    found = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=found[:, 1:])
    return found


class Curve:
    """Weights ``[b, positives]`` at each positive row: its own, and those of all positive and of all rows with a higher
    score, without and with the rows that have the same one."""

    def __init__(
        self,
        positive: np.ndarray,
        found_before: np.ndarray,
        found: np.ndarray,
        flagged_before: np.ndarray,
        flagged: np.ndarray,
        negatives: np.ndarray,
    ) -> None:
        self.positive, self.found, self.flagged = positive, found, flagged
        self.found_before, self.flagged_before = found_before, flagged_before
        self.positives, self.negatives = positive.sum(axis=1), negatives

    @property
    def roc_auc(self) -> np.ndarray:
        # Half of the negatives with the same score rank before a positive one.
        before = (self.flagged - self.found + self.flagged_before - self.found_before) / 2
        after = self.negatives[:, None] - before
        return (self.positive * after).sum(axis=1) / (self.positives * self.negatives)

    @property
    def average_precision(self) -> np.ndarray:
        precision = self.found / np.maximum(self.flagged, 1)
        return (precision * self.positive).sum(axis=1) / self.positives

    @property
    def best_f1(self) -> np.ndarray:
        # The best threshold is the score of a positive row: flagging negatives only makes it worse.
        return (2 * self.found / (self.flagged + self.positives[:, None])).max(axis=1)
