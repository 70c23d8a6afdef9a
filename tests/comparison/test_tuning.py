"""What is chosen among settings, from results that were not trained."""

from __future__ import annotations

import json
import pathlib
from dataclasses import replace

import numpy as np
import pytest

import saved
from ludwig_losses.comparison import report
from ludwig_losses.comparison.plan import RESULT, Run
from ludwig_losses.comparison.settings import Budget, combinations
from ludwig_losses.comparison.statistics import BETTER
from ludwig_losses.comparison.tuning import Tuned, Tuning, section, tune

SETTINGS = {
    "first": combinations("first", {"type": "first"}, {"weight": [2]}),
    "other": combinations("other", {"type": "other"}, {"gamma": [1]}),
}
NAMES = [setting.name for settings in SETTINGS.values() for setting in settings]
SEEDS = 4
# By setting, for seeds 0 to 3; what is best on the validation rows is worst on the test rows, except for seed 3.
VALIDATION = {
    "first": [0.9, 0.9, 0.5, 0.7],
    "first weight=2": [0.8, 0.8, 0.5, 0.9],
    "other": [0.1, 0.1, 0.6, 0.2],
    "other gamma=1": [0.3, 0.2, 0.4, 0.3],
}
TEST = {
    "first": [0.60, 0.62, 0.61, 0.63],
    "first weight=2": [0.70, 0.71, 0.72, 0.75],
    "other": [0.80, 0.81, 0.82, 0.83],
    "other gamma=1": [0.50, 0.51, 0.53, 0.90],
}
CHOSEN = {"first": [0.60, 0.62, 0.61, 0.75], "other": [0.50, 0.51, 0.82, 0.90]}


def runs() -> list[Run]:
    return [replace(run, validated=True) for run in saved.runs(NAMES, SEEDS)]


def tuning(choose_by: str = "accuracy", budget: Budget | None = None) -> Tuning:
    return Tuning(choose_by, SETTINGS, budget or Budget())


def save(run: Run, folder: pathlib.Path, metric: str = "accuracy", sign: int = 1, **options: object) -> None:
    validation = {metric: sign * VALIDATION[run.loss][run.seed], "log_loss": float("nan")}
    saved.save(run, folder, {metric: TEST[run.loss][run.seed]}, validation=validation, **options)


def tuned(
    folder: pathlib.Path, *, failed: tuple = (), metric: str = "accuracy", choose_by: str | None = None, sign: int = 1
) -> Tuned:
    of_all = runs()
    reasons = {run: "it collapsed" for run in of_all if (run.loss, run.seed) in failed}
    for run in of_all:
        if run not in reasons:
            save(run, folder / run.folder, metric, sign)
    return Tuned(tuning(choose_by or metric), of_all, reasons, lambda run: folder / run.folder)


def test_chosen_on_the_validation_rows_of_a_seed_and_measured_on_its_test_rows(tmp_path):
    results = tuned(tmp_path).results({})
    assert results.losses == ["first", "other"] and results.comparisons == 1
    assert {loss: [*results.values(loss, "accuracy").values()] for loss in results.losses} == CHOSEN


def test_what_is_kept_of_each_setting_is_found_and_which_was_chosen(tmp_path):
    found = tuned(tmp_path, failed=[("other", 2), ("other gamma=1", 2), ("first", 3)]).kept()
    measured = {(run["loss"], run["setting"], run["seed"]): pathlib.Path(run["folder"], RESULT) for run in found}
    assert len(measured) == len(found) == len(NAMES) * SEEDS - 3
    for (loss, setting, seed), path in measured.items():
        name = loss if setting == "as given" else f"{loss} {setting}"
        assert json.loads(path.read_text())["metrics"] == {"accuracy": TEST[name][seed]}
    chosen = {(run["loss"], run["seed"]): run["setting"] for run in found if run["is_chosen"]}
    assert len(chosen) == sum(run["is_chosen"] for run in found) == 2 * SEEDS - 1
    assert chosen["first", 0] == chosen["other", 3].replace("gamma=1", "as given") == "as given"


