"""Intervals of paired differences: their coverage by simulation, and what is said where they say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ludwig_losses.comparison.statistics import (
    BETTER,
    SAME,
    UNCLEAR,
    WORSE,
    Resamples,
    Splits,
    compare_pairs,
    corrected_level,
    of_seeds,
)

TRIALS = 1000
# Three standard deviations of the number of hits among 1,000 trials of probability 0.95.
CHANCE = 3 * np.sqrt(TRIALS * 0.95 * 0.05)


def scores(generator: np.random.Generator, losses: int, seeds: int, effects: list[float]) -> np.ndarray:
    """Scores of losses ``[losses, seeds]`` with known effects; what a seed does to all losses is large."""
    of_seed = generator.normal(0.9, 0.05, size=seeds)
    return of_seed + np.array(effects)[:, None] + generator.normal(0, 0.01, size=(losses, seeds))


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_holds_the_true_difference_in_95_of_100_trials(seeds):
    generator = np.random.default_rng(seeds)
    hits = 0
    for _ in range(TRIALS):
        reference, values = scores(generator, 2, seeds, [0.0, 0.02])
        interval = compare_pairs(values, reference).interval
        assert interval is not None
        hits += interval[0] <= 0.02 <= interval[1]
    assert abs(hits - 0.95 * TRIALS) <= CHANCE, hits


@pytest.mark.parametrize("comparisons", [2, 7])
def test_corrected_intervals_hold_together(comparisons):
    """All of the true differences lie in their intervals in at least 95 of 100 trials; Bonferroni may give more."""
    generator = np.random.default_rng(comparisons)
    effects = [0.0, *np.linspace(-0.02, 0.02, comparisons)]
    together, alone = 0, 0
    for _ in range(TRIALS):
        reference, *others = scores(generator, comparisons + 1, 5, effects)
        found = [compare_pairs(values, reference, comparisons=comparisons) for values in others]
        together += all(f.corrected[0] <= e <= f.corrected[1] for f, e in zip(found, effects[1:], strict=True))
        alone += all(f.interval[0] <= e <= f.interval[1] for f, e in zip(found, effects[1:], strict=True))
    assert together >= 0.95 * TRIALS - CHANCE, together
    assert alone < 0.95 * TRIALS - CHANCE, "without the correction they do not hold together"


def test_losses_that_do_not_differ_are_rarely_called_better_or_worse():
    generator = np.random.default_rng(0)
    false = 0
    for _ in range(TRIALS):
        reference, *others = scores(generator, 6, 5, [0.0] * 6)
        false += any(compare_pairs(values, reference, comparisons=5).verdict in (BETTER, WORSE) for values in others)
    assert false <= 0.05 * TRIALS + CHANCE


def test_the_interval_is_scipys():
    values, reference = np.array([0.91, 0.93, 0.90, 0.95]), np.array([0.90, 0.90, 0.91, 0.91])
    expected = stats.ttest_rel(values, reference).confidence_interval(0.95)
    assert compare_pairs(values, reference).interval == pytest.approx((expected.low, expected.high))
    with pytest.raises(ValueError, match="got 1, expected at least 2"):
        of_seeds([0.5])


@pytest.mark.parametrize(("higher_is_better", "expected"), [(True, BETTER), (False, WORSE), (None, "higher")])
def test_the_word_depends_on_the_direction_of_the_metric(higher_is_better, expected):
    found = compare_pairs([0.91, 0.92, 0.93], [0.81, 0.82, 0.831], higher_is_better=higher_is_better)
    assert found.verdict == expected


def test_what_is_beyond_chance_alone_need_not_be_among_many():
    values, reference = [0.91, 0.93, 0.92, 0.94], [0.90, 0.90, 0.91, 0.91]
    alone = compare_pairs(values, reference)
    among = compare_pairs(values, reference, comparisons=7)
    assert alone.verdict == BETTER and alone.corrected == alone.interval
    assert among.verdict == "perhaps better: not beyond chance among 7 comparisons"
    assert among.interval == alone.interval and among.corrected[0] < 0 < among.corrected[1]
    assert corrected_level(7) == pytest.approx(1 - 0.05 / 7)


def test_where_nothing_can_be_said_it_is_said_why():
    assert compare_pairs([0.9, 0.8], [0.8, 0.9]).verdict == "no interval from 2 seeds"
    assert compare_pairs([0.9], [0.8]).verdict == "no interval from 1 seed"
    assert compare_pairs([0.9, 0.8, 0.7], [0.9, 0.8, 0.7]).verdict == SAME
    step = compare_pairs([0.91, 0.81, 0.71], [0.9, 0.8, 0.7])
    assert step.interval is None and step.verdict == "no interval: every seed differs by the same step"
    assert compare_pairs([0.9, 0.8, 0.75], [0.8, 0.9, 0.7]).verdict == UNCLEAR


def test_the_corrected_resampled_t_interval_is_that_of_the_paper():
    values, reference = np.array([0.905, 0.93, 0.91, 0.925, 0.91]), np.full(5, 0.9)
    found = compare_pairs(values, reference, rows=Splits(120 / 420))
    difference = values - reference
    half = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 120 / 420) * difference.var(ddof=1))
    assert found.new_rows == pytest.approx((difference.mean() - half, difference.mean() + half))
    assert found.interval == compare_pairs(values, reference).interval
    assert found.verdict == UNCLEAR and compare_pairs(values, reference).verdict == BETTER, "it follows the wide one"


def test_probabilities_are_those_of_the_correlated_bayesian_t_test():
    values, reference = np.array([0.91, 0.93, 0.90, 0.95, 0.92]), np.full(5, 0.9)
    chances = compare_pairs(values, reference, rows=Splits(120 / 420), margin=0.01).chances
    difference = values - reference
    posterior = stats.t(4, difference.mean(), np.sqrt((1 / 5 + 120 / 420) * difference.var(ddof=1)))
    expected = (posterior.sf(0.01), posterior.cdf(0.01) - posterior.cdf(-0.01), posterior.cdf(-0.01))
    assert (chances.better, chances.equal, chances.worse) == pytest.approx(expected)
    lower = compare_pairs(values, reference, rows=Splits(120 / 420), margin=0.01, higher_is_better=False).chances
    assert (lower.worse, lower.equal, lower.better) == pytest.approx(expected)
    assert compare_pairs(values, reference, margin=0.01, higher_is_better=None).chances is None
    assert compare_pairs(values[:2], reference[:2], margin=0.01).chances is None


@pytest.mark.parametrize(("of_row", "of_seed", "of_both"), [(1.0, 0.0, 0.0), (0.0, 0.1, 0.0), (0.3, 0.05, 1.0)])
def test_rows_and_seeds_of_a_fixed_split_are_both_in_the_interval(of_row, of_seed, of_both):
    """Differences of rows and seeds with known variances: the interval contains 0 in 95 of 100 trials."""
    generator = np.random.default_rng(5)
    seeds, rows, hits, trials = 5, 60, 0, 400
    for _ in range(trials):
        table = of_row * generator.normal(size=rows) + of_seed * generator.normal(size=(seeds, 1))
        table = table + of_both * generator.normal(size=(seeds, rows))
        weights = generator.multinomial(rows, np.full(rows, 1 / rows), size=200) / rows
        found = compare_pairs(table.mean(axis=1), np.zeros(seeds), rows=Resamples(0, table @ weights.T, rows))
        hits += found.new_rows[0] <= 0 <= found.new_rows[1]
    assert hits >= 0.95 * trials - 3 * np.sqrt(trials * 0.95 * 0.05), hits
    assert hits <= 0.99 * trials, hits


def test_seeds_that_all_differ_by_the_same_still_have_rows():
    samples = np.random.default_rng(0).normal(0.01, 0.005, size=(1, 300)).repeat(4, axis=0)
    found = compare_pairs([0.91, 0.81, 0.71, 0.61], [0.9, 0.8, 0.7, 0.6], rows=Resamples(0, samples, 100))
    assert found.new_rows == pytest.approx((0.0, 0.02), abs=0.001)
    assert np.ptp(found.interval) < 1e-9
