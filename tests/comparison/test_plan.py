"""Runs and their keys: what a result depends on repeats it, nothing else does."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

from ludwig_losses.comparison import plan as plans

CONFIG = {
    "input_features": [{"name": "x", "type": "number"}],
    "output_features": [{"name": "y", "type": "category", "loss": {"type": "mine"}}, {"name": "z", "type": "number"}],
}
LOSSES = {"a": {"type": "poly_loss"}, "b": {"type": "poly_loss", "epsilon": 2.0}}


def runs(config=CONFIG, losses=LOSSES, seeds=(0, 1), **other) -> list[plans.Run]:
    return plans.plan(config, losses, seeds, **{"index": 0, "dataset": "d.csv", "data": "1234", **other})


def keys(*args, **kwargs) -> list[str]:
    return [run.key for run in runs(*args, **kwargs)]


def test_all_losses_of_a_seed_come_first():
    assert [(run.loss, run.seed) for run in runs()] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert runs()[1].config["output_features"] == [
        {**CONFIG["output_features"][0], "loss": LOSSES["b"]},
        CONFIG["output_features"][1],
    ]
    assert CONFIG["output_features"][0]["loss"] == {"type": "mine"}, "the user's configuration is left alone"


def test_a_key_depends_on_configuration_data_and_seed():
    first = keys()
    assert len(set(first)) == 4 and keys() == first
    other = copy.deepcopy(CONFIG) | {"trainer": {"epochs": 3}}
    for changed in (keys(config=other), keys(data="5678"), keys(split="validation"), keys(pairing_loss="a")):
        assert not set(changed) & set(first)
    assert not {*keys(seeds=(2, 3))} & {*first}


def test_a_key_does_not_depend_on_names_paths_and_the_losses_beside_it():
    first = keys()
    assert keys(losses={"other": LOSSES["a"], "b": LOSSES["b"]}, dataset="elsewhere/d.csv") == first
    assert {*keys(losses={"b": LOSSES["b"]})} == {first[1], first[3]}
    assert {*keys(losses=dict(reversed(LOSSES.items())))} == {*first}
    assert keys(seeds=(1,)) == first[2:]


def test_losses_of_a_seed_share_their_data():
    first, second, third, _ = runs()
    assert first.preparation == second.preparation != third.preparation


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("focal_loss", {"focal_loss": {"type": "focal_loss"}}),
        ("{type: poly_loss, epsilon: 2.0}", {"poly_loss epsilon=2.0": {"type": "poly_loss", "epsilon": 2.0}}),
        ({"type": "poly_loss"}, {"poly_loss": {"type": "poly_loss"}}),
        ("{mine: {type: poly_loss, epsilon: -1}}", {"mine": {"type": "poly_loss", "epsilon": -1}}),
        ("{mine: poly_loss}", {"mine": {"type": "poly_loss"}}),
    ],
)
def test_ways_to_write_a_loss(written, expected):
    assert plans.named_losses([written]) == expected


def test_losses_by_name_from_python():
    assert plans.named_losses({"x": "focal_loss", "y": {"type": "focal_loss", "gamma": 0}}) == {
        "x": {"type": "focal_loss"},
        "y": {"type": "focal_loss", "gamma": 0},
    }


@pytest.mark.parametrize("written", ["{epsilon: 2.0}", "[a]", "3", {"a": {"gamma": 1}}, {"type": 3}])
def test_what_is_no_loss_is_refused(written):
    with pytest.raises(ValueError, match=r"--loss: got .* expected the name of a loss"):
        plans.named_losses([written])


def test_yaml_that_is_wrong_and_losses_that_stand_twice():
    with pytest.raises(ValueError, match="is not YAML"):
        plans.named_losses(["{type: ["])
    with pytest.raises(ValueError, match="focal_loss stands twice"):
        plans.named_losses(["focal_loss", "focal_loss"])


@pytest.mark.parametrize("losses", ["focal_loss", {"type": "focal_loss"}, 5])
def test_one_loss_is_no_list_of_losses(losses):
    with pytest.raises(ValueError, match=r"got .*(focal_loss|5).*, expected a list of losses: \["):
        plans.named_losses(losses)


@pytest.mark.parametrize("losses", [[], {}])
def test_no_loss_at_all(losses):
    with pytest.raises(ValueError, match="got no loss, expected at least one"):
        plans.named_losses(losses)


@pytest.mark.parametrize("features", [{}, {"output_features": []}, {"output_features": ["y"]}])
def test_a_configuration_without_output_features(features):
    with pytest.raises(ValueError, match=r"output_features: got .*, expected a list of features"):
        plans.output_index(features, None)


@pytest.mark.parametrize("features", [None, [], ["x"], {"name": "x"}])
def test_a_configuration_without_input_features(features):
    config = CONFIG | {"input_features": features}
    with pytest.raises(ValueError, match=r"^config: input_features: got .*, expected a list of features\.$"):
        plans.features_of(config, "input_features")


def test_columns_that_the_data_does_not_have():
    config = {"input_features": [{"name": "a"}, {"name": "b", "column": "B"}], "output_features": [{"name": "y"}]}
    plans.check_columns(config, ["y", "B", "a", "more"])
    with pytest.raises(ValueError, match="there is no column 'B', 'y'; there are 'a', 'b'"):
        plans.check_columns(config, ["a", "b"])
    with pytest.raises(ValueError, match="the column 'a' stands there 2 times"):
        plans.check_columns(config, ["a", "B", "a", "y"])


@pytest.mark.parametrize("data", [None, {"x": [1]}, [1, 2]])
def test_what_is_no_data(data):
    with pytest.raises(ValueError, match=r"--dataset: got .*, expected the path of a file, or a table of pandas"):
        plans.fingerprint_of(data)


def test_margins():
    assert plans.checked_margins({"accuracy": 0.02, "recall[a]": 1}) == {"accuracy": 0.02, "recall[a]": 1}
    with pytest.raises(ValueError, match=r"there is no metric 'acuracy'\. Did you mean 'accuracy'"):
        plans.checked_margins({"acuracy": 0.1})
    with pytest.raises(ValueError, match=r"deviance is not compared"):
        plans.checked_margins({"deviance": 0.1})
    for wrong in (0, -1, float("nan"), float("inf"), "much"):
        with pytest.raises(ValueError, match=r"accuracy: got .*, expected a positive number"):
            plans.checked_margins({"accuracy": wrong})


def test_the_first_loss_again_with_its_rows_in_another_order():
    first, second, again = runs(seeds=(0,), noise=True)
    assert again.reordered and not first.reordered and not second.reordered
    assert again.config == first.config and again.preparation == first.preparation and again.key != first.key
    assert keys(seeds=(0,), noise=True)[:2] == keys(seeds=(0,)), "the others are kept"


def test_the_output_feature():
    assert plans.output_index(CONFIG, "z") == 1
    assert plans.output_index({"output_features": [{"name": "only"}]}, None) == 0
    with pytest.raises(ValueError, match="there are several, expected one of 'y', 'z'"):
        plans.output_index(CONFIG, None)
    with pytest.raises(ValueError, match="got 'w', expected one of 'y', 'z'"):
        plans.output_index(CONFIG, "w")


def test_seeds():
    assert plans.numbered_seeds(3) == [0, 1, 2] and plans.numbered_seeds([7, 5]) == [7, 5]
    assert plans.numbered_seeds([0, 2**32 - 1]) == [0, 2**32 - 1]
    assert plans.numbered_seeds(np.int64(2)) == [0, 1] == plans.numbered_seeds(np.arange(2))
    for wrong in (0, [], [1, 1], [-1], [0, 2**33], -3, 2.0, "3", [1.5], ["3"], None):
        with pytest.raises(ValueError, match="--seeds"):
            plans.numbered_seeds(wrong)


@pytest.mark.parametrize("seeds", [True, [0, True], np.True_, [np.True_], np.array([False, True])])
def test_true_is_no_number_of_seeds(seeds):
    with pytest.raises(ValueError, match=r"--seeds: got .*, expected a number of seeds, or a list of whole numbers"):
        plans.numbered_seeds(seeds)


def test_fingerprints(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("x,y\n1,a\n")
    first = plans.fingerprint(path)
    path.write_text("x,y\n1,b\n")
    assert plans.fingerprint(path) != first
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        plans.fingerprint(tmp_path / "none.csv")
    frame = pd.DataFrame({"x": [1, 2], "y": ["a", "b"], "z": [np.zeros(2), np.ones(2)]})
    same, other = frame.copy(), frame.assign(x=[1, 3])
    assert plans.frame_fingerprint(frame) == plans.frame_fingerprint(same) != plans.frame_fingerprint(other)
    assert plans.frame_fingerprint(frame.rename(columns={"x": "w"})) != plans.frame_fingerprint(frame)


def test_fingerprints_of_tables_see_types_and_all_of_long_arrays():
    long, other = np.zeros(5000), np.zeros(5000)
    other[2500] = 1
    cells = [1, "1", 1.0, [1, 2], [1, 3], [long], [other], long, other, np.zeros((50, 100)), None]
    found = [plans.frame_fingerprint(pd.DataFrame({"x": pd.Series([cell, "more"], dtype=object)})) for cell in cells]
    assert len(set(found)) == len(cells)


@pytest.mark.parametrize(
    ("trainer", "sizes"),
    [
        (None, (128, 128)),
        ({"batch_size": "auto"}, (128, 128)),
        ({"batch_size": 32}, (32, 32)),
        ({"batch_size": 32, "eval_batch_size": "auto"}, (32, 32)),
        ({"eval_batch_size": 500}, (128, 500)),
    ],
)
def test_batch_sizes_are_named(trainer, sizes):
    """Ludwig would measure which are the fastest."""
    config = {"trainer": trainer} if trainer else {}
    given = copy.deepcopy(config)
    made = plans.with_batch_sizes(config)["trainer"]
    assert (made["batch_size"], made["eval_batch_size"]) == sizes and config == given
