"""How good predictions are, by measures that mean the same whatever loss a model was trained with.

Functions of arrays, without Ludwig. What some data does not define is left out: it is no number, and no mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn import metrics as sk
from sklearn.neighbors import NearestNeighbors
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix
from torchmetrics.functional.text import word_error_rate

Values = dict[str, float]

# Probabilities are clipped here before the logarithm: sparsemax and entmax give some classes exactly none.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Metric:
    """What a reader has to know of a metric.

    Args:
        higher_is_better: ``None`` where neither direction is.
        meaning: one sentence.
        is_main: whether it is shown on the terminal.
    """

    higher_is_better: bool | None
    meaning: str
    is_main: bool = True


METRICS = {
    "accuracy": Metric(True, "Share of the rows that are predicted right."),
    "balanced_accuracy": Metric(True, "Mean of the recalls of the classes."),
    "macro_f1": Metric(True, "Mean of the F1 of the classes."),
    "roc_auc": Metric(True, "Area under the ROC curve; with several classes the mean of each against the rest."),
    "average_precision": Metric(
        True, "Area under the precision-recall curve; with several classes the mean of each against the rest."
    ),
    "log_loss": Metric(False, "Mean of -log of the probability of the true class, which counts as at least 1.2e-7."),
    "brier_score": Metric(False, "Mean squared error of the probabilities; with several classes their sum, 0 to 2."),
    "expected_calibration_error": Metric(
        False, f"Mean distance of the probability of the likeliest class from its accuracy, {CALIBRATION_BINS} bins."
    ),
    "zero_probabilities": Metric(None, "Share of the probabilities that are exactly 0."),
    "mean_iou": Metric(True, "Mean over the classes of the intersection over union of their pixels."),
    "dice": Metric(True, "Mean over the classes of the Dice coefficient of their pixels."),
    "smallest_class_iou": Metric(True, "IoU of the class with the fewest true pixels among the held-out rows."),
    "pixel_accuracy": Metric(True, "Share of the pixels that are predicted right."),
    "pair_accuracy": Metric(True, "Share of the rows whose nearest other held-out row, by cosine, is a partner."),
    "alignment": Metric(False, "Mean squared distance of partners on the unit sphere, 0 to 4."),
    "uniformity": Metric(False, "log of the mean of exp(-2 d**2) over all pairs of rows on the unit sphere, -8 to 0."),
    "token_accuracy": Metric(True, "Share of the true tokens that are predicted at their position."),
    "sequence_accuracy": Metric(True, "Share of the rows that are predicted right from the first to the last token."),
    "edit_distance": Metric(False, "Insertions, deletions and substitutions, divided by the number of true tokens."),
    "anomaly_auroc": Metric(True, "Probability that an anomaly has a higher score than a normal row."),
    "anomaly_average_precision": Metric(True, "Area under the precision-recall curve of the score."),
    "seconds_per_epoch": Metric(False, "Median time of an epoch, with the evaluation at its end.", is_main=False),
    "peak_memory_mb": Metric(
        False,
        "Largest resident memory of the process while it trained, with Python and Ludwig; with a GPU, the most that "
        "torch had allocated there.",
        is_main=False,
    ),
}


def metric(name: str) -> Metric:
    """Return what is known of a metric; those of single classes have the class in brackets."""
    if name in METRICS:
        return METRICS[name]
    kind, _, rest = name.partition("[")
    what = {"recall": "Share of the true rows of the class that are predicted as such", "iou": "IoU of the class"}[kind]
    return Metric(True, f"{what}: {rest.removesuffix(']')}.", is_main=False)


def classification(
    truth: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Values:
    """Measure predicted classes and their probabilities.

    Args:
        truth: ``[N]``, class indices.
        predicted: ``[N]``, class indices.
        probabilities: ``[N, C]``; of two classes the second one is the positive one.
        classes: the names of the ``C`` classes.
    """
    if not len(truth):
        return {}
    present = np.unique(truth)
    recalls = sk.recall_score(truth, predicted, labels=present, average=None, zero_division=0)
    values = {
        "accuracy": float((truth == predicted).mean()),
        "balanced_accuracy": float(recalls.mean()),
        "macro_f1": float(sk.f1_score(truth, predicted, average="macro", zero_division=0)),
        **_of_ranking(truth, probabilities),
        **_of_probabilities(truth, probabilities),
    }
    return values | {f"recall[{classes[c]}]": float(recall) for c, recall in zip(present, recalls, strict=True)}


def _of_ranking(truth: np.ndarray, probabilities: np.ndarray) -> Values:
    columns = [1] if probabilities.shape[1] == 2 else np.unique(truth)
    one_against_rest = [(truth == c, probabilities[:, c]) for c in columns]
    if not all(0 < is_class.sum() < len(truth) for is_class, _ in one_against_rest):
        return {}
    return {
        "roc_auc": float(np.mean([sk.roc_auc_score(*pair) for pair in one_against_rest])),
        "average_precision": float(np.mean([sk.average_precision_score(*pair) for pair in one_against_rest])),
    }


def _of_probabilities(truth: np.ndarray, probabilities: np.ndarray) -> Values:
    count = probabilities.shape[1]
    exact = np.clip(probabilities.astype(np.float64), 0, 1)
    clipped = exact.clip(SMALLEST_PROBABILITY)
    squares = (exact - np.eye(count)[truth]) ** 2
    calibration = multiclass_calibration_error(
        torch.from_numpy(exact), torch.from_numpy(truth.astype(np.int64)), count, n_bins=CALIBRATION_BINS
    )
    return {
        "log_loss": float(sk.log_loss(truth, clipped / clipped.sum(axis=1, keepdims=True), labels=range(count))),
        "brier_score": float(squares.sum(axis=1).mean() / (2 if count == 2 else 1)),
        "expected_calibration_error": float(calibration),
        "zero_probabilities": float((probabilities == 0).mean()),
    }


def confusion(truth: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """Count elements by true class (row) and predicted class (column)."""
    pred, target = (torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)) for array in (predicted, truth))
    return multiclass_confusion_matrix(pred, target, count).numpy()


def segmentation(counts: np.ndarray, classes: Sequence[str]) -> Values:
    """Measure masks by the counts of their pixels.

    Args:
        counts: ``[C, C]``, pixels by true class (row) and predicted class (column).
        classes: the names of the ``C`` classes.
    """
    true, size, right = counts.sum(axis=1), counts.sum(axis=0) + counts.sum(axis=1), counts.diagonal()
    kept = np.flatnonzero(size)
    if not true.sum():
        return {}
    iou = {int(c): float(right[c] / (size[c] - right[c])) for c in kept}
    smallest = min(iou, key=lambda c: true[c] if true[c] else np.inf)
    return {
        "mean_iou": float(np.mean(list(iou.values()))),
        "dice": float((2 * right[kept] / size[kept]).mean()),
        "smallest_class_iou": iou[smallest],
        "pixel_accuracy": float(right.sum() / true.sum()),
        **{f"iou[{classes[c]}]": value for c, value in iou.items()},
    }


def embedding(vectors: np.ndarray, labels: np.ndarray) -> Values:
    """Measure embeddings; rows with the same label are partners.

    Args:
        vectors: ``[N, D]``.
        labels: ``[N]``.
    """
    if len(vectors) < 2:
        return {}
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors.astype(np.float64) / np.where(length > 0, length, 1)
    sizes = np.unique(labels, return_inverse=True, return_counts=True)
    values = {"uniformity": _uniformity(unit)}
    has_partner = sizes[2][sizes[1]] > 1
    if has_partner.any():
        nearest = _nearest_other(unit)
        values["pair_accuracy"] = float((labels[nearest] == labels)[has_partner].mean())
        values["alignment"] = _alignment(unit, sizes[1])
    return values


def _nearest_other(unit: np.ndarray) -> np.ndarray:
    found = NearestNeighbors(n_neighbors=2).fit(unit).kneighbors(unit, return_distance=False)
    # With equal vectors a row need not be its own first neighbour.
    return np.where(found[:, 0] == np.arange(len(unit)), found[:, 1], found[:, 0])


def _alignment(unit: np.ndarray, group: np.ndarray) -> float:
    """Average over ordered pairs of partners; in a group with sum ``s`` that is ``2 n sum |a|**2 - 2 |s|**2``."""
    count = np.bincount(group)
    sums = np.zeros((len(count), unit.shape[1]))
    np.add.at(sums, group, unit)
    squares = np.bincount(group, (unit**2).sum(axis=1))
    total = (2 * count * squares - 2 * (sums**2).sum(axis=1)).sum()
    return float(max(total, 0) / (count * (count - 1)).sum())


def _uniformity(unit: np.ndarray, rows: int = 1024) -> float:
    total = 0.0
    for start in range(0, len(unit), rows):
        distance = (2 - 2 * unit[start : start + rows] @ unit.T).clip(0)
        total += np.exp(-2 * distance).sum()
    # Each row is at no distance of itself.
    return float(np.log((total - len(unit)) / (len(unit) * (len(unit) - 1))))


def tokens(truth: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]]) -> Values:
    """Measure predicted sequences of tokens, without start, stop and padding."""
    total = sum(map(len, truth))
    if not total:
        return {}
    right = sum(a == b for row, other in zip(truth, predicted, strict=True) for a, b in zip(row, other, strict=False))
    as_text: Callable[[Sequence[int]], str] = lambda row: " ".join(map(str, row))  # noqa: E731
    return {
        "token_accuracy": right / total,
        "sequence_accuracy": float(np.mean([[*a] == [*b] for a, b in zip(truth, predicted, strict=True)])),
        "edit_distance": float(word_error_rate([*map(as_text, predicted)], [*map(as_text, truth)])),
    }


def anomalies(score: np.ndarray, label: np.ndarray) -> Values:
    """Measure anomaly scores on the rows that are labelled 0 (normal) or 1 (anomaly)."""
    score, label = score[label >= 0], label[label >= 0]
    if len(np.unique(label)) < 2:
        return {}
    return {
        "anomaly_auroc": float(sk.roc_auc_score(label, score)),
        "anomaly_average_precision": float(sk.average_precision_score(label, score)),
    }
