"""How well a score ranks rows, for many weights of the rows at once."""

from __future__ import annotations

import numpy as np


class Ranking:
    """A score, and which rows it should rank first."""

    def __init__(self, score: np.ndarray, is_positive: np.ndarray) -> None:
        self.order = np.argsort(-score, kind="stable")
        ordered = score[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self.is_positive = is_positive[self.order]

    def curve(self, weights: np.ndarray) -> Curve:
        """Return what weights ``[b, rows]`` make of it."""
        ordered = weights[:, self.order]
        positive = np.add.reduceat(ordered * self.is_positive, self.starts, axis=1)
        return Curve(positive, np.add.reduceat(ordered, self.starts, axis=1) - positive)


class Curve:
    """Weights ``[b, thresholds]`` of the positive and negative rows at each score, from high to low."""

    def __init__(self, positive: np.ndarray, negative: np.ndarray) -> None:
        self.positive, self.negative = positive, negative
        self.found, self.flagged = positive.cumsum(axis=1), (positive + negative).cumsum(axis=1)
        self.positives, self.negatives = positive.sum(axis=1), negative.sum(axis=1)

    @property
    def roc_auc(self) -> np.ndarray:
        # Half of the positives with the same score rank before a negative one.
        before = self.found - self.positive / 2
        return (before * self.negative).sum(axis=1) / (self.positives * self.negatives)

    @property
    def average_precision(self) -> np.ndarray:
        precision = self.found / np.maximum(self.flagged, 1)
        return (precision * self.positive).sum(axis=1) / self.positives

    @property
    def best_f1(self) -> np.ndarray:
        return (2 * self.found / (self.flagged + self.positives[:, None])).max(axis=1)
