"""What a comparison tells to do: a loss, a threshold, and what calibration would change."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
import yaml
from scipy.special import expit, softmax
from sklearn.metrics import f1_score

import saved
from ludwig_losses.comparison import answer, calibration, page, report, threshold
from ludwig_losses.comparison.answer import Pick
from ludwig_losses.comparison.plan import plan
from ludwig_losses.comparison.results import Results
from ludwig_losses.comparison.settings import Setting
from ludwig_losses.comparison.statistics import compare_pairs
from ludwig_losses.comparison.threshold import Goal

CONFIG = {"output_features": [{"name": "y", "type": "binary", "preprocessing": {"fallback_true_label": "sick"}}]}


def scores(seed: int, rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are positive, and logits that rank them well and are far too low."""
    generator = np.random.default_rng(seed)
    truth = generator.random(rows) < 0.3
    return truth, (generator.normal(size=rows) + 2 * truth - 4).astype(np.float32)


def kept(seed: int) -> dict[str, np.ndarray]:
    arrays = {}
    for name, (truth, logits) in (("", scores(seed)), ("validation_", scores(100 + seed))):
        probabilities = calibration.of_logits(logits)
        arrays |= {f"{name}truth": truth.astype(int), f"{name}probabilities": probabilities}
        arrays[f"{name}predicted"] = (probabilities[:, 1] >= 0.5).astype(int)
    return arrays | {"classes": np.array(["well", "sick"])}


def results(folder, gain: float, seeds: int = 5, losses: tuple = ("first", "other")) -> Results:
    runs = plan(CONFIG, {loss: {"type": loss} for loss in losses}, range(seeds), index=0, dataset="d", data="1")
    for run in runs:
        value = 0.8 + 0.001 * run.seed**2 + (gain + 0.001 * (-1) ** run.seed if run.loss == "other" else 0)
        metrics = {"roc_auc": value, "log_loss": value}
        saved.save(run, folder / run.folder, metrics, details={"calibration": CALIBRATION}, **kept(run.seed))
    return Results.read(runs, lambda run: folder / run.folder, {})


CALIBRATION = {"temperature": 2.0, "log_loss": [0.5, 0.4], "expected_calibration_error": [0.2, 0.1]}


def decided(found: Results, by: str | None = "roc_auc", goal: Goal = Goal(), said: str = "") -> answer.Answer:  # noqa: B008
    def pick(loss: str, is_kept: bool) -> Pick:
        assert is_kept == (loss == "first")
        folders = {seed: folder for (of, seed), folder in found.folders.items() if of == loss}
        return Pick(Setting(loss, {"type": loss}, trainer={"learning_rate": 0.1} if said else {}), folders, said)

    return answer.decided(found, report.short_names(found.losses), by, pick, goal)


def test_a_loss_that_is_better_is_taken_and_written_as_yaml(tmp_path):
    found = decided(results(tmp_path, 0.1))
    assert found.loss == "other" and found.is_better
    assert found.said[0].startswith("Take other: by roc_auc it is better than first by 0.100 (+0.")
    section = yaml.safe_load(found.yaml)
    (feature,) = section["output_features"]
    assert list(section) == ["output_features"] and feature["loss"] == {"type": "other"}
    assert feature["preprocessing"] == {"fallback_true_label": "sick"} and feature["type"] == "binary"
    assert feature["threshold"] == pytest.approx(found.threshold.value, rel=1e-2)
    assert json.dumps(found.as_dict())


@pytest.mark.parametrize(
    ("gain", "seeds", "by", "losses", "said"),
    [
        (0.0, 5, "roc_auc", ("first", "other"), "Keep first: no loss is better by roc_auc on new rows."),
        (-0.1, 5, "roc_auc", ("first", "other"), "Keep first: no loss is better"),
        (0.1, 5, "log_loss", ("first", "other"), "Keep first: no loss is better by log_loss"),
        (0.1, 2, "roc_auc", ("first", "other"), "Keep first: fewer than 3 seeds cannot show"),
        (0.1, 5, None, ("first", "other"), "Keep first: no metric decides"),
        (0.1, 5, "roc_auc", ("first",), "Keep first: there is nothing to compare it with"),
    ],
)
def test_the_first_loss_is_kept_where_nothing_is_better(gain, seeds, by, losses, said, tmp_path):
    found = decided(results(tmp_path, gain, seeds, losses), by)
    assert (found.loss, found.is_better) == ("first", False) and found.said[0].startswith(said)
    assert yaml.safe_load(found.yaml)["output_features"][0]["loss"] == {"type": "first"}


