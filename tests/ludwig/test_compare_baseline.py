"""`ludwig-losses compare --baseline`: a model that `ludwig train` has left is measured as the others, or refused."""

from __future__ import annotations

import copy
import json
import pathlib
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from ludwig.api import LudwigModel

import matrix
from ludwig_losses.cli import main
from ludwig_losses.comparison import preparing, training
from ludwig_losses.comparison import trained as trained_module
from ludwig_losses.comparison.baseline import Baseline, differing_sections
from ludwig_losses.comparison.plan import FAILURE, RESULT, plan, with_loss
from ludwig_losses.comparison.training import Trainings
from ludwig_losses.comparison.worker import do

SEED = 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[dict, pathlib.Path, pathlib.Path]:
    """A configuration, its data, and the results folder of a training."""
    folder = tmp_path_factory.mktemp("baseline")
    config, data = matrix.write("binary", {"type": "focal_loss"}, folder)
    model = LudwigModel(copy.deepcopy(config), backend={"type": "local", "cache_dir": str(folder)})
    *_, output = model.train(
        dataset=str(data), random_seed=SEED, output_directory=str(folder / "results"), skip_save_processed_input=True
    )
    return config, data, pathlib.Path(output)


def planned_runs(config: dict, data: pathlib.Path, results: pathlib.Path, seeds: tuple[int, ...] = (SEED,)) -> list:
    planned = preparing.prepared(config, data, ["focal_loss"], list(seeds), None, "test", None)
    return replace(planned, baseline=Baseline.read(results)).runs(str(data), False)


def test_it_has_the_numbers_of_a_run_with_its_seed(trained, tmp_path):
    runs = planned_runs(*trained, seeds=(SEED, SEED + 1))
    assert [(run.loss, run.seed) for run in runs] == [
        ("focal_loss", SEED),
        ("focal_loss", SEED + 1),
        (f"{trained[2].name} (as trained)", SEED),
    ]
    trainings = Trainings()
    assert [do(run, tmp_path / run.folder, False, trainings) for run in (runs[0], runs[2])] == [None, None]
    ours, theirs = (json.loads((tmp_path / run.folder / RESULT).read_text()) for run in (runs[0], runs[2]))
    assert theirs["truth"] == ours["truth"] and theirs["trained_on"] == ours["trained_on"]
    assert theirs["differs"] == [] and theirs["epochs"] == ours["epochs"]
    of_run = {
        name: value for name, value in ours["metrics"].items() if name not in ("seconds_per_epoch", "peak_memory_mb")
    }
    assert theirs["metrics"] == pytest.approx(of_run, rel=1e-5)


def test_counted_rows_are_no_other_data():
    """They are counted for losses that ask, whichever of both trainings had one."""
    without = {"y": {"bool2str": ["a", "b"]}}
    counted = {"y": {**without["y"], "rows": 9, "rows_of_classes": [5, 4]}}
    other = {"y": {**counted["y"], "rows_of_classes": [4, 5]}}

    def check(ours: dict, theirs: dict) -> None:
        features = SimpleNamespace(
            input_features=[], output_features=[SimpleNamespace(name="y", column="y", proc_column="y_")]
        )
        model = SimpleNamespace(config_obj=features, training_set_metadata=theirs)
        trained_module._check_data(
            pathlib.Path("results"), model, (SimpleNamespace(dataset={"y_": []}), None, None, ours)
        )

    for pair in ((counted, without), (without, counted), (counted, counted)):
        check(*pair)
    for pair in ((counted, other), (counted, {"y": {"bool2str": ["b", "a"]}})):
        with pytest.raises(ValueError, match="it has seen other data in the column 'y'"):
            check(*pair)


def test_another_configuration_is_named(trained, tmp_path):
    config, data, results = trained
    changed = {**config, "trainer": {**config["trainer"], "learning_rate": 0.5}}
    run = planned_runs(changed, data, results)[-1]
    assert do(run, tmp_path / run.folder, False, Trainings()) is None
    assert json.loads((tmp_path / run.folder / RESULT).read_text())["differs"] == ["trainer.learning_rate"]


@pytest.mark.parametrize(
    ("trainer", "differs"), [({}, []), ({"validation_metric": "accuracy"}, ["trainer.validation_metric"])]
)
def test_a_metric_that_follows_from_the_loss_is_no_difference(tmp_path, trainer, differs):
    config, data = matrix.write("category", {"type": "softmax_cross_entropy"}, tmp_path)
    names = sorted(pd.read_csv(data)["y"].unique())
    theirs = LudwigModel(with_loss(config, 0, {"type": "corn", "order": names})).config
    assert (
        theirs["trainer"]["validation_metric"] == "loss" != LudwigModel(config).config["trainer"]["validation_metric"]
    )
    config["trainer"] |= trainer
    (run,) = plan(config, {"a": {"type": "focal_loss"}}, [0], index=0, dataset=str(data), data="1")
    baseline = replace(run, config=theirs, baseline="results")
    ours = LudwigModel(training.with_loss_of_baseline(baseline)).config
    assert differing_sections(ours, theirs, "y") == differs


@pytest.mark.parametrize("change", ["order of the rows", "share of the rows", "data", "preparation"])
def test_other_data_or_another_split_is_refused(trained, tmp_path, change):
    config, data, results = copy.deepcopy(trained[0]), trained[1], trained[2]
    frame = pd.read_csv(data)
    if change == "order of the rows":  # The columns have the same numbers, the test rows are others.
        frame = frame.sample(frac=1, random_state=0)
    elif change == "data":
        frame.loc[7, "f0"] += 100
    elif change == "share of the rows":
        config["preprocessing"] = {"split": {"type": "random", "probabilities": [0.5, 0.3, 0.2]}}
    else:
        config["input_features"][0]["preprocessing"]["normalization"] = "minmax"
    frame.to_csv(tmp_path / "data.csv", index=False)
    run = planned_runs(config, tmp_path / "data.csv", results)[-1]
    reason = do(run, tmp_path / run.folder, False, Trainings())
    expected = {
        "data": "it has seen other data in the column 'f0'",
        "preparation": "prepares the column 'f0' in another",
    }
    assert expected.get(change, "data or split are not the same, so that the comparison would be unfair") in reason
    assert (tmp_path / run.folder / FAILURE).exists()


def test_a_seed_whose_split_is_another_one_is_refused_before_the_first_run(trained, tmp_path, capsys):
    config, data, results = trained
    with pytest.raises(ValueError, match=r"trained with the seed 1, .* learned from rows to measure on.*--seeds 1 3\."):
        planned_runs(config, data, results, (2, 3))
    frame = pd.read_csv(data).assign(split=lambda frame: frame.index % 3)
    frame.to_csv(tmp_path / "data.csv", index=False)
    fixed = {**config, "preprocessing": {"split": {"type": "fixed", "column": "split"}}}
    assert planned_runs(fixed, tmp_path / "data.csv", results, (2, 3))[-1].seed == 2, "all seeds have one split"
    with pytest.raises(ValueError, match=r"there is no description\.json"):
        Baseline.read(tmp_path)
    files = ("--config", str(tmp_path / "c.yaml"), "--dataset", str(data), "--output_directory", str(tmp_path / "o"))
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    assert main(["compare", *files, "--baseline", str(results), "--tune", "--loss", "focal_loss"]) == 2
    assert "--baseline is a model as it was trained" in capsys.readouterr().err
