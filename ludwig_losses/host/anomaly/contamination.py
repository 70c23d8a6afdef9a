"""Which rows without a label a loss does not take for normal, where it is told that some of them are anomalies."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ludwig_losses.host.anomaly.labels import NORMAL, UNLABELLED

# Enough that 1 % of them is a few rows, few enough that the network has hardly changed since.
_ROWS = 512
# How many times as many rows as there may be anomalies training leaves out. Exactly as many would not do: a few of the
# farthest are normal, and the anomalies in their place, which have the largest gradients, pull the network to them.
MARGIN = 2


class LatestScores:
    """The scores of the last rows that training has seen, of which a share is the highest, whatever the batch size.

    The quantile of the last epoch would be too old: distances may shrink tenfold in the first one, and all anomalies
    would be pulled in.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.scores: Tensor | None = None

    def cutoff(self, score: Tensor, target: Tensor) -> Tensor:
        """Add a batch; return above which score the highest ``share`` lies, rounded down to whole rows.

        NaN as long as there is no row without a label.
        """
        score = torch.where(target == UNLABELLED, score.detach().float(), torch.nan)
        before = score[:0] if self.scores is None else self.scores.to(score.device)
        self.scores = torch.cat([before, score])[-max(_ROWS, len(score)) :]
        return self.scores.nanquantile(1 - self.share, interpolation="higher")


def cutoff_of_epoch(scores: np.ndarray, share: float) -> float:
    """Return what training had for a cutoff in the end, of the scores of rows without a label."""
    return float(np.quantile(scores, 1 - share, method="higher"))


def latest(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the scores of the last rows without a label."""
    return scores[labels == UNLABELLED][-_ROWS:]


def taken_for_normal(scores: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Return the scores of known normal rows, and of those without a label but for the share that scores highest."""
    unlabelled = scores[labels == UNLABELLED]
    if share and len(unlabelled):
        unlabelled = unlabelled[unlabelled <= cutoff_of_epoch(unlabelled, share)]
    return np.concatenate([scores[labels == NORMAL], unlabelled])
