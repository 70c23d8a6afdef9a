"""`ludwig-losses compare` for real: two losses and three seeds, killed in the middle and called again."""

from __future__ import annotations

import copy
import json
import pathlib
import re
import tempfile
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from ludwig.api import LudwigModel

import commands
import declared
import ludwig_losses
import matrix
from ludwig_losses.cli import main
from ludwig_losses.comparison import candidates, pool, preparing
from ludwig_losses.comparison import plan as plans
from ludwig_losses.comparison import training as training_module
from ludwig_losses.comparison.plan import PREDICTIONS, RESULT, fingerprint, plan
from ludwig_losses.comparison.preparing import Asked
from ludwig_losses.comparison.results import Results
from ludwig_losses.comparison.training import Trainings
from ludwig_losses.comparison.worker import do

SEEDS = 3
LOSSES = ("binary_weighted_cross_entropy", "{weighted focal: {type: focal_loss, alpha: 0.75}}")


def compare() -> None:
    """The command, in the folder with the data."""
    losses = [part for loss in LOSSES for part in ("--loss", loss)]
    files = ("--config", "config.yaml", "--dataset", "data.csv", "--output_directory", "out")
    assert main(["compare", *files, "--seeds", str(SEEDS), *losses]) == 0


def finished(folder: pathlib.Path) -> dict[str, int]:
    """The results that there are, with what tells whether they were made again."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (folder / "out" / "runs").glob(f"*/{RESULT}")}


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[pathlib.Path, dict[str, int], str]:
    """A comparison that was killed after its second run and then done: its folder, what was there, and its output."""
    folder = tmp_path_factory.mktemp("compare")
    config, _ = matrix.write("binary", {"type": LOSSES[0]}, folder)
    config["trainer"]["validation_metric"] = "roc_auc"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    first = folder / "first.txt"
    process = commands.fork(compare, folder=folder, log=first)
    deadline = time.monotonic() + 600
    while len(finished(folder)) < 2:
        assert process.is_alive() and time.monotonic() < deadline, first.read_text()[-4000:]
        time.sleep(0.05)
    process.kill()
    process.join()
    time.sleep(1)  # Its worker is to end by itself.
    before = finished(folder)
    return folder, before, commands.run(compare, folder=folder, log="second.txt")


def test_the_same_command_goes_on_after_kill_9(killed):
    folder, before, output = killed
    assert 2 <= len(before) < 2 * SEEDS
    after = finished(folder)
    assert len(after) == 2 * SEEDS and all(after[name] == made for name, made in before.items())
    assert f"2 losses x 3 seeds = 6 runs, of which {len(before)} are kept from before" in output


def test_what_it_leaves(killed):
    folder, _, output = killed
    assert "Conclusions" in output and "weighted focal" in output
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"comparison.md", "comparison.csv", "comparison.html", "differences.png", "curves.svg"} <= names
    assert "reliability.svg" in names
    (section,) = re.findall(r"^What to do\n.*?\n\n(output_features:.*?)\n\n", output, re.DOTALL | re.MULTILINE)
    feature = yaml.safe_load(section)["output_features"][0]
    assert feature["loss"]["type"] in (LOSSES[0], "focal_loss") and 0 < feature["threshold"] < 1
    assert re.search(r"^weighted focal +\d+\.\d\d +0\.\d{4} +0\.\d{4}", output, re.MULTILINE), "calibration"
    frame = pd.read_csv(folder / "out" / "comparison.csv")
    assert set(frame.loss) == {LOSSES[0], "weighted focal"} and set(frame.seed) == set(range(SEEDS))
    assert {"roc_auc", "log_loss", "recall[malignant]", "seconds_per_epoch", "peak_memory_mb"} <= set(frame.metric)
    assert frame.value.notna().all()
    by_metric = frame.set_index(["loss", "seed"]).groupby("metric").value
    assert by_metric.get_group("recall").equals(by_metric.get_group("recall[malignant]")), "of the positive class"
    results = [json.loads(path.read_text()) for path in (folder / "out" / "runs").glob(f"*/{RESULT}")]
    assert len({(result["run"]["seed"], result["truth"]) for result in results}) == SEEDS, (
        "rows depend on the seed only"
    )
    assert not list((folder / "out" / "runs").glob("*/model")) and not list(folder.glob("*.lock"))
    assert {path.name for path in (folder / "out").glob(".*")} == {".lock"}, "the lock is held by nobody"


def test_test_rows_are_evaluated_once(killed):
    folder, _, _ = killed
    for log in (folder / "out" / "runs").glob("*/log.txt"):
        values = re.findall(r"^│ accuracy +│ +[\d.]+ │ +[\d.]+ │(.*)│$", log.read_text(), re.MULTILINE)
        assert values and not any(value.strip() for value in values), "Ludwig's column of the test rows is empty"


@pytest.mark.parametrize(
    ("trainer", "needed"),
    [
        ({}, False),
        ({"learning_rate_scheduler": {"reduce_on_plateau": 2, "reduce_eval_split": "validation"}}, False),
        ({"learning_rate_scheduler": {"reduce_on_plateau": 2, "reduce_eval_split": "test"}}, True),
        ({"increase_batch_size_on_plateau": 2, "increase_batch_size_eval_split": "test"}, True),
    ],
)
def test_training_that_depends_on_test_rows_gets_them(trainer, needed):
    assert training_module._needs_test_rows({"trainer": trainer}) is needed


def test_validation_rows_are_for_choosing_where_others_are_measured():
    data = ("training", ["row"], ["row"], {})
    runs = {
        (feature, split): plan(
            {"output_features": [{"name": "y", "type": feature}]},
            {"a": {"type": "a"}},
            [0],
            index=0,
            dataset="d",
            data="1",
            split=split,
        )[0]
        for feature in ("binary", "number")
        for split in ("test", "validation")
    }
    found = {key: training_module._validation_rows(run, data) for key, run in runs.items()}
    assert [key for key, rows in found.items() if rows is not None] == [("binary", "test")]
    assert training_module._validation_rows(runs["binary", "test"], ("training", None, ["row"], {})) is None


def test_rows_that_two_seeds_measure_are_recognized(killed):
    folder, _, _ = killed
    results = [
        path for path in (folder / "out" / "runs").glob(f"*/{RESULT}") if path.parent.name.startswith("weighted")
    ]
    found = [json.loads(path.read_text()) for path in results]
    assert len({result["trained_on"] for result in found}) == SEEDS, "each seed splits the rows anew"
    rows = [np.load(path.parent / PREDICTIONS)["rows"] for path in results]
    assert all(
        len(set(of_seed)) == len(of_seed) == result["rows"]["held_out"]
        for of_seed, result in zip(rows, found, strict=True)
    )
    everything = 569
    expected = everything * (1 - (1 - len(rows[0]) / everything) ** SEEDS)
    assert len(set(np.concatenate(rows))) == pytest.approx(expected, rel=0.1)


def test_the_numbers_are_those_of_ludwig_itself(killed, tmp_path):
    """A run of the comparison is a training by Ludwig with that seed: same rows, same weights, same best epoch. Here
    Ludwig evaluates the test rows after each epoch and calibrates the probabilities at the end."""
    folder, _, _ = killed
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["output_features"][0] |= {"loss": {"type": "focal_loss", "alpha": 0.75}, "calibration": True}
    model = LudwigModel(config, backend={"type": "local", "cache_dir": str(tmp_path)})
    statistics = model.train(
        dataset=str(folder / "data.csv"),
        random_seed=1,
        output_directory=str(tmp_path),
        skip_save_processed_input=True,
    ).train_stats
    best = int(np.argmax(statistics.validation["y"]["roc_auc"]))
    frame = pd.read_csv(folder / "out" / "comparison.csv").set_index(["loss", "seed", "metric"]).value
    for metric in ("accuracy", "roc_auc"):
        expected = float(statistics.test["y"][metric][best])
        assert frame["weighted focal", 1, metric] == pytest.approx(expected, abs=1e-3)
    (result,) = (folder / "out" / "runs").glob(f"weighted_focal-seed1-*/{RESULT}")
    calibrated = json.loads(result.read_text())["calibration"]
    temperature = model.model.output_features.get("y").calibration_module.temperature
    assert calibrated["temperature"] == pytest.approx(float(temperature), rel=1e-3) != 1
    before, after = calibrated["log_loss"]
    assert after != before == frame["weighted focal", 1, "log_loss"]


@pytest.mark.parametrize("normalization", ["log1p", None])
def test_errors_of_numbers_are_in_the_units_of_the_data(normalization, tmp_path):
    config, data = matrix.write("number", {"type": "mean_squared_error"}, tmp_path)
    config["output_features"][0]["preprocessing"] = {"normalization": normalization}
    frame = pd.read_csv(data)
    frame["y"] = 100 + 30 * frame["y"].rank(pct=True)
    frame["split"] = np.arange(len(frame)) % 3
    config["preprocessing"] = {"split": {"type": "fixed", "column": "split"}}
    losses, out = ["mean_squared_error", "quantile_loss"], tmp_path / "out"
    found = ludwig_losses.compare(config, frame, losses, seeds=1, output_directory=out, keep_models=True, quiet=True)
    test = frame[frame["split"] == 2]
    for loss in losses:
        (folder,) = [run["folder"] for run in found.attrs["runs"] if run["loss"] == loss]
        predicted, _ = LudwigModel.load(f"{folder}/model").predict(test, skip_save_predictions=True)
        error = predicted["y_predictions"].to_numpy() - test["y"].to_numpy()
        values = found[found.loss == loss].set_index("metric").value
        assert values["root_mean_squared_error"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-4)
        assert values["mean_absolute_error"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
    # The quantiles of the last one, too.
    low, high = (predicted[f"y_quantile_{level}"].to_numpy(float) for level in ("0.05", "0.95"))
    assert values["interval_width"] == pytest.approx((high - low).mean(), rel=1e-4)
    inside = (low <= test["y"]) & (test["y"] <= high)
    assert values["interval_coverage"] == pytest.approx(inside.mean(), abs=1.5 / len(test))
    assert "interval_width" not in {*found[found.loss == "mean_squared_error"].metric}
    assert (out / "predictions.svg").exists() and (out / "coverage.svg").exists()


# Ludwig, or the test, takes these where the configuration says nothing.
OWN = {"anomaly": "deep_svdd", "vector": "mean_squared_error"}


def needing_nothing(feature: str) -> list[str]:
    """The losses of the pack that a feature may have and that need nothing from the user."""
    return [
        name
        for name, found in declared.SINGLE.items()
        if feature in found.features and not declared.FACTS[name].needs_the_user and name != OWN.get(feature)
    ]


@pytest.mark.parametrize("feature", ["binary", "category", "image", "vector", "text", "anomaly"])
def test_the_default_losses_need_nothing_from_the_user(feature, tmp_path):
    own = OWN.get(feature)
    config, _ = matrix.write(feature, {"type": own} if own else {}, tmp_path)
    if own is None:
        del config["output_features"][0]["loss"]
    losses = [*candidates.default_losses(config, 0)]
    assert losses[1:] == needing_nothing(feature) != [] and losses[0] not in losses[1:]


def test_the_configurations_own_loss_comes_first_and_once(tmp_path):
    config, _ = matrix.write("category", {"type": "focal", "gamma": 3.0}, tmp_path)
    losses = candidates.default_losses(config, 0)
    assert next(iter(losses)) == "focal gamma=3.0" and "focal_loss" not in losses


def test_typos_are_found_before_the_first_run(tmp_path):
    config, data = matrix.write("binary", {"type": "focal_loss"}, tmp_path)
    out = tmp_path / "out"
    losses = ["focal_loss", {"type": "focal_loss", "gama": 2}, "focal_los"]
    with pytest.raises(ValueError, match="gama") as caught:
        ludwig_losses.compare(config, str(data), losses, output_directory=out)
    assert "Did you mean 'gamma'?" in str(caught.value) and "focal_los:" in str(caught.value)
    assert not out.exists()


def test_only_features_with_metrics_are_compared(tmp_path):
    config, data = matrix.write("number", {"type": "mean_squared_error"}, tmp_path)
    config["output_features"][0]["type"] = "category_distribution"
    with pytest.raises(
        ValueError, match="got type 'category_distribution'; losses can be compared on binary, category"
    ):
        ludwig_losses.compare(config, str(data), ["mean_squared_error"], output_directory=tmp_path / "out")
    assert main(["compare", "--config", "none.yaml", "--dataset", str(data)]) == 2


def test_a_normalization_of_defaults_decides_which_losses_fit(tmp_path):
    config, _ = matrix.write("number", {"type": "mean_squared_error"}, tmp_path)
    config["output_features"][0]["preprocessing"] = {"missing_value_strategy": "drop_row"}
    config["defaults"] = {"number": {"preprocessing": {"normalization": "log1p"}}}
    assert "gaussian_nll_loss" not in candidates.default_losses(config, 0)
    config["output_features"][0]["preprocessing"]["normalization"] = "zscore"
    assert "gaussian_nll_loss" in candidates.default_losses(config, 0)


@pytest.mark.parametrize(
    ("feature", "losses", "expected"),
    [
        (
            "binary",
            ["focal_loss", "{type: focal_loss, class_weights: balanced}"],
            'focal_loss class_weights="balanced"',
        ),
        ("set", ["sigmoid_cross_entropy", "logit_adjusted_loss"], "logit_adjusted_loss"),
        ("binary", ["binary_weighted_cross_entropy", "focal_loss"], None),
        ("category", ["softmax_cross_entropy", "logit_adjusted_loss"], None),
    ],
)
def test_data_is_prepared_for_a_loss_that_counts_rows(feature, losses, expected):
    config = {"output_features": [{"name": "y", "type": feature}]}
    assert candidates.counting_loss(config, 0, plans.named_losses(losses)) == expected


def test_pairs_of_rows_stay_together_for_all_losses(tmp_path):
    config, data = matrix.write("vector", {"type": "mean_squared_error"}, tmp_path)
    losses = candidates.default_losses(config, 0)
    pairing = candidates.pairing_loss(config, 0, losses)
    files = {"dataset": str(data), "data": fingerprint(data)}
    runs = plan(config, losses, [0], index=0, pairing_loss=pairing, noise=True, **files)
    assert pairing == "nt_xent_loss" and len({run.preparation for run in runs}) == 1 and all(run.pairs for run in runs)
    rows = Trainings().prepare(runs[0], tmp_path)[2].dataset
    name = next(name for name in rows if name.startswith("y_"))
    assert len(rows[name]) % 2 == 0
    twins = np.stack([*rows[name]]).reshape(-1, 2, 8)
    distance = np.linalg.norm(twins[:, 0] - twins[:, 1], axis=1)
    assert distance.max() < 1.5, "two views of a digit are close, two digits are not"
    training = Trainings().prepare(runs[0], tmp_path)[0]
    other = np.stack([*training_module._reordered(training, runs[-1]).dataset[name]]).reshape(-1, 2, 8)
    before = np.stack([*training.dataset[name]]).reshape(-1, 2, 8)
    assert not np.array_equal(before, other) and {*map(np.ndarray.tobytes, before)} == {*map(np.ndarray.tobytes, other)}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[dict, pathlib.Path]:
    return matrix.write("binary", {"type": "focal_loss"}, tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"losses": []}, "got no loss"),
        ({"losses": "focal_loss"}, "expected a list of losses"),
        ({"seeds": [-1]}, "--seeds: got -1"),
        ({"seeds": [2**33]}, "--seeds: got 8589934592"),
        ({"miss_cost": 9, "split": "validation"}, r"--miss_cost: got 9, .* --split test"),
        ({"margins": {"acuracy": 0.1}}, "there is no metric 'acuracy'"),
        ({"margins": {"mean_iou": 0.1}}, "mean_iou is a metric of image features, but 'y' is a binary feature"),
        ({"margins": ["accuracy=0.1"]}, "--margin: got .*, expected a mapping"),
        ({"config": None}, "--config: got None"),
        ({"dataset": pd.DataFrame({"f0": [], "y": []})}, "the table has no rows"),
        ({"workers": "2"}, "--workers: got '2'"),
        ({"gpus": 0}, "--gpus: got 0, expected a list"),
        ({"miss_cost": "9"}, "--miss_cost: got '9'"),
        ({"tries": 5}, "--try: got 5, expected values by loss"),
        ({"config": {"input_features": [{"name": "f0", "type": "number"}]}}, "output_features: got None"),
        ({"config": {"output_features": [{"name": "y", "type": "binary"}]}}, "config: input_features: got None"),
    ],
)
def test_mistakes_are_found_before_the_first_run(small, tmp_path, options, message):
    config, data = small
    arguments = {"config": config, "dataset": str(data), "losses": ["focal_loss"], **options}
    with pytest.raises(ValueError, match=message):
        ludwig_losses.compare(**arguments, output_directory=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("content", "message"), [("", "the file is empty"), ("f0,y\n", "there are no rows")])
def test_files_without_rows_are_found_before_the_first_run(small, tmp_path, content, message):
    (tmp_path / "empty.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"empty\.csv: {message}"):
        ludwig_losses.compare(small[0], tmp_path / "empty.csv", ["focal_loss"], output_directory=tmp_path / "out")


def test_the_process_that_trains_checks_the_configuration_and_imports_ludwig_once(small, tmp_path):
    config, data = small
    names = ("output_feature", "baseline", "choose_by", "budget", "miss_cost", "tries")
    options = {**dict.fromkeys(names), "split": "test", "noise": False, "tune": False, "seeds": [0]}
    right, wrong = (
        Asked.of(config, data, [{"type": "focal_loss", name: 1.0}], tmp_path, **options) for name in ("gamma", "gama")
    )
    reasons: list[str | None] = []
    with pool.Crew(1, None) as crew:
        with pytest.raises(ValueError, match="Did you mean 'gamma'"):
            crew.call(wrong.planned)
        process = crew.workers[0].process
        planned, runs = crew.call(right.planned)
        here, expected = right.planned()
        assert planned == here and [run.key for run in runs] == [run.key for run in expected]
        pool.do_all(
            runs,
            lambda run: tmp_path / "run",
            lambda run, reason: reasons.append(reason),
            crew=crew,
            keep_models=False,
            log_folder=tmp_path,
        )
        assert reasons == [None] and crew.workers[0].process is process
    assert (tmp_path / "run" / RESULT).exists() and process.wait(timeout=300) < 0


def test_costs_of_a_missed_positive_need_a_binary_feature(tmp_path):
    config, data = matrix.write("category", {"type": "focal_loss"}, tmp_path)
    arguments = {"losses": ["focal_loss"], "output_directory": tmp_path / "out"}
    with pytest.raises(ValueError, match=r"--miss_cost: got 9, but 'y' is a category feature.* binary"):
        ludwig_losses.compare(config, data, miss_cost=9, **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("as_table", [True, False])
def test_a_missing_column_is_found_before_the_first_run(small, tmp_path, as_table):
    config, data = small
    config = copy.deepcopy(config)
    config["input_features"][0]["name"] = "nope"
    dataset = pd.read_csv(data) if as_table else data
    with pytest.raises(ValueError, match="there is no column 'nope'; there are 'f0'"):
        ludwig_losses.compare(config, dataset, ["focal_loss"], output_directory=tmp_path / "out")
    (run,) = plan(
        config, {"a": config["output_features"][0]["loss"]}, [0], index=0, dataset=str(data), data=fingerprint(data)
    )
    with pytest.raises(ValueError, match="the data has no column 'nope'"):
        Trainings().prepare(run, tmp_path / "run")


def test_data_that_changes_during_a_comparison_is_not_taken_for_what_it_was(small, tmp_path, monkeypatch):
    config, data = small
    changing = tmp_path / "changing.csv"
    changing.write_bytes(data.read_bytes())
    (run,) = plan(
        config, {"a": {"type": "focal_loss"}}, [0], index=0, dataset=str(changing), data=fingerprint(changing)
    )
    original = Trainings._preprocessed

    def read_and_changed(*args: object) -> object:
        found = original(*args)
        with changing.open("a") as file:
            file.write(data.read_text().splitlines()[-1] + "\n")
        return found

    monkeypatch.setattr(Trainings, "_preprocessed", read_and_changed)
    for _ in range(2):  # It changes while Ludwig reads it; then it is another one from the start.
        with pytest.raises(ValueError, match=r"changing\.csv was changed during the comparison"):
            Trainings().prepare(run, tmp_path / "run")


def test_a_second_user_finds_no_files_of_the_first_in_the_temporary_folder(small, tmp_path, monkeypatch):
    config, data = small
    (tmp_path / "common").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "common"))
    (run,) = plan(config, {"a": {"type": "focal_loss"}}, [0], index=0, dataset=str(data), data=fingerprint(data))
    Trainings().prepare(run, tmp_path / "runs" / "run")
    assert not (tmp_path / "common" / ".lock_preprocessing").exists()


def test_parameters_from_defaults_are_in_the_name_and_equal_losses_are_one(small):
    config, _ = small
    config = {**config, "defaults": {"binary": {"loss": {"type": "focal_loss", "gamma": 3.0}}}}
    losses = plans.named_losses(["focal_loss", {"mine": "focal_loss"}, "focal", {"type": "focal_loss", "gamma": 1.0}])
    named = candidates.with_defaults(config, 0, losses)
    assert [*named] == ["focal_loss gamma=3.0", "mine", "focal", "focal_loss gamma=1.0"]
    assert candidates.equal_losses(config, 0, named) == {"mine": "focal_loss gamma=3.0"}
    named |= {"written out": {"type": "focal_loss", "gamma": 2.0}}
    del config["defaults"]
    assert candidates.equal_losses(config, 0, named)["written out"] == "focal"
    own = {**config["output_features"][0]}
    del own["loss"]
    config = {
        **config,
        "output_features": [own],
        "defaults": {"binary": {"loss": {"type": "focal_loss", "gamma": 3.0}}},
    }
    first = next(iter(candidates.with_defaults(config, 0, candidates.default_losses(config, 0))))
    assert first == "focal_loss gamma=3.0"


def test_the_first_loss_again_on_its_rows_in_another_order(small, tmp_path):
    config, data = small
    planned = preparing.prepared(config, data, ["focal_loss", "logit_adjusted_loss"], [0], None, "test", None)
    runs, trainings = planned.runs(str(data), noise=True), Trainings()
    # The second loss has to know how many rows have each class, which the first one does not ask.
    assert [do(run, tmp_path / run.folder, False, trainings) for run in runs] == [None] * 3
    found = Results.read(runs, lambda run: tmp_path / run.folder, {})
    once, again = (found.arrays(loss, 0) for loss in found.losses if loss != "logit_adjusted_loss")
    assert found.noise == "focal_loss, rows in another order" and np.array_equal(once["rows"], again["rows"])
    assert not np.array_equal(once["probabilities"], again["probabilities"])
