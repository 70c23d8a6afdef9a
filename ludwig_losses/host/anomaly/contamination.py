"""With ``contamination``: which rows without a label are not trained as normal."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ludwig_losses.host.anomaly.labels import NORMAL, UNLABELLED

# Large enough that 1 % are a few rows; small enough that the network has hardly changed since the oldest one.
_ROWS = 512
# Training excludes this multiple of the share of anomalies. The share itself is too small: a few of the farthest rows
# are normal, and the anomalies that remain in their place have the largest gradients.
MARGIN = 2


class LatestScores:
    """The scores of the latest training rows, whose quantile is the cutoff, whatever the batch size.

    The quantile of the last epoch would be outdated: distances may shrink tenfold in the first epoch, so that no row
    would be above the cutoff.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.scores: Tensor | None = None

    def cutoff(self, score: Tensor, target: Tensor) -> Tensor:
        """Add a batch; return above which score the highest ``share`` lies, rounded down to whole rows.

        NaN before the first row without a label.
        """
        score = torch.where(target == UNLABELLED, score.detach().float(), torch.nan)
        before = score[:0] if self.scores is None else self.scores.to(score.device)
        self.scores = torch.cat([before, score])[-max(_ROWS, len(score)) :]
        return self.scores.nanquantile(1 - self.share, interpolation="higher")


def cutoff_of_epoch(scores: np.ndarray, share: float) -> float:
    """Return the cutoff at the end of an epoch, from the scores of rows without a label."""
    return float(np.quantile(scores, 1 - share, method="higher"))


def latest(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the scores of the last rows without a label."""
    return scores[labels == UNLABELLED][-_ROWS:]


def taken_for_normal(scores: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Return the scores of known normal rows, and of unlabelled ones without the share with the highest scores."""
    unlabelled = scores[labels == UNLABELLED]
    if share and len(unlabelled):
        unlabelled = unlabelled[unlabelled <= cutoff_of_epoch(unlabelled, share)]
    return np.concatenate([scores[labels == NORMAL], unlabelled])
