"""`ludwig-losses compare --tune` for real: what Ludwig takes, killed and called again, nothing from the test rows."""

from __future__ import annotations

import pathlib
import time

import numpy as np
import pandas as pd
import pytest
import yaml

import commands
import declared
import matrix
from ludwig_losses.cli import main
from ludwig_losses.comparison import calibration, preparing, threshold, trying
from ludwig_losses.comparison.plan import RESULT
from ludwig_losses.comparison.settings import Budget, combinations, read_budget
from ludwig_losses.comparison.threshold import Goal
from ludwig_losses.comparison.training import Trainings
from ludwig_losses.comparison.tuning import Tuned
from ludwig_losses.comparison.worker import do
from ludwig_losses.host.config.schemas import each_checked_once

LOSSES = ("binary_weighted_cross_entropy", "focal_loss")
TRIES = ("{binary_weighted_cross_entropy: {}}", "{focal_loss: {gamma: [0.5], alpha: [0.6]}}")
SEEDS, RUNS = 2, 6


def tune(directory: str) -> None:
    """The command, in the folder with the data."""
    files = ("--config", "config.yaml", "--dataset", "data.csv", "--output_directory", directory)
    losses = [part for loss in LOSSES for part in ("--loss", loss)]
    tries = [part for written in TRIES for part in ("--try", written)]
    assert main(["compare", *files, "--seeds", str(SEEDS), *losses, *tries, "--choose_by", "log_loss"]) == 0


def finished(folder: pathlib.Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob(f"runs/*/{RESULT}")}


