"""What differences between paired seeds say, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
# Below this a t interval is wider than anything that it could show: 13 times the standard error with two seeds.
FEWEST_SEEDS = 3

Interval = tuple[float, float]

BETTER, WORSE = "better", "worse"
HIGHER, LOWER = "higher", "lower"
UNCLEAR = "not distinguishable from chance"
SAME = "the same in every seed"


@dataclass(frozen=True)
class Difference:
    """The difference of a loss to the first one, over the seeds that both have.

    Args:
        mean: of the differences of single seeds.
        seeds: how many there are.
        interval: holds the mean over all possible seeds with probability :data:`LEVEL`; ``None`` where
            the seeds do not tell.
        corrected: the interval at the level at which all comparisons of a metric hold together.
        verdict: in plain words.
    """

    mean: float
    seeds: int
    interval: Interval | None
    corrected: Interval | None
    verdict: str


def t_interval(differences: Sequence[float], level: float = LEVEL) -> Interval:
    """Return ``mean ± t * s / sqrt(n)``, with ``t`` the quantile of Student's distribution with ``n - 1`` degrees.

    Raises:
        ValueError: there are fewer than two differences.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2:
        raise ValueError(f"differences: got {len(values)}, expected at least 2.")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def corrected_level(comparisons: int) -> float:
    """Return the level of each of several intervals that hold together with :data:`LEVEL` (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(comparisons, 1)


def compare_pairs(
    values: Sequence[float], reference: Sequence[float], *, comparisons: int = 1, higher_is_better: bool | None = True
) -> Difference:
    """Compare the values of a metric with those of the first loss, seed by seed.

    Args:
        values: of one loss, one for each seed.
        reference: of the first loss, for the same seeds.
        comparisons: how many losses are compared with the first one.
        higher_is_better: ``None`` where neither direction is.
    """
    differences = np.asarray(values, dtype=float) - np.asarray(reference, dtype=float)
    seeds, mean = len(differences), float(differences.mean()) if len(differences) else float("nan")
    if seeds and not differences.any():
        return Difference(mean, seeds, None, None, SAME)
    if seeds < FEWEST_SEEDS:
        return Difference(mean, seeds, None, None, f"no interval from {_seeds(seeds)}")
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        # As with accuracies of a few test rows: the variance is not 0, it is smaller than what they resolve.
        return Difference(mean, seeds, None, None, "no interval: every seed differs by the same step")
    interval = t_interval(differences)
    corrected = t_interval(differences, corrected_level(comparisons))
    return Difference(mean, seeds, interval, corrected, _verdict(interval, corrected, comparisons, higher_is_better))


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _verdict(interval: Interval, corrected: Interval, comparisons: int, higher_is_better: bool | None) -> str:
    if _holds_zero(interval):
        return UNCLEAR
    word = _direction(interval[0] > 0, higher_is_better)
    if _holds_zero(corrected):
        return f"perhaps {word}: not beyond chance among {comparisons} comparisons"
    return word


def _direction(is_higher: bool, higher_is_better: bool | None) -> str:
    if higher_is_better is None:
        return HIGHER if is_higher else LOWER
    return BETTER if is_higher == higher_is_better else WORSE


def _holds_zero(interval: Interval) -> bool:
    return interval[0] <= 0 <= interval[1]
