"""Quantiles in a comparison: measures by the levels that losses share, empty cells for losses without, and plots."""

from __future__ import annotations

import pathlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

import saved
from ludwig_losses.comparison import outcome, report
from ludwig_losses.comparison.results import Results
from ludwig_losses.comparison.settings import Budget, Setting, combinations
from ludwig_losses.comparison.tuning import Tuned, Tuning
from ludwig_losses.metrics.functional.intervals import crps_values, crps_weights
from ludwig_losses.parameters import Feature
from saved import Batch

MEASURES = ("pinball_loss", "crps", "interval_coverage", "interval_width", "interval_score")


def measured(levels: list[float] | None, seed: int, steps: tuple[int, ...] = ()) -> outcome.Outcome:
    generator = np.random.default_rng(seed)
    centre = generator.normal(size=(60, *steps)) * 10
    truth = centre + generator.normal(size=centre.shape)
    q = None if levels is None else centre[..., None] + norm.ppf(levels)
    batch = Batch(truth, {"predictions": centre}, None, None, q, None if levels is None else np.array(levels))
    return outcome.measure("number", [batch], Feature("y"), False)


def compared(folder: pathlib.Path, seeds: int = 3, **levels: list[float] | None) -> Results:
    runs = saved.runs([*levels], seeds)
    for run in runs:
        found = measured(levels[run.loss], run.seed)
        arrays = {**found.arrays, "rows": np.arange(60, dtype=np.uint64) + np.uint64(100 * run.seed)}
        saved.save(run, folder / run.folder, found.metrics, f"seed {run.seed}", **arrays)
    return Results.read(runs, lambda run: folder / run.folder, {})


@pytest.mark.parametrize("steps", [(), (3,)])
def test_measures_are_what_they_say(steps):
    levels = [0.1, 0.5, 0.6, 0.95]
    found = measured(levels, 0, steps)
    q, y = found.arrays["quantiles"].reshape(-1, 4), found.arrays["truth"].reshape(-1)
    costs = np.array([[t * max(y_ - q_, 0) + (1 - t) * max(q_ - y_, 0) for q_, t in zip(row, levels, strict=True)]
                      for row, y_ in zip(q, y, strict=True)])  # fmt: skip
    outside = np.maximum(q[:, 0] - y, 0) + np.maximum(y - q[:, -1], 0)
    expected = {
        "pinball_loss": costs.mean(),
        "crps": (costs * [2 * 0.3, 2 * 0.25, 2 * 0.225, 2 * 0.225]).sum(axis=1).mean(),
        "interval_coverage": (outside == 0).mean(),
        "interval_width": norm.ppf(0.95) - norm.ppf(0.1),
        "interval_score": norm.ppf(0.95) - norm.ppf(0.1) + 2 / 0.15 * outside.mean(),
    }
    assert {name: found.metrics[name] for name in MEASURES} == pytest.approx(expected)
    assert measured(None, 0, steps).metrics.keys() == found.metrics.keys() - {*MEASURES}


def test_crps_is_that_of_the_distribution():
    """Of a standard normal one: in closed form y (2 F(y) - 1) + 2 f(y) - 1 / sqrt(pi) (Gneiting and Raftery, 2007)."""
    y = torch.linspace(-2, 2, 9, dtype=torch.float64)
    expected = y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - np.pi**-0.5
    for levels in (np.linspace(0.001, 0.999, 500), np.sort(np.random.default_rng(0).random(3000))):
        q = torch.from_numpy(norm.ppf(levels)).expand(len(y), -1)
        torch.testing.assert_close(crps_values(q, y, levels.tolist()), expected, atol=5e-3, rtol=0)
    assert crps_values(torch.zeros(9, 1).double(), y, [0.5]).tolist() == pytest.approx(np.abs(y).tolist())
    assert sum(crps_weights([0.05, 0.1, 0.7])) == pytest.approx(2)
    assert [crps_weights(levels) for levels in ([0.1], [0.1, 0.5], [0.5, 0.9], [0.8, 0.9])] == [None] * 4


