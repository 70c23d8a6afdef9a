"""Metrics against the definitions, written out, on small cases and at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    f1_score,
    mean_absolute_error,
    mean_poisson_deviance,
    mean_tweedie_deviance,
    r2_score,
    root_mean_squared_error,
)

from ludwig_losses.metrics.catalogue import SMALLEST_PROBABILITY
from ludwig_losses.metrics.functional.anomaly import anomaly_values, threshold_values
from ludwig_losses.metrics.functional.classes import classification, expected_calibration_error, hits_at_k
from ludwig_losses.metrics.functional.contrastive import pair_sums, pair_values
from ludwig_losses.metrics.functional.numbers import error_sums, error_values
from ludwig_losses.metrics.functional.open_set import open_set_values
from ludwig_losses.metrics.functional.ordinal import rank_sums, rank_values
from ludwig_losses.metrics.functional.segmentation import mask_values, pixel_counts, smallest_class
from ludwig_losses.metrics.functional.sequences import tokens
from ludwig_losses.metrics.functional.token_classes import (
    token_class_counts,
    token_class_f1,
    token_class_rows,
    token_class_values,
)

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
    found = classification(TRUTH, PREDICTED, PROBABILITIES, ["a", "b", "c"])
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
    assert calibration == pytest.approx(calibration_error(PROBABILITIES.max(axis=1), PREDICTED == TRUTH))


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """The definition, bin by bin: each holds its lower end, the last one its upper end, too."""
    total = 0.0
    for b in range(bins):
        inside = [
            (c, r)
            for c, r in zip(confidence, right, strict=True)
            if b / bins <= c < (b + 1) / bins or (b == bins - 1 and c == 1)
        ]
        if inside:
            accuracy, mean = (sum(column) / len(inside) for column in ([r for _, r in inside], [c for c, _ in inside]))
            total += abs(accuracy - mean) * len(inside) / len(confidence)
    return float(total)


def test_rows_that_are_certain_share_the_last_bin_of_the_calibration_error():
    probabilities = np.array([[1, 0], [0.95, 0.05], [0.95, 0.05]])
    found = classification(np.array([1, 0, 0]), np.zeros(3, int), probabilities, ["a", "b"])
    assert found["expected_calibration_error"] == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(20))
def test_calibration_error_on_the_edges_of_bins(seed):
    generator = np.random.default_rng(seed)
    edges = [float(edge) for edge in np.linspace(0, 1, 16)]
    near = [np.nextafter(edge, side) for edge in edges[1:-1] for side in (0, 1)]
    confidence = generator.choice([*edges, *near, *generator.random(10)], size=40)
    right = generator.random(40) < 0.6
    found = expected_calibration_error(confidence, right)
    # In floating point an edge is what np.linspace says: not always b / 15.
    place = [max(b for b in range(15) if edges[b] <= c) for c in confidence]
    by_bin = {b: [i for i in range(40) if place[i] == b] for b in {*place}}
    gaps = [abs(sum(right[i] - confidence[i] for i in rows)) for rows in by_bin.values()]
    assert found == pytest.approx(sum(gaps) / 40, rel=1e-9, abs=1e-12)


def hits(truth: np.ndarray, score: np.ndarray, k: int) -> float:
    """The share of the rows of a class with fewer than ``k`` better classes, and the mean of that over the classes."""
    found = np.array([(row > row[true]).sum() < k for row, true in zip(score, truth, strict=True)])
    return float(np.mean([found[truth == c].mean() for c in {*truth}]))


def test_hits_at_k():
    generator = np.random.default_rng(0)
    truth, logits = generator.integers(4, size=60), generator.normal(size=(60, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for k in (1, 2, 3):
        assert hits_at_k(truth, probabilities, logits, k) == {"hits_at_k": pytest.approx(hits(truth, logits, k))}
    assert hits_at_k(truth, probabilities, logits, 4) == {} == hits_at_k(truth[:0], logits[:0], logits[:0], 2)
    shuffled = generator.permuted(logits, axis=1)
    found = hits_at_k(truth, probabilities, shuffled, 2)["hits_at_k"]
    assert found == pytest.approx(hits(truth, logits, 2)), "logits do not say which class is more probable"


def test_hits_at_k_where_several_classes_have_no_probability():
    logits = np.array([[5.0, 1, 0, -1], [5, -1, 0, 1]])
    sparse = np.array([[1.0, 0, 0, 0], [1, 0, 0, 0]])
    assert hits_at_k(np.array([1, 1]), sparse, logits, 2) == {"hits_at_k": 0.5}


def test_two_classes_are_ranked_by_the_second():
    score = np.array([0.9, 0.1, 0.8, 0.3, 0.6])
    truth = np.array([1, 0, 0, 0, 1])
    found = classification(truth, (score > 0.5).astype(int), np.stack([1 - score, score], 1), ["no", "yes"])
    assert found["roc_auc"] == pytest.approx(auroc(truth == 1, score))
    assert found["average_precision"] == pytest.approx(average_precision(truth == 1, score))
    assert found["brier_score"] == pytest.approx(((score - truth) ** 2).mean())
    assert (found["recall[no]"], found["recall[yes]"]) == (2 / 3, 1.0)


def test_a_true_class_without_any_probability_costs_much_but_not_everything():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = classification(np.array([1, 1]), np.array([0, 1]), probabilities, ["a", "b"])
    assert found["log_loss"] == pytest.approx(-math.log(SMALLEST_PROBABILITY) / 2, rel=1e-3)


def test_what_the_rows_do_not_define_is_left_out():
    one_class = classification(np.zeros(4, int), np.zeros(4, int), np.tile([0.8, 0.2], (4, 1)), ["a", "b"])
    assert "roc_auc" not in one_class and "average_precision" not in one_class and "recall[b]" not in one_class
    assert one_class["accuracy"] == one_class["balanced_accuracy"] == 1
    assert classification(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), ["a", "b"]) == {}
    assert mask_values(torch.zeros(2, 2, dtype=torch.long)) == {}
    assert embedding(np.ones((1, 2)), np.zeros(1)) == {} == embedding(np.ones((0, 2)), np.zeros(0))
    assert embedding(np.eye(3), np.arange(3)).keys() == {"uniformity"}
    assert tokens([[]], [[1]]) == {}
    one_label = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0, 0, -1])
    assert anomaly_values(*one_label) == {} == threshold_values(*one_label)
    no_rank = torch.full((3,), -1)
    assert rank_values(rank_sums(no_rank, no_rank)) == {}
    assert numbers(rank_values(rank_sums(torch.ones(3).long(), torch.ones(3).long()))) == {"rank_mae": 0}
    score, classes = torch.rand(3), torch.zeros(3)
    assert open_set_values(score, classes, classes, [0]) == {} == open_set_values(score, classes, classes, [1])
    # A class that is not among the held-out rows has a column of probabilities all the same.
    absent = classification(TRUTH % 2, PREDICTED % 2, PROBABILITIES, ["a", "b", "c"])
    assert np.isfinite([*absent.values()]).all() and "recall[c]" not in absent


def numbers(values: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


@pytest.mark.parametrize("ignored", [(), (2,)])
def test_masks(ignored):
    truth = torch.tensor([[0, 0, 0, 1], [0, 0, 2, 2]])
    predicted = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 2]])
    counts = pixel_counts(predicted, truth, 4, ignored)
    iou = {"iou_0": 4 / 6, "iou_1": 1 / 2, "iou_2": 1 / 2}
    dice, right, pixels = [8 / 10, 2 / 3, 2 / 3], 6, 8
    if ignored:
        iou, dice, right, pixels = {"iou_0": 4 / 5, "iou_1": 1 / 2}, [8 / 9, 2 / 3], 5, 6
    expected = {
        "mean_iou": np.mean([*iou.values()]),
        "dice_coefficient": np.mean(dice),
        "pixel_accuracy": right / pixels,
    }
    assert numbers(mask_values(counts, ignored)) == pytest.approx({**expected, **iou}), "class 3 is nowhere"


def test_a_class_that_is_only_predicted_is_not_the_smallest():
    assert smallest_class(torch.tensor([[5, 0, 2], [1, 3, 0], [0, 0, 0]])) == 1


def embedding(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return numbers(pair_values(pair_sums(torch.from_numpy(vectors), torch.from_numpy(labels))))


@pytest.mark.parametrize("chunk", [2**22, 100], ids=["at once", "in parts"])
def test_embeddings(chunk, monkeypatch):
    monkeypatch.setattr("ludwig_losses.metrics.functional.contrastive._CHUNK", chunk)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(40, 5))
    labels = np.array([*np.repeat(np.arange(12), 3), *range(12, 16)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = ((unit[:, None] - unit) ** 2).sum(axis=-1)
    others = ~np.eye(40, dtype=bool)
    partners = (labels[:, None] == labels) & others
    nearest = np.where(others, distance, np.inf).argmin(axis=1)
    has_partner = partners.any(axis=1)
    found = embedding(vectors, labels)
    assert found == pytest.approx(
        {
            "uniformity": np.log(np.exp(-2 * distance[others]).mean()),
            "alignment": distance[partners].mean(),
            "pair_accuracy": (labels[nearest] == labels)[has_partner].mean(),
        }
    )
    assert embedding(vectors * generator.uniform(0.1, 9, (40, 1)), labels) == pytest.approx(found)


def test_a_row_is_not_its_own_neighbour_where_vectors_are_equal():
    assert embedding(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), np.array([0, 0, 1, 1])) == pytest.approx(
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
    assert tokens(truth, predicted) == pytest.approx(expected)


@pytest.mark.parametrize(("ignored", "symbols"), [((2,), (0, 1, 2, 3)), ((2, 5), (0, 1, 2, 3)), ((2,), ())], ids=str)
def test_classes_of_tokens(ignored: tuple[int, ...], symbols: tuple[int, ...]):
    generator = torch.Generator().manual_seed(1)
    true, predicted = (torch.randint(8, (6, 9), generator=generator) for _ in range(2))
    true[:, 6:], predicted[:, :3] = 2, true[:, :3]  # padding at the end, and some that are right
    counts = token_class_counts(predicted[:4], true[:4], 8, ignored) + token_class_counts(
        predicted[4:], true[4:], 8, ignored
    )
    kept = ~torch.isin(true, torch.tensor(ignored))
    labels = [c for c in range(8) if c not in ignored + symbols]
    expected = {
        f"token_{mean}_f1": f1_score(true[kept], predicted[kept], labels=labels, average=mean)
        for mean in ("macro", "micro")
    }
    single = f1_score(true[kept], predicted[kept], labels=labels, average=None)
    expected |= {f"token_f1_{c}": value for c, value in zip(labels, single, strict=True)}
    found = token_class_values(counts, ignored + symbols)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, abs=1e-6)


def test_classes_of_tokens_beyond_a_prediction_are_missed():
    counts = token_class_counts(torch.tensor([[4, 5]], dtype=torch.int8), torch.tensor([[4, 4, 5, 2]]), 6, (2,))
    assert counts[:, 4:].tolist() == [[2, 1], [1, 1], [1, 0]] and not counts[:, :4].any()
    assert token_class_values(counts, (0, 1, 2, 3)) == {
        name: pytest.approx(value)
        for name, value in (
            ("token_macro_f1", 1 / 3), ("token_micro_f1", 2 / 5), ("token_f1_4", 2 / 3), ("token_f1_5", 0)
        )
    }  # fmt: skip
    assert token_class_values(torch.zeros(3, 6), ()) == {}
    assert {*token_class_values(torch.ones(3, 65), ())} == {"token_macro_f1", "token_micro_f1"}
    names = {*token_class_values(torch.ones(3, 4), (0,), ["<PAD>", "O", "PRP$", "B-LOC"])}
    assert names == {"token_macro_f1", "token_micro_f1", "token_f1_O", "token_f1_index_2", "token_f1_B-LOC"}


def test_classes_of_the_tokens_of_each_row():
    generator = np.random.default_rng(0)
    true, said = (
        [row[:n].tolist() for row, n in zip(generator.integers(1, 6, (20, 9)), lengths, strict=True)]
        for lengths in generator.integers(1, 10, (2, 20))
    )
    rows, labels = token_class_rows(true, said, [2, 3, 4]), [2, 3, 4]
    flat = [(t, dict(enumerate(p)).get(i, 0)) for row, p in zip(true, said, strict=True) for i, t in enumerate(row)]
    expected = f1_score(*zip(*flat, strict=True), labels=labels, average=None)
    present = rows.sum(axis=0) > 0
    found = token_class_f1(rows.sum(axis=0), present, ["a", "b", "c"])
    assert [found[f"token_f1[{name}]"] for name in "abc"] == pytest.approx(expected)
    assert found["token_macro_f1"] == pytest.approx(expected.mean())
    assert found["token_micro_f1"] == pytest.approx(f1_score(*zip(*flat, strict=True), labels=labels, average="micro"))
    assert token_class_f1(rows[:0].sum(axis=0), np.zeros((3, 3), dtype=bool), ["a", "b", "c"]) == {}


def test_anomalies_are_measured_on_labelled_rows():
    score, label = torch.tensor([0.1, 3.0, 0.2, 2.0, 9.0]), torch.tensor([0, 1, 0, 0, -1])
    assert numbers(anomaly_values(score, label)) == {
        "anomaly_auroc": 1.0,
        "anomaly_average_precision": 1.0,
        "f1_max": 1.0,
    }
    assert numbers(threshold_values(score > 1.5, label)) == {"precision_at_threshold": 0.5, "recall_at_threshold": 1.0}


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_errors_of_numbers(shape):
    generator = np.random.default_rng(0)
    truth = 1e6 + generator.normal(size=shape)
    predicted = truth + generator.normal(size=shape)
    flat = truth.ravel(), predicted.ravel()
    expected = {
        "root_mean_squared_error": root_mean_squared_error(*flat),
        "mean_absolute_error": mean_absolute_error(*flat),
        "r2": r2_score(*flat),
    }
    found = error_values(error_sums(truth, predicted).sum(axis=0))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_deviances_of_amounts(shape):
    generator = np.random.default_rng(0)
    truth = generator.poisson(2.0, shape).astype(float)
    predicted = truth + generator.normal(size=shape)  # some below 0, which count as the smallest mean
    expected = {
        "poisson_deviance": mean_poisson_deviance(truth.ravel(), predicted.ravel().clip(1e-6)),
        "tweedie_deviance": mean_tweedie_deviance(truth.ravel(), predicted.ravel().clip(1e-6), power=1.5),
    }
    assert (truth == 0).any() and (predicted < 0).any()
    # A 0 that went through float32 is one still.
    for amounts in (truth, np.where(truth == 0, -1e-7, truth), np.where(truth == 0, 1e-7, truth)):
        found = error_values(error_sums(amounts, predicted).sum(axis=0))
        assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_numbers_below_0_have_no_deviance():
    sums = error_sums(np.array([3.0, -1.0, 0.0]), np.ones(3))
    found = error_values(sums.sum(axis=0))
    assert np.isnan([found["poisson_deviance"], found["tweedie_deviance"]]).all() and np.isfinite(found["r2"])
    assert "poisson_deviance" not in error_values(sums[:, :5].sum(axis=0))


def test_equal_numbers_have_no_r2():
    found = error_values(error_sums(np.ones(3), np.arange(3.0)).sum(axis=0))
    assert np.isnan(found["r2"]) and found["mean_absolute_error"] == pytest.approx(2 / 3)


def test_anomalies_are_ranked():
    generator = np.random.default_rng(0)
    score, label = generator.integers(9, size=50) * 10.0, generator.integers(2, size=50)
    found = numbers(anomaly_values(torch.from_numpy(score), torch.from_numpy(label)))
    assert found["anomaly_auroc"] == pytest.approx(auroc(label == 1, score))
    assert found["anomaly_average_precision"] == pytest.approx(average_precision(label == 1, score))


def test_ranks():
    predicted, true = np.array([0, 3, 1, 1, 2, 0]), np.array([0, 2, 2, 1, -1, 3])
    known = true >= 0
    distance = predicted[known] - true[known]
    chance = np.mean([(p - t) ** 2 for p in predicted[known] for t in true[known]])
    sums = rank_sums(torch.from_numpy(predicted), torch.from_numpy(true))
    assert numbers(rank_values(sums)) == pytest.approx(
        {"rank_mae": np.abs(distance).mean(), "quadratic_weighted_kappa": 1 - (distance**2).mean() / chance}
    )


def test_unknown_rows():
    generator = np.random.default_rng(1)
    score, predicted, true = (
        generator.integers(7, size=40) / 2,
        generator.integers(3, size=40),
        generator.integers(5, size=40),
    )
    known, right = true < 3, predicted == true
    pairs = [(score[i], right[i], score[j]) for i in np.flatnonzero(known) for j in np.flatnonzero(~known)]
    wins = np.array([(a > b) + 0.5 * (a == b) for a, _, b in pairs])
    found = numbers(open_set_values(*map(torch.from_numpy, (score, predicted, true)), [3, 4]))
    expected = {
        "open_set_auroc": wins.mean(),
        "oscr": (wins * [right for _, right, _ in pairs]).mean(),
        "closed_set_accuracy": np.mean([right[i] for i in np.flatnonzero(known)]),
    }
    assert found == pytest.approx(expected)
