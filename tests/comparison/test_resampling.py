"""Metrics on bootstrap samples: on the rows as they are they are the metrics, and samples are common to all losses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ludwig_losses.comparison import resampling
from ludwig_losses.comparison.outcome import Outcome, measure
from ludwig_losses.comparison.roles import Roles
from ludwig_losses.parameters import Feature
from saved import Batch

ROWS, CLASSES = 60, 4
NO_ROLES = Roles(None, None)


def batches(truth: np.ndarray, **predicted: np.ndarray) -> list[Batch]:
    """Rows in batches of different sizes."""
    cuts = [0, 7, 30, len(truth)]
    return [
        Batch(truth[a:b], {name: values[a:b] for name, values in predicted.items()})
        for a, b in itertools.pairwise(cuts)
    ]


def categories(generator: np.random.Generator) -> tuple[list[Batch], Feature]:
    # Equal scores, probabilities of exactly 0, a class that is never true.
    probabilities = generator.dirichlet(np.full(CLASSES, 0.5), size=ROWS).round(1).astype(np.float32)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    truth, predicted = generator.integers(CLASSES - 1, size=ROWS), probabilities.argmax(axis=1)
    feature = Feature("y", [*"1234"], CLASSES, top_k=2)
    return batches(truth, predictions=predicted, probabilities=probabilities, logits=probabilities), feature


def binary(generator: np.random.Generator) -> tuple[list[Batch], Feature]:
    probabilities = generator.random(ROWS).round(2).astype(np.float32)
    truth = generator.random(ROWS) < 0.5 * probabilities
    return batches(truth, predictions=probabilities > 0.4, probabilities=probabilities), Feature("y", num_classes=2)


def masks(generator: np.random.Generator) -> tuple[list[Batch], Feature]:
    truth = generator.choice(CLASSES, p=[0.6, 0.3, 0.1, 0], size=(ROWS, 5, 6))
    predicted = np.where(generator.random(truth.shape) < 0.7, truth, generator.integers(3, size=truth.shape))
    return batches(truth, predictions=predicted), Feature("y", num_classes=CLASSES)


def sequences(generator: np.random.Generator) -> tuple[list[Batch], Feature]:
    truth, predicted = generator.integers(1, 4, size=(2, ROWS, 6))
    for row, length in enumerate(generator.integers(7, size=ROWS)):
        truth[row, length:] = predicted[row, max(length + row % 3 - 1, 0) :] = 0
    probabilities = generator.random((ROWS, 6, 4)).round(1)
    feature = Feature("y", ["<PAD>", "a", "b", "c"], 4, symbols=frozenset(["<PAD>"]), padding=0)
    return batches(truth, predictions=predicted, probabilities=probabilities), feature


def vectors(generator: np.random.Generator) -> tuple[list[Batch], Feature]:
    centres = generator.normal(size=(ROWS // 2, 3)).repeat(2, axis=0)
    return batches(centres, predictions=centres + generator.normal(size=(ROWS, 3))), Feature("y")


def anomalies(generator: np.random.Generator) -> tuple[list[Batch], Feature]:
    truth, score = generator.integers(-1, 2, size=ROWS), generator.random(ROWS).round(1)
    return batches(truth, anomaly_score=score, predictions=score > 0.5), Feature("y")


def numbers(generator: np.random.Generator) -> tuple[list[Batch], Feature]:
    truth = 1e4 + generator.normal(size=(ROWS, 3)).astype(np.float32)
    return batches(truth, predictions=truth + generator.normal(size=truth.shape).round(1)), Feature("y")


def labels(generator: np.random.Generator) -> tuple[list[Batch], Feature]:
    truth = generator.random((ROWS, 4)) < np.array([0.6, 0.2, 0.3, 0])
    probabilities = (0.7 * generator.random((ROWS, 4)) + 0.3 * truth).round(1).astype(np.float32)
    feature = Feature("y", ["a", "b", "<UNK>", "c"], 4, symbols=frozenset(["<UNK>"]), of_labels=True)
    return batches(truth, predictions=probabilities > 0.45, probabilities=probabilities), feature


TYPES = {
    "category": categories,
    "binary": binary,
    "image": masks,
    "sequence": sequences,
    "set": labels,
    "vector": vectors,
    "anomaly": anomalies,
    "timeseries": numbers,
}


def outcome(feature_type: str, seed: int = 0) -> Outcome:
    rows, feature = TYPES[feature_type](np.random.default_rng(seed))
    found = measure(feature_type, rows, feature, consecutive_pairs=True)
    found.arrays[resampling.ROWS] = np.arange(ROWS, dtype=np.uint64)
    return found


def measured(kept: dict[str, np.ndarray], weights: np.ndarray, roles: Roles = NO_ROLES) -> dict[str, float]:
    values = resampling._measure(kept, roles)(weights[None].astype(float))
    return {name: float(value[0]) for name, value in values.items()}


@pytest.mark.parametrize("feature_type", TYPES)
def test_the_rows_as_they_are_have_the_metrics_of_the_run(feature_type):
    found = outcome(feature_type)
    of_all = measured(found.arrays, np.ones(len(resampling.drawn_units(found.arrays))))
    assert of_all == pytest.approx(found.metrics, rel=1e-5, abs=1e-9)


def test_metrics_that_need_roles():
    roles = Roles(["2", "1", "3"], ["4", "3"])
    kept = outcome("category").arrays
    found, expected = measured(kept, np.ones(ROWS), roles), roles.measure(kept)
    assert len(expected) == 5 and {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("feature_type", ["category", "binary", "image", "sequence", "set", "anomaly", "timeseries"])
def test_a_sample_has_the_metrics_of_the_rows_that_were_drawn(feature_type):
    """A row of weight 2 counts as two rows, one of weight 0 as none."""
    rows, feature = TYPES[feature_type](np.random.default_rng(1))
    weights = np.random.default_rng(2).integers(3, size=ROWS)
    truth = np.concatenate([batch.truth for batch in rows]).repeat(weights, axis=0)
    predicted = {
        name: np.concatenate([batch.predicted[name] for batch in rows]).repeat(weights, axis=0)
        for name in rows[0].predicted
    }
    expected = measure(feature_type, [Batch(truth, predicted)], feature, False).metrics
    found = measured(measure(feature_type, rows, feature, False).arrays, weights)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_runs_that_share_rows_share_their_weights():
    """Accuracy of rows 0 to 39 and 20 to 59 is known from the weights of the rows that are right."""
    kept = outcome("binary").arrays
    everything = kept[resampling.ROWS]
    (weights,) = resampling.drawn(ROWS, resampling.SAMPLES)
    right = kept["truth"] == kept["predicted"]
    for part in (slice(0, 40), slice(20, 60)):
        of_part = {name: values if name == "classes" else values[part] for name, values in kept.items()}
        found = resampling.resampled(of_part, NO_ROLES, everything)["accuracy"]
        assert found == pytest.approx((weights[:, part] @ right[part]) / weights[:, part].sum(axis=1))


def test_the_variance_over_samples_is_that_of_the_mean_over_rows():
    kept = outcome("binary").arrays
    found = resampling.resampled(kept, NO_ROLES, kept[resampling.ROWS])["accuracy"]
    right = kept["truth"] == kept["predicted"]
    assert found.std() == pytest.approx(right.std() / np.sqrt(ROWS), rel=0.1)


def test_a_large_number_of_rows_takes_fewer_samples_in_parts(monkeypatch):
    monkeypatch.setattr(resampling, "_MOST_WORK", 300 * ROWS * 2)
    monkeypatch.setattr(resampling, "_CHUNK", 7 * ROWS)
    kept = outcome("binary").arrays
    found = resampling.resampled(kept, NO_ROLES, kept[resampling.ROWS])
    assert {len(values) for values in found.values()} == {300}


def test_rows_are_identified_by_what_is_in_them():
    columns = {"x": np.array([[1.0, 2], [1, 3], [1, 2], [1, 2]]), "y": np.array(["a", "a", "b", "a"], dtype=object)}
    found = resampling.identities(columns)
    assert len({*found}) == 3 and found[0] == found[3] and found.dtype == np.uint64
    assert np.array_equal(resampling.identities(dict(reversed(columns.items()))), found)
    assert not {*resampling.identities({**columns, "y": np.array(["c"] * 4, dtype=object)})} & {*found}


def test_partners_are_drawn_together():
    rows, target = np.array([1, 2, 4, 8], dtype=np.uint64), np.array([[0.0], [0.0], [1.0], [0.0]])
    pairs = resampling.drawn_units({"rows": rows, "groups": np.array([5, 5, 9, 9]), "truth": target})
    assert pairs.tolist() == [3, 12]
    twins = resampling.drawn_units({"rows": np.repeat(rows[:2], 2), "groups": np.array([5, 5, 9, 9]), "truth": target})
    assert len({*twins}) == 2
    groups = resampling.drawn_units({"rows": rows, "groups": np.array([0, 0, 1, 0]), "truth": target})
    assert len(groups) == 2 and groups[0] == resampling.identities({"t": target})[3]
