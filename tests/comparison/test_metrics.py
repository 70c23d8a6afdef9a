"""Metrics against the definitions, written out, on small cases and at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ludwig_losses.comparison import metrics

TRUTH = np.array([0, 0, 1, 1, 2, 2, 2, 0])
PROBABILITIES = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.2, 0.5, 0.3],
        [0.1, 0.8, 0.1],
        [0.3, 0.4, 0.3],
        [0.0, 0.0, 1.0],
        [0.6, 0.0, 0.4],
        [0.1, 0.1, 0.8],
        [0.9, 0.1, 0.0],
    ]
)
PREDICTED = PROBABILITIES.argmax(axis=1)


def auroc(is_class: np.ndarray, score: np.ndarray) -> float:
    """The share of the pairs of an example of the class and another one that the score orders rightly."""
    pairs = [(a > b) + 0.5 * (a == b) for a in score[is_class] for b in score[~is_class]]
    return float(np.mean(pairs))


def average_precision(is_class: np.ndarray, score: np.ndarray) -> float:
    """The mean over the thresholds at which recall grows."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        chosen = score >= threshold
        recall = is_class[chosen].sum() / is_class.sum()
        total, before = total + (recall - before) * is_class[chosen].mean(), recall
    return total


def test_classes():
    found = metrics.classification(TRUTH, PREDICTED, PROBABILITIES, ["a", "b", "c"])
    recalls = [(PREDICTED[c == TRUTH] == c).mean() for c in range(3)]
    precisions = [(TRUTH[c == PREDICTED] == c).mean() for c in range(3)]
    f1 = [2 * p * r / (p + r) for p, r in zip(precisions, recalls, strict=True)]
    one_hot = np.eye(3)[TRUTH]
    probability = PROBABILITIES[np.arange(8), TRUTH]
    expected = {
        "accuracy": 6 / 8,
        "balanced_accuracy": np.mean(recalls),
        "macro_f1": np.mean(f1),
        "roc_auc": np.mean([auroc(c == TRUTH, PROBABILITIES[:, c]) for c in range(3)]),
        "average_precision": np.mean([average_precision(c == TRUTH, PROBABILITIES[:, c]) for c in range(3)]),
        "log_loss": -np.log(probability).mean(),
        "brier_score": ((PROBABILITIES - one_hot) ** 2).sum(axis=1).mean(),
        "zero_probabilities": 4 / 24,
        "recall[a]": recalls[0],
        "recall[b]": recalls[1],
        "recall[c]": recalls[2],
    }
    calibration = found.pop("expected_calibration_error")
    assert found == pytest.approx(expected, rel=1e-6)
    assert calibration == pytest.approx(calibration_error(PROBABILITIES.max(axis=1), PREDICTED == TRUTH), rel=1e-5)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return sum(abs(right[place == b].mean() - confidence[place == b].mean()) * (place == b).mean() for b in {*place})


def test_two_classes_are_ranked_by_the_second():
    score = np.array([0.9, 0.1, 0.8, 0.3, 0.6])
    truth = np.array([1, 0, 0, 0, 1])
    found = metrics.classification(truth, (score > 0.5).astype(int), np.stack([1 - score, score], 1), ["no", "yes"])
    assert found["roc_auc"] == pytest.approx(auroc(truth == 1, score))
    assert found["average_precision"] == pytest.approx(average_precision(truth == 1, score))
    assert found["brier_score"] == pytest.approx(((score - truth) ** 2).mean())
    assert (found["recall[no]"], found["recall[yes]"]) == (2 / 3, 1.0)


def test_a_true_class_without_any_probability_costs_much_but_not_everything():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = metrics.classification(np.array([1, 1]), np.array([0, 1]), probabilities, ["a", "b"])
    assert found["log_loss"] == pytest.approx(-math.log(metrics.SMALLEST_PROBABILITY) / 2, rel=1e-3)