def test_less_may_be_better(tmp_path):
    found = tuned(tmp_path, metric="brier_score", sign=-1)
    assert {loss: [*found.results({}).values(loss, "brier_score").values()] for loss in CHOSEN} == CHOSEN


def test_what_choosing_was_worth(tmp_path):
    found = tuned(tmp_path)
    first, other = found.choices(found.results({}))
    assert first.chosen == {"as given": 3, "weight=2": 1} and first.tried == 2
    assert other.chosen == {"gamma=1": 3, "as given": 1}
    assert first.before == pytest.approx(0.615) and first.after == pytest.approx(0.645)
    assert first.worth.mean == pytest.approx(0.03) and first.worth.seeds == SEEDS
    assert other.worth.mean == pytest.approx((0.50 - 0.80 + 0.51 - 0.81 + 0.90 - 0.83) / 4)
    low, high = first.worth.new_rows
    assert low < 0 < high


def test_what_choosing_was_worth_on_new_rows_has_the_chance_of_rows_that_all_seeds_share(tmp_path):
    generator, of_all = np.random.default_rng(0), runs()
    truth, chance = generator.integers(2, size=200), generator.random((len(NAMES), 200))
    for run in of_all:
        is_right = (chance[NAMES.index(run.loss)] < 0.7) ^ (np.random.default_rng(run.seed).random(200) < 0.05)
        said = np.where(is_right, truth, 1 - truth)
        kept = {"truth": truth, "predicted": said, "probabilities": np.eye(2)[said], "classes": np.array(["a", "b"])}
        validation = {"accuracy": float("gamma" in run.loss)}
        metrics = {"accuracy": float(is_right.mean())}
        rows = np.arange(200, dtype=np.uint64)
        saved.save(run, tmp_path / run.folder, metrics, validation=validation, rows=rows, **kept)
    found = Tuned(tuning(), of_all, {}, lambda run: tmp_path / run.folder)
    first, other = (choice.worth for choice in found.choices(found.results({})))
    assert first.mean == 0 and other.mean
    # Two sets of predictions that are right for 70 % of 200 rows differ by this by chance.
    of_rows = np.sqrt(2 * 0.3 * 0.7 / 200)
    assert np.ptp(other.new_rows) > 2 * 1.5 * of_rows > 2 * np.ptp(other.interval)


def test_the_report_says_what_was_chosen(tmp_path):
    found = tuned(tmp_path / "runs")
    results = found.results({})
    shown = [section(found.choices(results), "accuracy", report.short_names(results.losses))]
    text = "\n".join(report.write(results, tmp_path, 1, shown))
    line = next(line for line in text.splitlines() if line.startswith("other") and "gamma=1 (3), as given (1)" in line)
    assert line.split()[1] == "2" and "0.815" in line
    for name in ("comparison.md", "comparison.html"):
        assert "gamma=1 (3), as given (1)" in (tmp_path / name).read_text()
    assert "nothing was chosen" in text


def test_the_setting_to_write_down_is_the_one_that_most_seeds_have_chosen(tmp_path):
    found = tuned(tmp_path, failed=(("other gamma=1", 2),))
    first, other = found.choices(found.results({}))
    picked = found.pick("other", False, other)
    assert picked.setting.changes == "gamma=1" and picked.said == "Setting of other: gamma=1, chosen by 3 of 4 seeds."
    assert [*picked.folders] == [0, 1, 3] and all(
        folder.name.startswith("other_gamma") for folder in picked.folders.values()
    )
    # The loss that is kept stays as it is, unless another setting was better on new rows.
    assert found.pick("first", True, first).setting.changes == ""
    better = replace(first, worth=replace(first.worth, verdict=BETTER), chosen={})
    seeds = {("first", seed): SETTINGS["first"][1] for seed in range(SEEDS)}
    found.__dict__["chosen"] = found.chosen | seeds
    assert found.pick("first", True, better).setting.changes == "weight=2"


