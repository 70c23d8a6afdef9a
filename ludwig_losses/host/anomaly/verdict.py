"""Checks of a trained model: whether it has diverged, its scores are inverted, or its threshold is unreliable."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from ludwig_losses.host.anomaly.schema import AUTO
from ludwig_losses.parameters import Place

logger = logging.getLogger(__name__)

INVERTED = (
    "Take more steps (epochs, a smaller batch_size) or another random_seed, standardise the inputs, let the decoder "
    "have the biases that it has by default, and look for anomalies among the training rows that are not labelled so."
)

# The probability of a warning of inverted scores by chance alone.
_CHANCE = 0.001
# A training run has diverged above this multiple of the loss of an uninformed network.
_DIVERGED = 10


@dataclass(frozen=True)
class Found:
    """What an evaluation says about the scores of a model, the same on all ranks.

    Args:
        usual: the scores of the rows that are not labelled as anomalies.
        usual_of_moved: those of some of them.
        moved: the scores of these with noise on their inputs.
        anomalous: the scores of the validation rows that are labelled as anomalies.
        loss: the mean loss of the batches that the epoch has trained on.
        of_training: whether the rows that are not labelled as anomalies are the training data's.
    """

    usual: np.ndarray
    usual_of_moved: np.ndarray
    moved: np.ndarray
    anomalous: np.ndarray
    loss: float = 0.0
    of_training: bool = False


def report(feature: Any, place: Place) -> None:
    """Check the scores of the best model of an anomaly feature, and report its threshold.

    Raises:
        RuntimeError: the training run has diverged.
    """
    check_divergence(place, feature.best, feature.train_loss_function.uninformed)
    warn_if_inverted(place, feature.best)
    if feature.threshold == AUTO and len(feature.best.usual):
        report_threshold(place, feature.best, feature.threshold_percentile)


def merged(validated: Found | None, trained: Found | None) -> Found:
    """Return what is known of the validation data, or of the training data where that has no row that may be normal."""
    if validated is not None and (trained is None or len(validated.usual)):
        return validated
    assert trained is not None
    anomalous = np.zeros(0) if validated is None else validated.anomalous
    return replace(trained, anomalous=anomalous, of_training=True)


def is_short(feature: Any, found: Found) -> bool:
    """Whether there are too few rows for the score that the threshold should be: it lies above the largest one."""
    if feature.threshold != AUTO:
        return not len(found.usual)
    return _is_above_all(len(found.usual), feature.threshold_percentile)


def threshold_of(feature: Any, found: Found, trained: Found | None) -> float:
    """Return the threshold_percentile of the scores.

    The scores of training rows are lower than those of others, so their percentile is no upper bound, but a lower one:
    where the validation rows are too few, the threshold is the larger of the two.
    """
    known = [scores.usual for scores in (found, trained) if scores is not None and len(scores.usual)]
    return max(percentile(scores, feature.threshold_percentile) for scores in known)


def percentile(scores: np.ndarray, percentage: float) -> float:
    """Return the score below which a percentage of further rows like these is expected.

    n rows cut the distribution in n + 1 parts that are equally probable. NumPy's default excludes the outer two, so
    that more rows than expected lie above its percentile. Where it lies above the largest score, this is that one.
    """
    return float(np.percentile(scores, percentage, method="weibull"))


def check_divergence(place: Place, found: Found, uninformed: float | None) -> None:
    """Stop where the loss is far above that of a network that gives every row the same score.

    Raises:
        RuntimeError: it is.
    """
    if uninformed is not None and found.loss > _DIVERGED * uninformed:
        raise RuntimeError(
            f"{place}: the training has diverged. Its loss is {found.loss:.3g}, and {uninformed:.3g} would be that of "
            f"a network that gives every row the score 0. Lower trainer.learning_rate, and standardise the inputs."
        )


def warn_if_inverted(place: Place, found: Found) -> None:
    """Warn where normal rows have significantly higher scores than others."""
    rows = "training rows" if found.of_training else "validation rows"
    lower, differs = found.moved < found.usual_of_moved, found.moved != found.usual_of_moved
    if differs.any() and stats.binomtest(int(lower.sum()), int(differs.sum()), alternative="greater").pvalue < _CHANCE:
        logger.warning(
            f"{place}: the scores are upside down. Of {len(lower)} {rows}, {lower.mean():.0%} look more normal with "
            f"noise on their inputs (of twice the deviation of each) than as they are. {INVERTED}"
        )
    usual, anomalous = found.usual, found.anomalous
    if not (len(usual) and len(anomalous)):
        return
    if stats.mannwhitneyu(anomalous, usual, alternative="less").pvalue < _CHANCE:
        share = stats.mannwhitneyu(anomalous, usual).statistic / (len(usual) * len(anomalous))
        logger.warning(
            f"{place}: the scores are upside down. The {len(anomalous)} labelled anomalies of the validation data look "
            f"more normal than the {len(usual)} other {rows}: the AUROC is {share:.2f}. {INVERTED}"
        )


def report_threshold(place: Place, found: Found, percentage: float) -> None:
    """Report the number of rows behind a threshold, and how many normal rows it is expected to flag."""
    count, promised = len(found.usual), 1 - percentage / 100
    rows = f"{count} {'training' if found.of_training else 'validation'} rows"
    if found.of_training:
        logger.warning(
            f"{place}: the threshold stands on the scores of {rows}, since the validation data has no row that may be "
            f"normal. Rows that the network was not trained on have higher scores: more than {promised:.1%} of the "
            f"normal ones will be flagged. Keep normal or unlabelled rows for validation."
        )
        return
    rank = min(max((count + 1) * percentage / 100, 1), count)
    flagged = stats.beta(count + 1 - rank, rank)  # the share above the score of this rank
    low, high = flagged.ppf([0.05, 0.95])
    said = f"{place}: the threshold stands on the scores of {rows}. It is expected to flag"
    sure = f"{flagged.mean():.1%} of further normal rows; with 90 % confidence, between {low:.1%} and {high:.1%}."
    if _is_above_all(count, percentage):
        needed = "more" if promised == 0 else math.ceil(1 / promised - 1e-9) - 1
        logger.warning(
            f"{said} up to {sure} threshold_percentile: {percentage:g} needs {needed} validation rows that may be "
            f"normal; with fewer, the threshold is the largest of their scores, or the percentile of the training "
            f"rows' scores if that is larger."
        )
    else:
        logger.info(f"{said} {sure}")


def _is_above_all(count: int, percentage: float) -> bool:
    """Whether the percentile of so many rows lies above the largest one, but for rounding."""
    return (count + 1) * (1 - percentage / 100) < 1 - 1e-9