def test_other_quantiles_are_measured_by_the_common_ones(tmp_path):
    found = compared(tmp_path / "runs", wide=[0.05, 0.1, 0.5, 0.9, 0.95], plain=None, narrow=[0.1, 0.5, 0.9])
    assert found.common_levels == (0.1, 0.5, 0.9)
    for name in MEASURES:
        assert found.values("wide", name) == pytest.approx(found.values("narrow", name))
        assert found.values("plain", name) == {}
        row = found.table(name)[1]
        assert row.difference.mean == pytest.approx(0, abs=1e-12)
    shown = "\n".join(report.write(found, tmp_path, seconds=1))
    assert "that all losses predict which predict some: 0.1, 0.5, 0.9." in shown
    assert "interval_width" not in shown, "narrower alone is not better"
    assert "interval_width" in (tmp_path / "comparison.md").read_text()
    table = shown.partition("interval_coverage\n")[2].partition("\n\n")[0]
    assert re.search(r"^plain *$", table, re.MULTILINE) and re.search(r"^narrow +0\.\d", table, re.MULTILINE)
    frame = found.frame()
    assert not ((frame.loss == "plain") & frame.metric.isin(MEASURES)).any()
    assert (tmp_path / "coverage.svg").exists() and "outermost intervals" in (tmp_path / "predictions.svg").read_text()


def test_quantiles_with_nothing_in_common_have_no_measures(tmp_path):
    found = compared(tmp_path / "runs", low=[0.1, 0.4], high=[0.6, 0.9])
    assert not {*MEASURES} & {*found.metrics} and "root_mean_squared_error" in found.metrics
    assert "none in common" in "\n".join(report.write(found, tmp_path, seconds=1))


def tuned(folder: pathlib.Path, **levels: list[float]) -> Tuned:
    """Two settings of a loss with their levels, and another loss: of them only the predictions are told apart."""
    settings = {"one": combinations("one", {"type": "one"}, {"q": [1]}), "other": [Setting("other", {"type": "other"})]}
    names = {"one": levels["given"], "one q=1": levels["tried"], "other": levels["other"]}
    runs = [replace(run, validated=True) for run in saved.runs([*names], 3)]
    for run in runs:
        test, validation = measured(names[run.loss], run.seed), measured(names[run.loss], 50 + run.seed)
        kept = {f"validation_{name}": array for name, array in validation.arrays.items()}
        arrays = {**test.arrays, **kept}
        saved.save(run, folder / run.folder, test.metrics, f"{run.seed}", validation=validation.metrics, **arrays)
    return Tuned(Tuning("pinball_loss", settings, Budget()), runs, {}, lambda run: folder / run.folder)


def test_settings_with_other_quantiles_are_chosen_by_the_common_ones(tmp_path):
    """Outer quantiles have smaller losses, however good they are."""
    found = tuned(
        tmp_path, given=[0.1, 0.5, 0.9], tried=[0.001, 0.1, 0.5, 0.9, 0.999], other=[0.001, 0.1, 0.5, 0.9, 0.999]
    )
    by_loss = {run.loss: value for run, value in found.validation.items() if run.seed == 1}
    assert by_loss["one"] == pytest.approx(by_loss["one q=1"]) and by_loss["other"] < by_loss["one"]
    # What choosing was worth is measured by common ones, too.
    found.__dict__["chosen"] = {key: found.tuning.settings[key[0]][-1] for key in found.chosen}
    (one, _) = found.choices(found.results({}))
    assert one.chosen == {"q=1": 3} and one.worth.mean == pytest.approx(0, abs=1e-12)


def test_settings_whose_quantiles_have_nothing_in_common_cannot_be_chosen_by_them(tmp_path):
    found = tuned(tmp_path, given=[0.1, 0.4], tried=[0.6, 0.9], other=[0.1])
    with pytest.raises(ValueError, match=r"--choose_by: pinball_loss .* settings of one.* quantiles"):
        found.results({})


def test_results_of_before_have_empty_cells(tmp_path):
    """Runs that are kept from a version that did not measure quantiles."""
    runs = saved.runs(["old", "new"], 3)
    for run in runs:
        result = measured([0.1, 0.5, 0.9] if run.loss == "new" else None, run.seed)
        saved.save(run, tmp_path / run.folder, result.metrics, f"seed {run.seed}", **result.arrays)
    found = Results.read(runs, lambda run: tmp_path / run.folder, {})
    assert [row.loss for row in found.table("crps")] == ["new"] and found.table("crps")[0].difference is None
    assert re.search(r"^old *$", "\n".join(report.write(found, tmp_path, seconds=1)), re.MULTILINE)


def test_rounding_of_levels_keeps_them_apart():
    kept = measured([0.3, 0.1 + 0.2 + 1e-12, 0.7], 0).arrays
    with pytest.raises(IndexError):
        outcome.with_levels(kept, [0.31])
    assert outcome.with_levels(kept, [0.7])["quantiles"].shape == (60, 1)
    assert outcome.with_levels(kept, []).keys() == kept.keys() - {"quantiles", "levels"}