def test_a_loss_of_which_nothing_was_tried_is_named(tmp_path):
    found = tuned(tmp_path)
    choices = found.choices(found.results({}))
    said = section([replace(choices[0], tried=1), choices[1]], "accuracy", {"first": "first", "other": "other"}).said
    assert "Nothing was tried of first" in said[1]
    assert len(section(choices, "accuracy", {"first": "first", "other": "other"}).said) == 1


def test_settings_that_fail_are_not_chosen(tmp_path):
    found = tuned(tmp_path, failed=(("other gamma=1", 0), ("first", 1), ("first weight=2", 1)))
    results = found.results({})
    assert results.values("other", "accuracy")[0] == 0.80
    assert 1 not in results.values("first", "accuracy") and results.failed == {("first", 1): "it collapsed"}
    first, other = found.choices(results)
    assert (first.failed, other.failed) == (2, 1) and first.chosen == {"as given": 2, "weight=2": 1}


def test_a_metric_that_no_run_has_on_its_validation_rows(tmp_path):
    found = tuned(tmp_path, choose_by="log_loss")
    with pytest.raises(ValueError, match="log_loss is not defined on the validation rows of any run; there are acc"):
        found.results({})


def test_metrics_that_need_an_order_choose_too(tmp_path):
    generator = np.random.default_rng(0)
    names, truth = np.array(["1", "2", "3"]), generator.integers(3, size=20)
    of_all = runs()
    for run in of_all:
        right = np.eye(3)[truth] if run.loss.endswith("=1") else np.eye(3)[generator.permutation(truth)]
        kept = {"truth": truth, "predicted": right.argmax(axis=1), "probabilities": right, "classes": names}
        arrays = {f"validation_{name}": array for name, array in kept.items()}
        save(run, tmp_path / run.folder, roles={"numbers": [*names]}, **kept, **arrays)
    found = Tuned(tuning("rank_mae"), of_all, {}, lambda run: tmp_path / run.folder)
    assert {setting.name for (loss, _), setting in found.chosen.items() if loss == "other"} == {"other gamma=1"}


def test_too_small_a_budget_of_runs():
    with pytest.raises(ValueError, match=r"7 runs are too few: 2 losses x 4 seeds are 8 runs"):
        tuning(budget=Budget(runs=7)).within_budget(SEEDS)
    assert len(tuning(budget=Budget(runs=12)).within_budget(SEEDS).all) == 3


def test_a_budget_of_time_plans_the_same_after_an_interrupt(tmp_path):
    """What the losses as given have taken, 2 s each, decides how many settings there are, in each call."""
    of_all, done = runs(), []

    def folder(run: Run) -> pathlib.Path:
        return tmp_path / run.folder

    def train(some, _, most: int = 99):
        left = [run for run in some if not (folder(run) / RESULT).exists()]
        for run in left[:most]:
            save(run, folder(run))
            done.append(run)
        if len(left) > most:
            raise KeyboardInterrupt
        return {}

    found = tuning(budget=Budget(seconds=25))
    for most in (5, 3):
        with pytest.raises(KeyboardInterrupt):
            tune(found, of_all, folder, lambda some, said, most=most: train(some, said, most), 1)
    after = tune(found, of_all, folder, train, 1)
    assert [*after.tuning.all] == ["first", "first weight=2", "other"] and len(done) == 3 * SEEDS == len({*done})
    assert len(tune(found, of_all, folder, train, 2).tuning.all) == 4, "two workers train twice as much"


def test_a_run_whose_validation_rows_are_measured_is_another_one():
    run = saved.runs(["a"], 1)[0]
    assert run.key != replace(run, validated=True).key