def test_what_the_rows_do_not_define_is_left_out():
    one_class = metrics.classification(np.zeros(4, int), np.zeros(4, int), np.tile([0.8, 0.2], (4, 1)), ["a", "b"])
    assert "roc_auc" not in one_class and "average_precision" not in one_class and "recall[b]" not in one_class
    assert one_class["accuracy"] == one_class["balanced_accuracy"] == 1
    assert metrics.classification(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), ["a", "b"]) == {}
    assert metrics.segmentation(np.zeros((2, 2), int), ["a", "b"]) == {}
    assert metrics.embedding(np.ones((1, 2)), np.zeros(1)) == {}
    assert metrics.embedding(np.eye(3), np.arange(3)).keys() == {"uniformity"}
    assert metrics.tokens([[]], [[1]]) == {}
    assert metrics.anomalies(np.array([0.1, 0.2, 0.3]), np.array([0, 0, -1])) == {}
    # A class that is not among the held-out rows has a column of probabilities all the same.
    absent = metrics.classification(TRUTH % 2, PREDICTED % 2, PROBABILITIES, ["a", "b", "c"])
    assert np.isfinite([*absent.values()]).all() and "recall[c]" not in absent


def test_masks():
    truth = np.array([[0, 0, 0, 1], [0, 0, 2, 2]])
    predicted = np.array([[0, 0, 1, 1], [0, 0, 0, 2]])
    found = metrics.segmentation(metrics.confusion(truth.ravel(), predicted.ravel(), 4), ["sky", "cat", "dog", "owl"])
    iou = {"iou[sky]": 4 / 6, "iou[cat]": 1 / 2, "iou[dog]": 1 / 2}
    dice = np.mean([8 / 10, 2 / 3, 2 / 3])
    expected = {
        "mean_iou": np.mean([*iou.values()]),
        "dice": dice,
        "smallest_class_iou": 1 / 2,
        "pixel_accuracy": 6 / 8,
    }
    assert found == pytest.approx({**expected, **iou}), "the owl is nowhere, so it has no IoU"


def test_a_class_that_is_only_predicted_is_not_the_smallest():
    counts = np.array([[5, 0, 2], [1, 3, 0], [0, 0, 0]])
    assert metrics.segmentation(counts, ["a", "b", "c"])["smallest_class_iou"] == 3 / 4


def test_embeddings():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(40, 5))
    labels = np.array([*np.repeat(np.arange(12), 3), *range(12, 16)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = ((unit[:, None] - unit) ** 2).sum(axis=-1)
    others = ~np.eye(40, dtype=bool)
    partners = (labels[:, None] == labels) & others
    nearest = np.where(others, distance, np.inf).argmin(axis=1)
    has_partner = partners.any(axis=1)
    found = metrics.embedding(vectors, labels)
    assert found == pytest.approx(
        {
            "uniformity": np.log(np.exp(-2 * distance[others]).mean()),
            "alignment": distance[partners].mean(),
            "pair_accuracy": (labels[nearest] == labels)[has_partner].mean(),
        }
    )
    assert metrics.embedding(vectors * generator.uniform(0.1, 9, (40, 1)), labels) == pytest.approx(found)


def test_a_row_is_not_its_own_neighbour_where_vectors_are_equal():
    assert metrics.embedding(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), np.array([0, 0, 1, 1])) == pytest.approx(
        {"pair_accuracy": 1, "alignment": 0, "uniformity": math.log((4 + 8 * math.exp(-4)) / 12)}, abs=1e-12
    )


def edits(row: list[int], other: list[int]) -> int:
    if not row or not other:
        return len(row) + len(other)
    replaced = edits(row[1:], other[1:]) + (row[0] != other[0])
    return min(replaced, edits(row[1:], other) + 1, edits(row, other[1:]) + 1)


def test_tokens():
    truth = [[1, 2, 3], [4, 5], [6], [1, 2, 3, 4]]
    predicted = [[1, 2, 3], [5], [6, 7], [2, 3, 4]]
    distance = sum(edits(a, b) for a, b in zip(truth, predicted, strict=True))
    expected = {"token_accuracy": 4 / 10, "sequence_accuracy": 1 / 4, "edit_distance": distance / 10}
    assert metrics.tokens(truth, predicted) == pytest.approx(expected)


def test_anomalies_are_measured_on_labelled_rows():
    score, label = np.array([0.1, 3.0, 0.2, 2.0, 9.0]), np.array([0, 1, 0, 0, -1])
    found = metrics.anomalies(score, label)
    assert found == {"anomaly_auroc": 1.0, "anomaly_average_precision": 1.0}


@pytest.mark.parametrize("name", [*metrics.METRICS, "recall[a [b]]", "iou[#ff0000]"])
def test_every_metric_has_a_meaning(name):
    assert metrics.metric(name).meaning.endswith(".")
