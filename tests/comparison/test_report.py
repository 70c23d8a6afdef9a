"""What a comparison says: tables, sentences, files and plots, from results that were not trained."""

from __future__ import annotations

import builtins
import pathlib
import re
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import saved
from ludwig_losses.comparison import report
from ludwig_losses.comparison.plan import plan
from ludwig_losses.comparison.results import Results

LOSSES = ["first", "better_one", "noisy_one"]
ACCURACY = {
    "first": [0.80, 0.82, 0.78, 0.81, 0.79],
    "better_one": [0.90, 0.925, 0.88, 0.915, 0.89],
    "noisy_one": [0.95, 0.60, 0.99, 0.70, 0.80],
}


def classes(seed: int, count: int = 3) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(count), size=20)
    names = np.array([f"class {c}" for c in range(count)])
    truth = generator.integers(count, size=20)
    return {"truth": truth, "predicted": probabilities.argmax(axis=1), "probabilities": probabilities, "classes": names}


def images(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    masks = generator.integers(2, size=(2, 3, 8, 8))
    pictures = generator.random((3, 1, 8, 8))
    return {
        "truth": masks[0],
        "predicted": masks[1],
        "images": pictures,
        "areas": np.ones((3, 3, 2), dtype=int),
        "classes": np.array(["0", "255"]),
    }


def vectors(seed: int) -> dict[str, np.ndarray]:
    return {
        "vectors": np.random.default_rng(seed).normal(size=(20, 6)),
        "groups": np.arange(20) // 2,
        "truth": np.zeros((20, 6)),
    }


def scores(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {"truth": generator.integers(-1, 2, size=20), "score": generator.random(20) * 9}


def results(
    folder: pathlib.Path, seeds: int = 5, failed: tuple = (), arrays=classes, main: str = "accuracy"
) -> Results:
    runs = saved.runs(LOSSES, seeds)
    reasons = {run: "it collapsed" for run in runs if (run.loss, run.seed) in failed}
    for run in runs:
        if run not in reasons:
            value = ACCURACY[run.loss][run.seed]
            metrics = {main: value, "balanced_accuracy": value, "seconds_per_epoch": 0.5, "recall[class 0]": value}
            saved.save(run, folder / run.folder, metrics, **arrays(run.seed))
    return Results.read(runs, lambda run: folder / run.folder, reasons)


def written(found: Results, folder: pathlib.Path) -> str:
    return "\n".join(report.write(found, folder, seconds=12))


def test_the_terminal_says_what_can_be_said(tmp_path):
    shown = written(results(tmp_path / "runs"), tmp_path)
    interval = r"\+0\.\d+ to \+0\.\d+"
    row = rf"^better_one +0\.902 ± 0\.018 +\+0\.102 +{interval} +{interval} +100 / 0 / 0 % +better$"
    assert re.search(row, shown, re.MULTILINE)
    assert "better / within 0.01 / worse" in shown
    assert re.search(r"^noisy_one +0\.808 .* not distinguishable from chance$", shown, re.MULTILINE)
    assert "accuracy, balanced_accuracy: better_one is better by 0.102 (" in shown
    assert "Of 2 losses that are compared with one, the best looks better than it is" in shown
    assert "97.5 %" in shown and "recall" not in shown


def test_the_files(tmp_path):
    found = results(tmp_path / "runs")
    written(found, tmp_path)
    frame = pd.read_csv(tmp_path / "comparison.csv")
    assert list(frame.columns) == ["loss", "seed", "metric", "value"] and len(frame) == 3 * 5 * 4
    row = frame[(frame.loss == "better_one") & (frame.seed == 1) & (frame.metric == "accuracy")]
    assert row.value.tolist() == [0.925]
    markdown = (tmp_path / "comparison.md").read_text()
    assert "## recall[class 0] (higher is better)" in markdown and "![differences](differences.png)" in markdown
    assert "| better_one | 0.902 ± 0.018 | +0.102" in re.sub(" +", " ", markdown)
    page = (tmp_path / "comparison.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page), "nothing is fetched"
    assert page.count('src="data:image/png;base64,') == 4 and "<td>better_one" in page


def test_names_are_escaped_on_the_page(tmp_path):
    runs = saved.runs(["a", "<b>"], 1)
    for run in runs:
        saved.save(run, tmp_path / run.folder, {"accuracy": 0.5}, **classes(0))
    found = Results.read(runs, lambda run: tmp_path / run.folder, {})
    written(found, tmp_path)
    assert "<b>" not in (tmp_path / "comparison.html").read_text()


def test_names_are_shown_as_they_are_in_markdown(tmp_path):
    names = [
        "a|b",
        "<script>alert(1)</script>",
        "two\nlines \x1b[31m",
        "[a](http://b)",
        "$x^{$",
        "x" * 320,
        "x" * 319 + "y",
    ]
    runs = saved.runs(names, 3)
    for number, run in enumerate(runs):
        metrics = {"accuracy": 0.5 + 0.001 * number**2, "recall[<b>|\n]": 0.5}
        saved.save(run, tmp_path / run.folder, metrics, **classes(0))
    found = Results.read(runs, lambda run: tmp_path / run.folder, {})
    shown = written(found, tmp_path)
    markdown = (tmp_path / "comparison.md").read_text()
    assert "<script>" not in markdown and "<b>" not in markdown and "](http" not in markdown
    assert (
        r"| a\|b " in markdown and "| &lt;script>alert(1)&lt;/script>" in markdown and "| two lines [31m " in markdown
    )
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("|")}
    assert len(widths) <= 2, "all rows of a table have its columns"
    assert "\x1b" not in shown and max(map(len, re.findall(r"^x+.*?  ", shown, re.MULTILINE))) < 70
    short = re.findall(r"^- (x+\.\.\. \(\d\)) is (x+y?)$", markdown, re.MULTILINE)
    assert [(name[-3:], full) for name, full in short] == [("(6)", names[5]), ("(7)", names[6])]


def test_the_row_of_noise_is_no_comparison(tmp_path):
    losses = {loss: {"type": loss} for loss in LOSSES[:2]}
    runs = plan(saved.CONFIG, losses, range(3), index=0, dataset="d.csv", data="1", noise=True)
    for run in runs:
        value = 0.8 + 0.1 * (run.loss != "first") + 0.001 * run.seed**2 * (1 + len(run.loss))
        saved.save(run, tmp_path / run.folder, {"accuracy": value, "balanced_accuracy": value}, **classes(0))
    found = Results.read(runs, lambda run: tmp_path / run.folder, {})
    assert found.noise == "first, rows in another order" and found.comparisons == 1
    shown = written(found, tmp_path)
    assert "first, rows in another order: what differs in this line is noise" in shown
    assert "rows in another order is better" not in shown and "better_one is better" in shown
    assert len(found.table("accuracy")) == 3


def test_a_model_that_was_trained_before_is_a_row_without_a_verdict(tmp_path):
    runs = saved.runs(LOSSES[:2], 3)
    runs.append(replace(runs[2], loss="before", baseline="results/run", weights="1"))
    assert len({run.key for run in runs}) == len(runs)
    for run in runs:
        value = 0.8 + 0.1 * (run.loss == "better_one") + 0.001 * run.seed**2 * (1 + len(run.loss))
        details = {"differs": ["combiner"]} if run.baseline else {}
        saved.save(run, tmp_path / run.folder, {"accuracy": value}, details=details, **classes(0))
    found = Results.read(runs, lambda run: tmp_path / run.folder, {})
    assert (found.baseline, found.compared, found.comparisons) == ("before", LOSSES[:2], 1)
    shown = written(found, tmp_path)
    assert re.search(r"^before +0\.\d{3} +\+0\.\d{3} +no interval from 1 seed$", shown, re.MULTILINE)
    assert "before is one model, of seed 1: what another seed would give is not known" in shown
    assert "It differs from the others beside the loss also in combiner." in shown
    assert "accuracy: better_one is better by" in shown and "before is better" not in shown


def test_how_long_the_losses_were_trained_is_said(tmp_path):
    assert "Each run has 2 epochs." in [*report.caveats(results(tmp_path / "same"))]
    runs = saved.runs(LOSSES[:2], 3)
    for run in runs:
        details = {"epochs": 7 + run.seed * (run.loss == "first"), "limits": {"epochs": 30, "early_stop": 5}}
        saved.save(run, tmp_path / run.folder, {"accuracy": 0.5}, details=details, **classes(0))
    assert (
        "Epochs: a run ends after 5 evaluations without a better one (early_stop), at most 30, as the configuration "
        "says: first 7 to 9, better_one 7."
    ) in [*report.caveats(Results.read(runs, lambda run: tmp_path / run.folder, {}))]


def test_losses_that_give_the_same_numbers_are_named(tmp_path):
    runs = saved.runs(["a", "b", "c"], 3)
    for run in runs:
        value = 0.8 + 0.01 * run.seed**2 + 0.1 * (run.loss == "c")
        saved.save(run, tmp_path / run.folder, {"accuracy": value, "seconds_per_epoch": len(run.folder)}, **classes(0))
    found = Results.read(runs, lambda run: tmp_path / run.folder, {})
    assert found.same == {"b": "a"}
    assert "b gives the same numbers as a in every seed" in written(found, tmp_path)


def test_losses_without_any_metric_are_not_the_same(tmp_path):
    """As of anomaly features, where no row has a label."""
    config = {"output_features": [{"name": "y", "type": "anomaly"}]}
    runs = [replace(run, config=config) for run in saved.runs(["a", "b"], 3)]
    for run in runs:
        saved.save(run, tmp_path / run.folder, {"seconds_per_epoch": 1.0 + run.seed}, truth=np.full(4, -1))
    found = Results.read(runs, lambda run: tmp_path / run.folder, {})
    shown = written(found, tmp_path)
    assert found.same == {} and "same loss" not in shown
    assert "these rows define no metric of anomaly features. They need labelled rows of both kinds." in shown


def test_a_full_disk_leaves_the_files_of_before(tmp_path):
    found = results(tmp_path / "runs")
    written(found, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with saved.files_up_to(100), pytest.raises(OSError, match=re.escape(str(tmp_path))) as caught:
        written(found, tmp_path)
    assert caught.value.filename.startswith(str(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_two_seeds_have_no_intervals_and_it_is_said_why(tmp_path):
    shown = written(results(tmp_path / "runs", seeds=2), tmp_path)
    assert "no interval from 2 seeds" in shown and "95 % interval of" not in shown
    assert "No intervals: 2 seeds cannot tell a difference from chance. Take at least 3" in shown
    assert "nothing can be said from these seeds" in shown


def test_failed_runs_are_reported_and_the_others_compared(tmp_path):
    failed = (("noisy_one", 0), ("noisy_one", 1), ("better_one", 2))
    found = results(tmp_path / "runs", failed=failed)
    shown = written(found, tmp_path)
    assert "Failed runs (3)" in shown and "noisy_one, seed 1: it collapsed" in shown
    assert "it collapsed" in (tmp_path / "comparison.html").read_text()
    rows = {row.loss: row for row in found.table("accuracy")}
    assert rows["better_one"].difference.seeds == 4 and rows["noisy_one"].seeds == 3


def test_a_first_loss_that_failed_altogether_has_no_differences(tmp_path):
    found = results(tmp_path / "runs", seeds=3, failed=tuple(("first", seed) for seed in range(3)))
    shown = written(found, tmp_path)
    assert [row.difference for row in found.table("accuracy")] == [None, None]
    assert "first, seed 0: it collapsed" in shown


def test_nothing_at_all(tmp_path):
    found = results(tmp_path / "runs", seeds=1, failed=tuple((loss, 0) for loss in LOSSES))
    assert "Failed runs (3)" in written(found, tmp_path)
    assert found.frame().empty and (tmp_path / "comparison.csv").exists()


def test_losses_that_were_measured_on_other_rows_are_no_pairs(tmp_path):
    runs = saved.runs(LOSSES[:2], 1)
    for run in runs:
        saved.save(run, tmp_path / run.folder, {"accuracy": 0.5}, measured_on=run.loss)
    with pytest.raises(RuntimeError, match="seed 0: the losses were not measured on the same rows"):
        Results.read(runs, lambda run: tmp_path / run.folder, {})


@pytest.mark.parametrize(
    ("kind", "main", "expected"),
    [
        (classes, "accuracy", {"confusion", "reliability"}),
        (lambda seed: classes(seed, 2), "accuracy", {"precision_recall", "reliability"}),
        (images, "mean_iou", {"masks"}),
        (vectors, "pair_accuracy", {"projection"}),
        (scores, "anomaly_auroc", {"precision_recall"}),
    ],
    ids=["classes", "two classes", "images", "vectors", "anomalies"],
)
def test_plots(kind, main, expected, tmp_path):
    written(results(tmp_path / "runs", seeds=3, arrays=kind, main=main), tmp_path)
    names = {"differences", "curves", *expected}
    assert {path.stem for path in tmp_path.glob("*.png")} == {path.stem for path in tmp_path.glob("*.svg")} == names
    first = {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")}
    written(results(tmp_path / "again", seeds=3, arrays=kind, main=main), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")} == first, "they can be committed"


def test_tables_without_matplotlib(tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "ludwig_losses.comparison.plots", raising=False)
    monkeypatch.delattr("ludwig_losses.comparison.plots", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    shown = written(results(tmp_path / "runs"), tmp_path)
    assert "pip install 'ludwig-losses[compare]'" in shown
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.md", "comparison.csv", "comparison.html", "runs"}


def intervals(found: Results, loss: str = "better_one", name: str = "accuracy") -> tuple:
    row = next(row for row in found.table(name) if row.loss == loss)
    return row.difference.interval, row.difference.new_rows


def predictions(seed: int, right: float, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What a run keeps that predicts a share of some of 200 rows right, the same ones for each seed but for a few."""
    generator = np.random.default_rng(0)
    truth = generator.integers(2, size=200)
    is_right = (generator.random(200) < right) ^ (np.random.default_rng(seed).random(200) < 0.05)
    predicted = np.where(is_right, truth, 1 - truth)
    kept = {"truth": truth, "predicted": predicted, "probabilities": np.eye(2)[predicted] * 0.8 + 0.1}
    of_rows = {name: values[rows] for name, values in kept.items()}
    return {**of_rows, "classes": np.array(["a", "b"]), "rows": rows.astype(np.uint64)}


def measured(folder: pathlib.Path, seeds: int, fixed: bool, **details: object) -> Results:
    """Two losses on 100 rows of which a seed, or all seeds, hold out half."""
    runs = saved.runs(["first", "better_one"], seeds)
    for run in runs:
        rows = np.random.default_rng(99 if fixed else run.seed).permutation(200)[:100]
        kept = predictions(run.seed, 0.7 if run.loss == "first" else 0.8, np.sort(rows))
        accuracy = float((kept["truth"] == kept["predicted"]).mean())
        trained_on = "all" if fixed else str(run.seed)
        metrics = {"accuracy": accuracy, "seconds_per_epoch": 1.0 + accuracy}
        saved.save(run, folder / run.folder, metrics, f"{trained_on} {run.seed}", trained_on=trained_on, **kept)
    return Results.read(runs, lambda run: folder / run.folder, {}, **details)


@pytest.mark.parametrize("fixed", [True, False])
def test_new_rows_vary_more_than_seeds(tmp_path, fixed):
    found = measured(tmp_path, 10, fixed)
    narrow, wide = intervals(found)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert found.correction == (0 if fixed else 20 / 70)
    # Ten seeds on 100 rows say no more than all 200 rows do: the rows alone have this standard error.
    of_rows = np.sqrt(2 * 0.2 * 0.3 / (100 if fixed else 200))
    assert (wide[1] - wide[0]) / 2 > 1.5 * of_rows
    assert intervals(found, name="seconds_per_epoch")[0] == intervals(found, name="seconds_per_epoch")[1]
    said = "other rows to train on may differ by more" if fixed else "each seed splits the rows anew"
    assert said in written(found, tmp_path)


@pytest.mark.parametrize("groups", [[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2]])
def test_partners_are_drawn_where_there_are_several_groups_of_them(groups, tmp_path):
    runs, generator = saved.runs(["first", "better_one"], 4), np.random.default_rng(0)
    for run in runs:
        # The two views of a pair are the same row.
        kept = {"vectors": generator.normal(size=(6, 3)), "groups": np.array(groups), "truth": np.zeros((6, 2))}
        rows = np.array(groups, dtype=np.uint64) + np.uint64(1)
        saved.save(run, tmp_path / run.folder, {"uniformity": generator.normal()}, **kept, rows=rows)
    (found,) = Results.read(runs, lambda run: tmp_path / run.folder, {}).differences()
    assert (found["new_rows"] is None) == (len({*groups}) == 1)


def test_rows_that_are_not_recognized_get_the_corrected_interval_alone(tmp_path):
    found = measured(tmp_path, 4, fixed=False)
    for run in found.runs:
        path = tmp_path / run.folder / "predictions.npz"
        kept = dict(np.load(path))
        np.savez(path, **{**kept, "rows": kept["rows"] + np.uint64(1000 * run.seed)})
    narrow, wide = intervals(Results(found.runs, found.found, {}, found.folders))
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(np.sqrt((1 / 4 + 20 / 70) * 4))


def test_the_level_is_corrected_for_losses_that_failed_too(tmp_path):
    """Those that have finished are the ones that were planned, less some by chance."""
    failed = tuple(("noisy_one", seed) for seed in range(5))
    found = results(tmp_path / "runs", failed=failed)
    complete = results(tmp_path / "complete")
    of_both = [next(row for row in of.table("accuracy") if row.loss == "better_one") for of in (found, complete)]
    assert of_both[0].difference.corrected == of_both[1].difference.corrected
    assert of_both[0].difference.corrected != of_both[0].difference.new_rows
    assert "97.5 %" in written(found, tmp_path)


def test_margins(tmp_path):
    wide = measured(tmp_path, 5, fixed=True, margins={"accuracy": 1.0})
    found = next(found for found in wide.differences() if found["metric"] == "accuracy")
    assert found["loss"] == "better_one" and found["chances"]["equal"] > 0.99
    assert "better / within 1 / worse" in written(wide, tmp_path)