def test_killed_and_called_again_gives_the_numbers_of_an_uninterrupted_call(tmp_path):
    config, _ = matrix.write("binary", {"type": LOSSES[0]}, tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    process = commands.fork(tune, "killed", folder=tmp_path, log=tmp_path / "first.txt")
    deadline = time.monotonic() + 600
    while len(finished(tmp_path / "killed")) < 3:
        assert process.is_alive() and time.monotonic() < deadline, (tmp_path / "first.txt").read_text()[-4000:]
        time.sleep(0.05)
    process.kill()
    process.join()
    time.sleep(1)  # Its worker is to end by itself.
    before = finished(tmp_path / "killed")
    output = commands.run(tune, "killed", folder=tmp_path, log="second.txt")
    after = finished(tmp_path / "killed")
    assert 3 <= len(before) < RUNS == len(after) and all(after[name] == made for name, made in before.items())
    assert f"3 settings x {SEEDS} seeds = {RUNS} runs, of which {len(before)} are kept from before" in output
    commands.run(tune, "whole", folder=tmp_path, log="whole.txt")
    frames = [
        pd.read_csv(tmp_path / name / "comparison.csv", index_col=["loss", "seed", "metric"]).value.drop(
            ["seconds_per_epoch", "peak_memory_mb"], level="metric"
        )
        for name in ("killed", "whole")
    ]
    pd.testing.assert_series_equal(*frames, check_exact=True)
    tables = [
        (tmp_path / name / "comparison.md").read_text().partition("## accuracy")[0] for name in ("killed", "whole")
    ]
    chosen = [table.partition("## Settings")[2] for table in tables]
    assert chosen[0] == chosen[1] and "choosing was worth" in chosen[0]


def test_labels_of_test_rows_change_nothing_that_is_chosen(tmp_path):
    config, data = matrix.write("binary", {"type": "focal_loss"}, tmp_path)
    generator = np.random.default_rng(0)
    frame = pd.read_csv(data)
    frame["split"] = generator.choice(3, size=len(frame), p=[0.6, 0.2, 0.2])
    shuffled, is_test = frame.copy(), frame["split"] == 2
    shuffled.loc[is_test, "y"] = generator.permutation(frame.loc[is_test, "y"])
    assert (shuffled["y"] != frame["y"]).any()
    config["preprocessing"] = {"split": {"type": "fixed", "column": "split"}}
    found = []
    for name, of in (("as it is", frame), ("shuffled", shuffled)):
        folder = tmp_path / name
        folder.mkdir()
        of.to_csv(folder / "data.csv", index=False)
        planned = preparing.prepared(config, folder / "data.csv", ["focal_loss"], [0], None, "test", "log_loss")
        planned = planned.tuned({"focal_loss": {"gamma": [0.0, 5.0]}}, Budget())
        runs, trainings = planned.runs(str(folder / "data.csv"), False), Trainings()
        assert [do(run, folder / run.folder, False, trainings) for run in runs] == [None] * 3
        found.append(Tuned(planned.tuning, runs, {}, lambda run, folder=folder: folder / run.folder))
    assert [*found[0].validation.values()] == [*found[1].validation.values()]
    assert found[0].chosen == found[1].chosen
    results = [of.results({}) for of in found]
    suggested = [
        threshold.suggested({0: of.arrays("focal_loss", 0)}, calibration.temperatures(of, "focal_loss"), Goal(), 0.0)
        for of in results
    ]
    assert suggested[0].by_seed == suggested[1].by_seed and suggested[0].calibrated == suggested[1].calibrated
    assert calibration.temperatures(results[0], "focal_loss")[0] != 1 and suggested[0].before != suggested[1].before
    assert results[0].values("focal_loss", "roc_auc") != results[1].values("focal_loss", "roc_auc"), "other labels"


@pytest.mark.parametrize("feature", ["binary", "category", "image", "vector", "anomaly", "text"])
def test_ludwig_takes_every_combination_that_is_worth_trying(feature, tmp_path):
    names = [
        name
        for name, of in declared.SINGLE.items()
        if feature in of.features and not declared.FACTS[name].needs_the_user
    ]
    config, _ = matrix.write(feature, {"type": names[0]}, tmp_path)
    losses = {name: {"type": name} for name in names}
    with each_checked_once():
        found = trying.all_settings("config", config, 0, losses, {})
    for name, settings in found.items():
        values = trying.worth_trying(feature, losses[name])
        # The first is the loss as it was given, and its defaults written out are not tried again.
        assert len(settings) == max(len(combinations(name, losses[name], values)) - 1, 1)
    assert any(len(settings) > 1 for settings in found.values())


def test_what_the_user_has_written_is_not_tried(tmp_path):
    values = trying.worth_trying("binary", {"type": "focal_loss", "gamma": 2.0})
    assert values == {"alpha": [0.25, 0.5, 0.75]}
    assert trying.worth_trying("category", {"type": "focal_loss"}).keys() == {"gamma", "class_weights"}


def test_losses_that_begin_alike_differ_if_values_are_tried_of_one(tmp_path):
    config, data = matrix.write("binary", {"type": "focal_loss"}, tmp_path)
    losses = {"as it is": {"type": "focal_loss"}, "chosen": {"type": "focal_loss"}}
    options = (config, data, losses, [0], None, "test", None)
    assert [*preparing.prepared(*options).losses] == ["as it is"]
    tries = "{as it is: {}, chosen: {gamma: [1, 5]}}"
    planned = preparing.prepared(*options, tries=tries)
    assert [*planned.losses] == ["as it is", "chosen"] and not planned.equal
    tuned = planned.tuned(tries, read_budget(None)).tuning
    assert {name: len(of) for name, of in tuned.settings.items()} == {"as it is": 1, "chosen": 3}


def test_the_reference_has_class_weights_to_choose_from(tmp_path):
    config, _ = matrix.write("category", {"type": "softmax_cross_entropy"}, tmp_path)
    found = trying.all_settings("config", config, 0, {"ours": {"type": "softmax_cross_entropy"}}, {})
    assert [setting.changes for setting in found["ours"]] == ["", 'class_weights="balanced"']
    assert found["ours"][1].loss == {"type": "poly_loss", "epsilon": 0.0, "class_weights": "balanced"}
    config["output_features"][0]["type"] = "binary"
    assert "positive_class_weight" in trying.worth_trying("binary", {"type": "binary_weighted_cross_entropy"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--try", "{focal_loss: {gama: [1]}}"), "Did you mean 'gamma'?"),
        (("--tune", "--split", "validation"), "chooses on the validation rows"),
        (("--tune", "--noise"), "cannot be combined with --tune"),
        (("--tune", "--budget", "3"), "3 runs are too few"),
        (("--budget", "30m"), "need --tune or --try"),
        (("--tune", "--choose_by", "acuracy"), "there is no metric 'acuracy'"),
    ],
)
def test_mistakes_are_found_before_the_first_run(tmp_path, capsys, options, message):
    config, data = matrix.write("binary", {"type": "focal_loss"}, tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    files = (
        "--config",
        str(tmp_path / "config.yaml"),
        "--dataset",
        str(data),
        "--output_directory",
        str(tmp_path / "o"),
    )
    assert main(["compare", *files, "--loss", "focal_loss", *options]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "o").exists()