def test_what_a_setting_changes_of_the_trainer_is_pasted_too(tmp_path):
    found = decided(results(tmp_path, 0.1), said="Setting of other: as given.")
    assert yaml.safe_load(found.yaml)["trainer"] == {"learning_rate": 0.1} and found.said[1].startswith("Setting of")


def test_every_file_ends_with_it(tmp_path):
    found = results(tmp_path / "runs", 0.1)
    told = decided(found)
    lines = report.write(found, tmp_path, 1, calibration.sections(found, report.short_names(found.losses)), told)
    shown = "\n".join(lines)
    assert f"What to do\n  {told.said[0]}" in shown and f"\n\n{told.yaml}\nWritten: " in shown
    assert (tmp_path / "comparison.md").read_text().endswith(f"```yaml\n{told.yaml}```\n")
    assert f"<pre>{told.yaml}</pre>" in (tmp_path / "comparison.html").read_text()
    for text in (shown, (tmp_path / "comparison.md").read_text(), (tmp_path / "comparison.html").read_text()):
        assert "With `calibration: true` Ludwig divides" in text.replace("\\`", "`")
    assert "other   2.00           0.5000      0.4000        0.2000               0.1000" in shown


@pytest.mark.parametrize("goal", [Goal(), Goal(0.5), Goal(1.0), Goal(9.0)], ids=str)
@pytest.mark.parametrize("digits", [1, 7])
def test_no_other_threshold_is_better_for_the_rows_it_was_chosen_on(goal, digits):
    truth, logits = scores(3)
    score = expit(logits).round(digits)
    chosen = threshold.best(truth, score, goal)
    reached = goal.of(truth, score >= chosen)
    others = [goal.of(truth, score >= level) for level in [*np.unique(score), 1.1]]
    assert reached == pytest.approx(max(others) if goal.higher_is_better else min(others)) and 0 < chosen < 1
    if goal.miss_cost is None:
        assert reached == pytest.approx(f1_score(truth, score >= chosen))
    else:
        costs = (~truth & (score >= chosen)) + goal.miss_cost * (truth & (score < chosen))
        assert reached == pytest.approx(costs.mean())


def test_costs_of_calibrated_probabilities_demand_the_threshold_of_the_books():
    generator = np.random.default_rng(0)
    score = generator.random(200_000)
    assert threshold.best(generator.random(len(score)) < score, score, Goal(9.0)) == pytest.approx(1 / 10, abs=0.02)


@pytest.mark.parametrize("goal", [Goal(), Goal(0.01)], ids=str)
def test_flagging_nothing_is_no_choice_where_the_highest_score_is_1(goal):
    """No threshold up to 1 does so: Ludwig flags the scores at and above it."""
    truth, score = np.array([True, False, False, True]), np.array([0.2, 1.0, 1.0, 0.1], dtype=np.float32)
    chosen = threshold.best(truth, score, goal)
    reached = goal.of(truth, score >= chosen)
    others = [goal.of(truth, score >= level) for level in [*np.unique(score)]]
    assert chosen < 1 and reached == pytest.approx(max(others) if goal.higher_is_better else min(others))
    kept = {"truth": truth, "predicted": score > 0.5, "probabilities": np.stack([1 - score, score], axis=1)}
    arrays = {0: kept | {f"validation_{name}": array for name, array in kept.items()}}
    assert 0 < threshold.suggested(arrays, {0: 0.01}, goal, 0.0).calibrated <= 1


@pytest.mark.parametrize("value", [0.9997, 0.00012345678, 0.50123456, 0.99999996])
def test_a_threshold_is_written_with_the_digits_that_flag_the_same_rows(value):
    written = threshold.rounded(value)
    assert written / (1 - written) == pytest.approx(value / (1 - value), rel=1e-5) and len(repr(written)) < 20
    shown = threshold.rounded(value, 3)
    assert 0 < shown < 1 and shown == pytest.approx(value, rel=1e-2)


def test_a_threshold_near_1_is_pasted_as_it_was_chosen(tmp_path, monkeypatch):
    chosen = threshold.Threshold(Goal(), {0: 0.9997}, 0.9997, 0.9998, 0.5, 0.6, compare_pairs([0.6], [0.5]))
    monkeypatch.setattr(answer, "suggested", lambda *_: chosen)
    found = decided(results(tmp_path, 0.1))
    assert yaml.safe_load(found.yaml)["output_features"][0]["threshold"] == 0.9997
    text = " ".join(found.said)
    assert "Threshold 0.9997:" in text and "it is 0.9998." in text and "(0.9997 to 0.9997)" in text


