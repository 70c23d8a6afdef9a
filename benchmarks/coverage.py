"""How often the intervals of ``ludwig-losses compare`` contain the true difference: ``python benchmarks/coverage.py``.

A world of 20,000 rows is known, of which a user has 600: 420 to train on, 60 for validation, 120 to measure on, as
Ludwig splits by default. Two learners that cost milliseconds are trained and compared with the statistics of `compare`,
300 times with other rows. On the whole world they show what the difference really is:

- With splits by seed, the mean over rows and seeds of all repetitions.
- With a fixed split, the mean over seeds of learners that are trained on the user's training rows.

Learners are linear models by stochastic gradient descent, so that they depend on the seed as losses do.
"""

from __future__ import annotations

import functools
import itertools
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import sklearn
from scipy.special import expit
from sklearn.linear_model import SGDClassifier

from ludwig_losses.comparison.ranking import Ranking
from ludwig_losses.comparison.resampling import drawn
from ludwig_losses.comparison.statistics import BETTER, WORSE, Interval, Resamples, Splits, compare_pairs

RESULT = pathlib.Path(__file__).parent / "results" / "coverage.md"
WORLD, TRAINING, VALIDATION, HELD_OUT = 20_000, 420, 60, 120
REPETITIONS = 300
SEEDS = (5, 10, 20)
# Seeds beside those of the comparison that say what the true difference of a fixed split is.
FURTHER_SEEDS = 40
METRICS = ("accuracy", "roc_auc")
COLUMNS = 12
# Bootstrap samples, of which a comparison takes more.
SAMPLES = 200


