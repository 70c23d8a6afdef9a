"""Which settings are tried, in which order, and how many of them a budget allows."""

from __future__ import annotations

import pytest

from ludwig_losses.comparison.settings import (
    Budget,
    Setting,
    affordable,
    combinations,
    deciding_metric,
    read_budget,
    read_tries,
)

LOSSES = {"focal_loss": {"type": "focal_loss"}, "mine": {"type": "poly_loss", "epsilon": 2.0}}
CONFIG = {"output_features": [{"name": "y", "type": "binary"}], "trainer": {"epochs": 3}}


@pytest.mark.parametrize(
    ("written", "budget"),
    [
        (None, Budget()),
        (40, Budget(runs=40)),
        ("40", Budget(runs=40)),
        ("30m", Budget(seconds=1800)),
        ("1.5h", Budget(seconds=5400)),
    ],
)
def test_a_budget_is_a_number_of_runs_or_a_time(written, budget):
    assert read_budget(written) == budget


@pytest.mark.parametrize("written", [0, -3, "0m", "30s", "m", "", 2.5, True])
def test_other_budgets_are_refused(written):
    with pytest.raises(ValueError, match="expected a number of runs, as 40, or a time, as 30m or 2h"):
        read_budget(written)


def test_what_to_try_is_named_by_loss_or_by_type():
    tries = ["{focal_loss: {gamma: [1, 2], alpha: [null, [0.1, 0.9]]}}", {"poly_loss": {"epsilon": [1.0]}}]
    found = {"focal_loss": {"gamma": [1, 2], "alpha": [None, [0.1, 0.9]]}, "mine": {"epsilon": [1.0]}}
    assert read_tries(tries, LOSSES) == found
    assert read_tries({"mine": {}}, LOSSES) == {"mine": {}}


@pytest.mark.parametrize(
    ("tries", "message"),
    [
        ("{focal_los: {gamma: [1]}}", "'focal_los' is none of the losses that are compared. Did you mean 'focal_loss'"),
        ("{focal_loss: {gamma: 2}}", r"focal_loss: gamma: got 2, expected a list of values to try, as \[2\]"),
        ("{focal_loss: {gamma: []}}", "expected a list of values"),
        ("focal_loss", "expected values by loss"),
        ("{focal_loss: [1]}", "expected values by loss"),
        ("{focal_loss", "is not YAML"),
        (["{mine: {epsilon: [1]}}", "{poly_loss: {epsilon: [2]}}"], "mine stands twice"),
    ],
)
def test_mistakes_in_what_to_try(tries, message):
    with pytest.raises(ValueError, match=message):
        read_tries(tries, LOSSES)


def test_every_combination_of_values_after_the_loss_as_given():
    values = {"gamma": [1, 2, 5], "alpha": [0.5, [0.1, 0.9]], "trainer.learning_rate": [0.1]}
    settings = combinations("focal_loss", LOSSES["focal_loss"], values)
    assert settings[0] == Setting("focal_loss", {"type": "focal_loss"}) and len(settings) == 1 + 3 * 2 * 1
    assert len({setting.name for setting in settings}) == len(settings)
    listed = next(of for of in settings if of.changes == "gamma=5 alpha=[0.1, 0.9] trainer.learning_rate=0.1")
    config = listed.config(CONFIG, 0)
    assert config["output_features"][0]["loss"] == {"type": "focal_loss", "gamma": 5, "alpha": [0.1, 0.9]}
    assert config["trainer"] == {"epochs": 3, "learning_rate": 0.1} and CONFIG["trainer"] == {"epochs": 3}
    assert settings == combinations("focal_loss", LOSSES["focal_loss"], values), "the order is always the same"
    assert [of.loss.get("gamma") for of in settings[1:]] != [1, 1, 2, 2, 5, 5], "a few are spread over all values"


def test_a_loss_of_which_nothing_is_tried_stays():
    assert combinations("mine", LOSSES["mine"], {}) == [Setting("mine", LOSSES["mine"])]


@pytest.mark.parametrize(
    ("runs", "counts"),
    [(6, [1, 1, 1]), (11, [1, 1, 1]), (9, [1, 1, 1]), (12, [2, 1, 1]), (18, [2, 2, 2]), (99, [2, 3, 7])],
)
def test_a_budget_gives_each_loss_one_more_in_turn(runs, counts):
    settings = {
        name: combinations(name, {"type": name}, {"x": [*range(of)]} if of else {})
        for name, of in (("a", 1), ("b", 2), ("c", 6))
    }
    kept = affordable(settings, runs, 3)
    assert [len(of) for of in kept.values()] == counts
    assert all(of == settings[name][: len(of)] for name, of in kept.items()), "a larger budget only adds"


def test_the_metric_that_chooses():
    assert deciding_metric("binary", None) == "roc_auc" and deciding_metric("binary", "log_loss") == "log_loss"
    assert deciding_metric("category", "recall[rare]") == "recall[rare]"
    with pytest.raises(ValueError, match="Did you mean 'accuracy'"):
        deciding_metric("binary", "acuracy")
    with pytest.raises(ValueError, match="a vector feature: pair_accuracy, alignment, uniformity"):
        deciding_metric("vector", None)
    # The deviance is that of each loss, and is not measured; a narrow interval alone is no good one.
    for wrong in ("deviance", "interval_width"):
        with pytest.raises(ValueError, match="expected one of root_mean_squared_error") as caught:
            deciding_metric("number", wrong)
        assert wrong not in str(caught.value).partition("expected one of ")[2].rstrip(".").split(", ")
    with pytest.raises(ValueError, match="expected one of token_accuracy, sequence_accuracy, token_macro_f1"):
        deciding_metric("text", "token_f1_3")
    assert deciding_metric("text", "token_f1[O]") == "token_f1[O]"
    for name in ("interval_score", "poisson_deviance"):
        assert deciding_metric("number", name) == name
    for wrong in ("mean_iou", "zero_probabilities", "seconds_per_epoch"):
        with pytest.raises(ValueError, match="expected one of accuracy, balanced_accuracy"):
            deciding_metric("binary", wrong)
