"""Intervals and probabilities of the difference between two losses, for other seeds and for new rows."""

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
class Student:
    """Student's distribution of the true difference: a confidence interval, and a posterior under a flat prior.

    Args:
        mean: its centre.
        scale: the standard error.
        degrees: of freedom.
    """

    mean: float
    scale: float
    degrees: float

    def interval(self, level: float = LEVEL) -> Interval:
        half = float(stats.t.ppf((1 + level) / 2, self.degrees)) * self.scale
        return self.mean - half, self.mean + half

    def above(self, value: float) -> float:
        """Return the probability that the true difference is larger than a value."""
        return float(stats.t.sf((value - self.mean) / self.scale, self.degrees))


@dataclass(frozen=True)
class Splits:
    """What the seeds share: rows that are split anew for each of them, or the same rows in each split.

    Args:
        correction: held-out rows per training row, or 0 where all seeds train on the same rows.
    """

    correction: float

    def new_rows(self, differences: np.ndarray) -> Student:
        """Return the corrected resampled t distribution (Nadeau and Bengio, Machine Learning 52, 2003).

        Seeds that share rows are correlated: by ``h / (h + t)``, with ``h`` rows held out for ``t`` rows to train on,
        which makes the variance of the mean ``(1 / n + h / t) * s**2``.
        """
        count = len(differences)
        scale = differences.std(ddof=1) * np.sqrt(1 / count + self.correction)
        return Student(float(differences.mean()), float(scale), count - 1)


@dataclass(frozen=True)
class Resamples(Splits):
    """The same, with bootstrap samples of the rows that were measured, which all seeds and losses share.

    Args:
        samples: ``[seeds, B]``, the difference of each seed on each sample; NaN where it is not defined there.
        rows: how many rows were drawn from.
    """

    samples: np.ndarray
    rows: int

    def new_rows(self, differences: np.ndarray) -> Student:
        """Return the distribution with the variance of both sources: held-out rows, and seeds with what they train on.

        The bootstrap gives the variance of the mean over seeds that comes from the held-out rows, whichever seeds
        share them. What it does not explain of the variance between seeds comes from weights and training rows; the
        correction is for that part. Degrees of freedom are Satterthwaite's.
        """
        count, scale = len(differences), self.rows / (self.rows - 1)
        of_rows = float(np.nanvar(self.samples.mean(axis=0), ddof=1)) * scale
        of_single_seeds = float(np.nanvar(self.samples, axis=1, ddof=1).mean()) * scale
        between_seeds = float(differences.var(ddof=1))
        unexplained = between_seeds - count / (count - 1) * (of_single_seeds - of_rows)
        of_training = max(unexplained, 0.0) * self.correction
        # Where one seed trains on rows that another one measures, they may vary less than the held-out rows alone.
        least = of_rows / 2 if self.correction else of_rows
        variance = max(of_rows + unexplained / count + of_training, least)
        few = min(between_seeds / count + of_training, variance)
        degrees = variance**2 / (few**2 / (count - 1) + (variance - few) ** 2 / (self.rows - 1)) if variance else 1.0
        return Student(float(differences.mean()), float(np.sqrt(variance)), float(degrees))


@dataclass(frozen=True)
class Chances:
    """Probabilities that the true difference on new rows is larger than the margin, within it, or below it.

    Args:
        better: than the first loss by more than the margin.
        equal: for all practical purposes.
        worse: by more than the margin.
    """

    better: float
    equal: float
    worse: float


@dataclass(frozen=True)
class Difference:
    """The difference of a loss to the first one, over the seeds that both have.

    Args:
        mean: of the differences of single seeds.
        seeds: how many there are.
        interval: contains the mean over all possible seeds on these rows with probability :data:`LEVEL`; ``None`` where
            the seeds do not tell.
        new_rows: the interval at :data:`LEVEL` that also contains the chance of the rows.
        corrected: the interval for new rows at the level at which all comparisons of a metric hold together.
        chances: that the loss is better, practically equal, or worse on new rows.
        verdict: in plain words; it follows the intervals for new rows.
    """

    mean: float
    seeds: int
    interval: Interval | None
    new_rows: Interval | None
    corrected: Interval | None
    chances: Chances | None
    verdict: str


