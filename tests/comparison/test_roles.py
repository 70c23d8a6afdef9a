"""Which classes have which part, of all that the losses of a comparison say of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error

import saved
from ludwig_losses.comparison.results import Results
from ludwig_losses.comparison.roles import Roles

NUMBERS = ["1", "2", "10"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], (None, None)),
        ([{}, {"order": None, "numbers": None, "background": None}], (None, None)),
        ([{"numbers": NUMBERS}, {"order": ["2", "1", "10"], "numbers": NUMBERS}], (["2", "1", "10"], None)),
        ([{"numbers": NUMBERS, "background": []}], (NUMBERS, None)),
        ([{"numbers": ["0", "1"]}], (None, None)),
        ([{}, {"background": ["b"]}, {"background": ["a"]}], (None, ["b"])),
    ],
)
def test_the_first_loss_that_knows_it_decides(found, expected):
    assert Roles.shared(found) == Roles(*expected)


CLASSES = np.array(["<UNK>", "2", "10", "1"])


def kept(predicted: list[int], truth: list[int], probabilities: list[list[float]]) -> dict[str, np.ndarray]:
    arrays = {"predicted": predicted, "truth": truth, "probabilities": probabilities}
    return {name: np.array(values) for name, values in arrays.items()} | {"classes": CLASSES}


def test_rows_without_a_rank_do_not_count_and_predictions_without_one_are_the_next_best():
    rows = [[0.7, 0.1, 0.2, 0.0], [0.1, 0.8, 0.1, 0.0], [0.1, 0.2, 0.3, 0.4], [0.0, 0.2, 0.2, 0.6]]
    found = Roles(NUMBERS, None).measure(kept([0, 1, 3, 3], [1, 1, 0, 2], rows))
    # Ranks: "10" for the true "2", "2" for "2", nothing, "1" for "10".
    assert found["rank_mae"] == pytest.approx(mean_absolute_error([1, 1, 2], [2, 1, 0]))


def test_scores_of_a_loss_are_its_own_or_the_probability_of_the_likeliest_known_class():
    rows = [[0.6, 0.3, 0.1, 0.0], [0.0, 0.1, 0.9, 0.0], [0.2, 0.0, 0.3, 0.5], [0.9, 0.1, 0.0, 0.0]]
    arrays = kept([0, 2, 3, 0], [1, 2, 3, 0], rows)
    background = Roles(None, ["<UNK>", "1"])
    # Known rows score .3 and .9, background rows .3 and .1.
    expected = {"open_set_auroc": 3.5 / 4, "oscr": 3.5 / 4, "closed_set_accuracy": 1}
    assert background.measure(arrays) == pytest.approx(expected)
    arrays["known_score"] = np.array([1.0, 2.0, 3.0, 0.0])
    expected = {"open_set_auroc": 2 / 4, "oscr": 2 / 4, "closed_set_accuracy": 1}
    assert background.measure(arrays) == pytest.approx(expected)


def test_runs_from_before_are_measured_by_a_loss_that_joins_them(tmp_path):
    runs = saved.runs(["first", "ordinal"], 1)
    arrays = kept([1, 2], [1, 3], [[0, 1, 0, 0], [0, 0, 1, 0]])
    for run in runs:
        roles = {"order": NUMBERS} if run.loss == "ordinal" else {"order": None}
        saved.save(run, tmp_path / run.folder, {"accuracy": 0.5}, roles=roles, **arrays)
    found = Results.read(runs[:1], lambda run: tmp_path / run.folder, {})
    assert "rank_mae" not in found.metrics
    found = Results.read(runs, lambda run: tmp_path / run.folder, {})
    assert found.values("first", "rank_mae") == found.values("ordinal", "rank_mae") == {0: 1.0}
