"""Predicted classes and their probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn import metrics as sk

from ludwig_losses.metrics.catalogue import CALIBRATION_BINS, SMALLEST_PROBABILITY
from ludwig_losses.metrics.functional import Values


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
        **of_probabilities(truth, probabilities),
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


def of_probabilities(truth: np.ndarray, probabilities: np.ndarray) -> Values:
    """Measure probabilities ``[N, C]`` without what they rank or decide; arguments as of :func:`classification`."""
    count = probabilities.shape[1]
    exact = np.clip(probabilities.astype(np.float64), 0, 1)
    clipped = exact.clip(SMALLEST_PROBABILITY)
    squares = (exact - np.eye(count)[truth]) ** 2
    is_right = exact.argmax(axis=1) == truth
    return {
        "log_loss": float(sk.log_loss(truth, clipped / clipped.sum(axis=1, keepdims=True), labels=range(count))),
        "brier_score": float(squares.sum(axis=1).mean() / (2 if count == 2 else 1)),
        "expected_calibration_error": expected_calibration_error(exact.max(axis=1), is_right),
        "zero_probabilities": float((probabilities == 0).mean()),
    }


def expected_calibration_error(confidence: np.ndarray, is_right: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Return the mean over rows of ``|accuracy - mean confidence|`` in their bin (Guo et al., ICML 2017).

    Bins are ``[i / n, (i + 1) / n)``, the last one with its end. torchmetrics 1.9 puts confidences of exactly 1, as
    sparsemax has them, into a bin of their own.
    """
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1])
    gap = np.bincount(place, is_right.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def hits_at_k(truth: np.ndarray, probabilities: np.ndarray, logits: np.ndarray, k: int) -> Values:
    """Measure whether the true class is among the ``k`` most probable ones, as Ludwig does: averaged over classes.

    Logits decide between equal probabilities, for instance those of exactly 0. Missing where every class is among the
    first ``k``.
    """
    count = probabilities.shape[1]
    if not len(truth) or count <= k:
        return {}
    # Seconds, which the tables of a comparison do not need.
    from torchmetrics.functional.classification import multiclass_accuracy

    rank = torch.from_numpy(_ranks(probabilities, logits) / count)
    return {"hits_at_k": float(multiclass_accuracy(rank, torch.from_numpy(truth.astype(np.int64)), count, top_k=k))}


def is_hit(truth: np.ndarray, probabilities: np.ndarray, logits: np.ndarray, k: int) -> np.ndarray:
    """Return whether the true class of each row is among the ``k`` most probable ones."""
    of_true = np.take_along_axis(_ranks(probabilities, logits), truth[:, None], axis=1)
    return of_true[:, 0] >= probabilities.shape[1] - k


def _ranks(probabilities: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the place of each class in its row, from 0 for the least probable one."""
    return np.lexsort((logits, probabilities), axis=-1).argsort(axis=-1)