def test_f1_of_rows_without_positives_is_0():
    truth, flags = np.zeros(5, dtype=bool), np.arange(5) > 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Goal().of(truth, flags) == Goal().of(truth, truth) == 0


def test_small_numbers_have_digits(tmp_path):
    runs = plan(CONFIG, {loss: {"type": loss} for loss in ("first", "other")}, range(5), index=0, dataset="d", data="1")
    for run in runs:
        value = 1e-4 * (2 if run.loss == "other" else 1) + 1e-6 * (run.seed + (-1) ** run.seed * (run.loss == "other"))
        saved.save(run, tmp_path / run.folder, {"roc_auc": value}, **kept(run.seed))
    found = decided(Results.read(runs, lambda run: tmp_path / run.folder, {}))
    assert "it is better than first by 0.000100 (+0.0000" in found.said[0]
    costs = threshold.Threshold(Goal(9.0), {0: 0.5}, 0.5, None, 2e-4, 1e-4, compare_pairs([1e-4], [2e-4]))
    assert "is 0.000100 with that of the seed and 0.000200 with" in costs.said()[1]
    assert [page.decimals([number]) for number in (123, -12, 1.0, 0.1, 0.05, 0.001, 0.0009, 1e-4, 0)] == [
        *(1, 2, 3, 3, 4, 4, 6, 6, 4),
    ]


def test_one_class_alone_suggests_nothing():
    assert threshold.best(np.zeros(5, dtype=bool), np.linspace(0, 1, 5), Goal()) is None
    assert threshold.suggested({0: {"truth": np.zeros(5)}}, {}, Goal(), 0.0) is None


def test_the_threshold_comes_from_the_validation_rows_of_each_seed(tmp_path):
    arrays = {seed: kept(seed) for seed in range(5)}
    found = threshold.suggested(arrays, dict.fromkeys(range(5), 2.0), Goal(), 0.3)
    assert found.value == np.median([*found.by_seed.values()]) and len(set(found.by_seed.values())) == 5
    for seed, value in found.by_seed.items():
        assert value == threshold.best(*_validation(arrays[seed]), Goal())
    assert found.after > found.before + 0.1 and found.worth.new_rows[0] > 0
    # The same rows are flagged when probabilities are calibrated.
    probabilities = arrays[0]["probabilities"]
    flags = calibration.rescaled(probabilities, 2.0)[:, 1] >= found.calibrated
    assert (flags == (probabilities[:, 1] >= found.value)).mean() > 0.99
    # Rows that all seeds share tell less than rows of their own.
    own = {seed: {name: of[name] for name in of if name.startswith("validation_")} for seed, of in arrays.items()}
    same = {seed: {**arrays[0], **of} for seed, of in own.items()}
    fixed = threshold.suggested(same, {}, Goal(), 0.0).worth
    assert np.ptp(fixed.new_rows) > 1.5 * np.ptp(fixed.interval)
    shuffled = {seed: {**of, "truth": np.roll(of["truth"], 7)} for seed, of in arrays.items()}
    assert threshold.suggested(shuffled, {}, Goal(), 0.3).by_seed == found.by_seed
    assert "F1" in found.said()[0] and "new rows" in found.said()[1]


def _validation(of: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return of["validation_truth"].astype(bool), of["validation_probabilities"][:, 1]


@pytest.mark.parametrize("count", [2, 3])
def test_calibration_from_logits_and_from_probabilities_is_the_same(count):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(100, count)).astype(np.float32) * 3
    given = logits[:, 1] - logits[:, 0] if count == 2 else logits
    probabilities = softmax(logits.astype(np.float64), axis=1)
    assert calibration.of_logits(given) == pytest.approx(probabilities, abs=1e-6)
    assert calibration.rescaled(probabilities, 2.5) == pytest.approx(softmax(logits / 2.5, axis=1), abs=1e-6)
    truth = torch.from_numpy(logits).mul(0.5).softmax(1).multinomial(1, generator=torch.manual_seed(0))[:, 0].numpy()
    of = {"probabilities": probabilities, "logits": given, "truth": truth, "predicted": probabilities.argmax(1)}
    of |= {"classes": np.arange(count)}
    found = calibration.calibrated(of, of, lambda logits, truth: 2.0)
    assert found["temperature"] == 2 and found["log_loss"][1] < found["log_loss"][0]
    assert calibration.calibrated(of, {**of, "probabilities": probabilities[::-1]}, lambda *_: 2.0) is None, (
        "no softmax"
    )
