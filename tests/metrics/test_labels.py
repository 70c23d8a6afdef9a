"""Metrics of labels are those of scikit-learn, where it has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from ludwig_losses.metrics.functional.labels import average_precisions, jaccard, label_values


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray]:
    """True labels, the last one of no row, and their probabilities, many of them equal."""
    generator = np.random.default_rng(0)
    true = generator.random((200, 5)) < np.array([0.5, 0.3, 0.1, 0.02, 0.0])
    return true, (0.6 * generator.random(true.shape) + 0.3 * true).round(1)


def test_the_values_are_those_of_sklearn(labels: tuple[np.ndarray, np.ndarray]) -> None:
    true, score = labels
    said = score >= 0.5
    expected = {
        "micro_f1": sk.f1_score(true, said, average="micro"),
        "macro_f1": sk.f1_score(true, said, average="macro"),
        "hamming_distance": sk.hamming_loss(true, said),
        "average_precision": sk.average_precision_score(true[:, :4], score[:, :4], average="macro"),
        "jaccard": sk.jaccard_score(true, said, average="samples", zero_division=1),
    }
    found = label_values(*map(torch.from_numpy, (said, true, score)))
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("lowest", [0.0, -0.3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_of_each_label_is_that_of_sklearn(labels: Any, dtype: type, lowest: float) -> None:
    true, score = labels[0][:, :4], (labels[1][:, :4] + lowest).astype(dtype)
    score[:5] *= -0.0
    expected = sk.average_precision_score(true, score, average=None)
    np.testing.assert_allclose(average_precisions(torch.from_numpy(score), torch.from_numpy(true)), expected)


def test_what_is_not_defined_is_missing() -> None:
    nothing = torch.zeros(3, 2, dtype=torch.bool)
    assert {*label_values(nothing, nothing, torch.rand(3, 2))} == {"jaccard", "hamming_distance"}
    assert label_values(nothing[:0], nothing[:0], torch.rand(0, 2)) == {}
    assert jaccard(nothing, nothing).tolist() == [1, 1, 1]