def of_seeds(differences: Sequence[float]) -> Student:
    """Return the distribution over seeds, for the rows that there are: that of the paired t test.

    Raises:
        ValueError: there are fewer than two differences.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2:
        raise ValueError(f"differences: got {len(values)}, expected at least 2.")
    return Student(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), len(values) - 1)


def corrected_level(comparisons: int) -> float:
    """Return the level of each of several intervals that hold together with :data:`LEVEL` (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(comparisons, 1)


def compare_pairs(
    values: Sequence[float],
    reference: Sequence[float],
    *,
    comparisons: int = 1,
    higher_is_better: bool | None = True,
    rows: Splits | None = None,
    margin: float | None = None,
) -> Difference:
    """Compare the values of a metric with those of the first loss, seed by seed.

    Args:
        values: of one loss, one for each seed.
        reference: of the first loss, for the same seeds.
        comparisons: how many losses are planned to be compared with the first one.
        higher_is_better: ``None`` where neither direction is.
        rows: how the seeds share rows; ``None`` where the metric, as the seconds of an epoch, does not depend on them.
        margin: differences up to this are practically none; ``None`` where that is not asked.
    """
    differences = np.asarray(values, dtype=float) - np.asarray(reference, dtype=float)
    seeds, mean = len(differences), float(differences.mean()) if len(differences) else float("nan")
    if seeds and not differences.any():
        return _without_interval(mean, seeds, SAME)
    if seeds < FEWEST_SEEDS:
        return _without_interval(mean, seeds, f"no interval from {_seeds(seeds)}")
    if isinstance(rows, Resamples) and rows.rows < 2:
        return _without_interval(mean, seeds, "no interval: all rows are partners of each other")
    narrow = of_seeds(differences)
    wide = narrow if rows is None else rows.new_rows(differences)
    if wide.scale <= 1e-12 * np.abs(differences).max():
        # As with accuracies of a few test rows: the variance is not 0, it is smaller than what they resolve.
        return _without_interval(mean, seeds, "no interval: every seed differs by the same step")
    interval, corrected = wide.interval(), wide.interval(corrected_level(comparisons))
    verdict = _verdict(interval, corrected, comparisons, higher_is_better)
    chances = None if margin is None or higher_is_better is None else _chances(wide, margin, higher_is_better)
    return Difference(mean, seeds, narrow.interval(), interval, corrected, chances, verdict)


def _without_interval(mean: float, seeds: int, verdict: str) -> Difference:
    return Difference(mean, seeds, None, None, None, None, verdict)


def _chances(wide: Student, margin: float, higher_is_better: bool) -> Chances:
    """Return what the correlated Bayesian t test says (Benavoli et al., JMLR 18, 2017)."""
    higher, lower = wide.above(margin), 1 - wide.above(-margin)
    better, worse = (higher, lower) if higher_is_better else (lower, higher)
    return Chances(better, max(1 - higher - lower, 0.0), worse)


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _verdict(interval: Interval, corrected: Interval, comparisons: int, higher_is_better: bool | None) -> str:
    if _contains_zero(interval):
        return UNCLEAR
    word = _direction(interval[0] > 0, higher_is_better)
    if _contains_zero(corrected):
        return f"perhaps {word}: not beyond chance among {comparisons} comparisons"
    return word


def _direction(is_higher: bool, higher_is_better: bool | None) -> str:
    if higher_is_better is None:
        return HIGHER if is_higher else LOWER
    return BETTER if is_higher == higher_is_better else WORSE


def _contains_zero(interval: Interval) -> bool:
    return interval[0] <= 0 <= interval[1]