@dataclass(frozen=True)
class Learner:
    loss: str
    epochs: int = 20
    regularization: float = 1e-3
    weights_of_classes: tuple[float, float] = (1.0, 1.0)
    # Added to the seed.
    order: int = 0

    def weights(self, x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        """Train; return a weight for each column and the intercept."""
        model = SGDClassifier(
            loss=self.loss,
            alpha=self.regularization,
            max_iter=self.epochs,
            tol=None,
            random_state=seed + self.order,
            class_weight=dict(enumerate(self.weights_of_classes)),
        )
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            model.fit(x, y.astype(int))
        return np.append(model.coef_[0], model.intercept_[0])


SAME = "the same, rows in another order"
PAIRS = {
    "cross-entropy and hinge loss": (Learner("log_loss"), Learner("hinge")),
    "more weight on one class and on the other": (
        Learner("log_loss", weights_of_classes=(1.0, 3.0)),
        Learner("log_loss", weights_of_classes=(3.0, 1.0)),
    ),
    SAME: (Learner("log_loss"), Learner("log_loss", order=10_000)),
}


def make_world() -> tuple[np.ndarray, np.ndarray]:
    """Return rows and their classes; each row has a twin on the other side with the other class."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(WORLD // 2, COLUMNS))
    effect = np.array([1.0, -0.8, 0.6, 0.4, *np.zeros(COLUMNS - 4)])
    y = generator.random(len(x)) < expit(x @ effect + 0.6 * x[:, 4] * np.abs(x[:, 5]))
    return np.concatenate([x, -x]), np.concatenate([y, ~y])


def decide(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return x @ weights[:-1] + weights[-1]


def score(y: np.ndarray, decision: np.ndarray) -> dict[str, float]:
    positives, rank = y.sum(), np.empty(len(y))
    rank[decision.argsort()] = np.arange(1, len(y) + 1)
    auc = (rank[y].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives))
    return {"accuracy": float(((decision > 0) == y).mean()), "roc_auc": float(auc)}


@dataclass
class Measured:
    """What one seed of a pair of learners gives.

    Args:
        held_out: each metric of both learners on the held-out rows.
        samples: the difference on bootstrap samples of them.
    """

    held_out: dict[str, list[float]]
    samples: dict[str, np.ndarray]


def measure(
    pair: tuple[Learner, Learner], rows: tuple[np.ndarray, np.ndarray], everything: np.ndarray, seed: int
) -> Measured:
    """Train both learners of a pair with a seed, and measure them on the held-out rows."""
    x, y = WORLD_ROWS
    training, held_out = rows
    weights = samples_of(len(everything))[:, np.searchsorted(everything, held_out)]
    found, samples = [], []
    for learner in pair:
        decision = decide(x[held_out], learner.weights(x[training], y[training], seed))
        found.append(score(y[held_out], decision))
        right = weights @ ((decision > 0) == y[held_out]) / weights.sum(axis=1)
        samples.append({"accuracy": right, "roc_auc": Ranking(decision, y[held_out]).curve(weights).roc_auc})
    return Measured(
        {name: [of[name] for of in found] for name in METRICS},
        {name: samples[1][name] - samples[0][name] for name in METRICS},
    )


@functools.cache
def samples_of(rows: int) -> np.ndarray:
    return np.concatenate([*drawn(rows, SAMPLES)])


def true_difference(pair: tuple[Learner, Learner], training: Iterable[np.ndarray], every: int) -> dict[str, float]:
    """Return the mean difference of learners that are trained on some rows, each with a seed, on part of the world."""
    x, y = WORLD_ROWS
    found = [
        [score(y[::every], decide(x[::every], learner.weights(x[rows], y[rows], seed))) for learner in pair]
        for seed, rows in enumerate(training, start=1000)
    ]
    return {name: float(np.mean([other[name] - first[name] for first, other in found])) for name in METRICS}


def split(rows: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shuffled = generator.permutation(rows)
    return shuffled[:TRAINING], shuffled[TRAINING + VALIDATION :]


@dataclass(frozen=True)
class Answer:
    """What one comparison says of a metric: its intervals by their names in the table, the truth, and the verdict."""

    cell: tuple[str, str, str, int]
    intervals: dict[str, Interval | None]
    truth: float
    verdict: str


def answers(repetition: int) -> list[Answer]:
    generator = np.random.default_rng([1, repetition])
    rows = np.sort(generator.choice(WORLD, TRAINING + VALIDATION + HELD_OUT, replace=False))
    splits = [split(rows, generator) for _ in range(max(SEEDS))]
    fixed, found = splits[0], []
    for name, pair in PAIRS.items():
        by_seed = [measure(pair, of_seed, rows, seed) for seed, of_seed in enumerate(splits)]
        truth = true_difference(pair, [training for training, _ in splits[::4]], every=1)
        found += answers_of(name, "by seed", by_seed, len(rows), truth)
        by_seed = [measure(pair, fixed, np.sort(fixed[1]), seed) for seed in range(max(SEEDS))]
        truth = dict.fromkeys(METRICS, 0.0)
        if name != SAME:
            truth = true_difference(pair, [fixed[0]] * FURTHER_SEEDS, every=3)
        found += answers_of(name, "fixed", by_seed, HELD_OUT, truth)
    return found


def answers_of(pair: str, kind: str, measured: list[Measured], rows: int, truth: dict[str, float]) -> Iterator[Answer]:
    correction = HELD_OUT / TRAINING if kind == "by seed" else 0
    for metric, seeds in itertools.product(METRICS, SEEDS):
        first, other = zip(*(of.held_out[metric] for of in measured[:seeds]), strict=True)
        samples = np.stack([of.samples[metric] for of in measured[:seeds]])
        found = compare_pairs(other, first, rows=Resamples(correction, samples, rows))
        intervals = {
            "these rows": found.interval,
            "corrected t": compare_pairs(other, first, rows=Splits(correction)).new_rows,
            "new rows": found.new_rows,
        }
        yield Answer((pair, metric, kind, seeds), intervals, truth[metric], found.verdict)


def table(found: list[Answer]) -> str:
    cells = defaultdict(list)
    for answer in found:
        cells[answer.cell].append(answer)
    lines = [
        "| learners | split | metric | seeds | these rows | corrected t | new rows | better | worse |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(cell, cells[cell]) for cell in sorted(cells, key=_order)),
    ]
    facts = (
        f"How many of {REPETITIONS} comparisons have an interval that contains the true difference: the interval *for "
        f"these rows* (t test over seeds), the corrected resampled t interval alone (a fixed split has no correction), "
        f"and the interval *for new rows*. Then how often the second learner was called *better* and *worse*. "
        f"{TRAINING} rows to train on, {HELD_OUT} to measure on. `python benchmarks/coverage.py`."
    )
    return "\n".join([*lines, "", facts]) + "\n"


def _order(cell: tuple[str, str, str, int]) -> tuple[int, str, str, int]:
    pair, metric, kind, seeds = cell
    return [*PAIRS].index(pair), kind, metric, seeds


def _row(cell: tuple[str, str, str, int], found: list[Answer]) -> str:
    pair, metric, kind, seeds = cell
    # With splits by seed the training rows are drawn, too: the truth is the mean over everything.
    truths = [answer.truth for answer in found]
    if kind == "by seed":
        truths = [float(np.mean(truths))] * len(found)
    shares = [
        np.mean([_contains(of.intervals[name], truth) for of, truth in zip(found, truths, strict=True)])
        for name in ("these rows", "corrected t", "new rows")
    ]
    shares += [np.mean([answer.verdict == word for answer in found]) for word in (BETTER, WORSE)]
    return f"| {pair} | {kind} | {metric} | {seeds} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |"


def _contains(interval: Interval | None, value: float) -> bool:
    # No interval, as where two learners agree on every row, says nothing that is wrong.
    return interval is None or interval[0] <= value <= interval[1]


WORLD_ROWS = make_world()

if __name__ == "__main__":
    with ProcessPoolExecutor() as pool:
        everything = [answer for part in pool.map(answers, range(REPETITIONS), chunksize=5) for answer in part]
    RESULT.write_text(table(everything))
    print(table(everything))
