"""What the examples show is what was measured, and their configurations and losses are valid."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from ludwig.schema.model_types.base import ModelConfig

from ludwig_losses.comparison import candidates
from ludwig_losses.comparison.plan import named_losses
from ludwig_losses.host.registry import find

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
MANY = EXAMPLES / "many_tables"
SCORES = ["loss", "metric", "value"]
CONFIGS = [path for path in sorted(EXAMPLES.glob("*/*.yaml")) if path.name != "losses.yaml"]


def program(path):
    """Return a program of the examples, of which several have the same name."""
    spec = importlib.util.spec_from_file_location(f"{path.stem}_of_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted(EXAMPLES.glob("*/README.md")), ids=lambda page: page.parent.name)
def test_the_pages_of_the_examples_show_what_was_measured(page):
    tables = re.findall(r"<!-- table ?(\S*) ?-->\n(.*?)<!-- /table -->", page.read_text(), re.DOTALL)
    assert tables == [(name, page.with_name(name or "table.md").read_text()) for name, _ in tables] != []


def test_every_example_has_a_page_with_a_picture():
    for folder in {path.parent for path in EXAMPLES.glob("*/*.py")}:
        (picture, *_) = re.findall(r"^!\[.+\]\((.*?)\)$", (folder / "README.md").read_text(), re.MULTILINE)
        assert (folder / picture).exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_configurations_of_the_examples_parse(path):
    ModelConfig.from_yaml(str(path))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/losses.yaml")), ids=lambda path: path.parent.name)
def test_the_losses_that_the_examples_compare_parse_and_one_of_each_family_is_chosen(path):
    plan = yaml.safe_load(path.read_text())
    losses = {**plan["reference"], **named_losses([loss for family in plan["families"].values() for loss in family])}
    config = yaml.safe_load(path.with_name("config.yaml").read_text())
    candidates.check(str(path), config, 0, losses)
    run = program(EXAMPLES / "run.py")
    scores = pd.DataFrame([(loss, plan.get("choose_by"), 0.5) for loss in run.tried(plan)], columns=SCORES)
    assert len(run.choose(plan, scores)) == len(plan["reference"]) + len(plan["families"])


@pytest.mark.parametrize("path", sorted(MANY.glob("*.csv")), ids=lambda path: path.stem)
def test_what_is_said_of_many_tables_follows_from_the_numbers(path, monkeypatch):
    monkeypatch.syspath_prepend(str(MANY))
    import summary

    said = path.with_suffix(".md").read_text()
    (facts,) = set(re.findall(r"^- (ludwig .*)$", said, re.MULTILINE))
    assert said == summary.page(path.stem, summary.read(path), facts)
    assert said in (MANY / "table.md").read_text()


def test_the_picture_of_what_is_gained_shows_the_numbers(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES.parent / "docs" / "_build"))
    import write

    drawn = write.numbers_of(MANY / "gain.svg")
    assert drawn == json.loads(write.gain().described_numbers()), "run `make docs-write`"
    assert (MANY / "gain.md").read_text() == write.gain().table(), "run `make docs-write`"
    means = pd.read_csv(MANY / "imbalance.csv").groupby("loss").mean(numeric_only=True)
    (gained, *_) = [row for row in drawn["metrics"] if row["verdict"] == "better"]
    for key, loss in (("before", "cross-entropy"), ("after", "logit_adjusted_loss")):
        assert gained[key] == pytest.approx(means.loc[loss, gained["metric"]], abs=5e-4)


def test_what_is_said_of_counts_follows_from_the_numbers(monkeypatch):
    monkeypatch.syspath_prepend(str(MANY))
    folder = EXAMPLES / "counts"
    report, frame, said = (
        program(folder / "report.py"),
        pd.read_csv(folder / "counts.csv"),
        (folder / "table.md").read_text(),
    )
    assert frame.table.nunique() >= 4 and (frame.groupby(["table", "loss"]).seed.nunique() == 5).all()
    (facts,) = re.findall(r"^- (ludwig .*)$", said, re.MULTILINE)
    assert said == report.page(frame, facts)
    assert report.single_tables(frame) == (folder / "tables.md").read_text()


def test_what_is_said_of_intervals_follows_from_the_numbers():
    folder = EXAMPLES / "intervals"
    summary = program(folder / "summary.py")
    frame = pd.read_csv(folder / "intervals.csv")
    tables, seeds = frame.table.nunique(), frame.seed.nunique()
    assert tables >= 5 and seeds >= 5 and find("quantile_loss").advice.found.endswith(f", {tables} tables")
    assert summary.methods(frame) == (folder / "table.md").read_text()
    assert summary.single_tables(frame) == (folder / "tables.md").read_text()
    assert summary.of_series(pd.read_csv(folder / "series.csv")) == (folder / "series.md").read_text()


def test_a_number_is_measured_as_the_class_that_it_is_rounded_to(monkeypatch):
    monkeypatch.syspath_prepend(str(MANY))
    import rounded

    found = rounded.metrics(np.array([-0.7, 0.4, 2.6, 9.0]), np.array([0, 1, 2, 2]), classes=3)  # as 0, 0, 2, 2
    assert found["rank_mae"] == 0.25 and found["accuracy"] == 0.75
    # The sum of (p - t)**2 is 1; over all 16 pairs of a prediction and a truth it is 28, so 7 for four by chance.
    assert found["quadratic_weighted_kappa"] == pytest.approx(1 - 1 / 7)
    kept = {"truth": np.array([2, 0, 1]), "classes": np.array(["level 1", "level 3", "level 2"])}
    assert rounded.ranks_of(kept, np.array(["level 1", "level 2", "level 3"])).tolist() == [1, 0, 2]


def test_an_interval_that_ends_at_one_half_is_no_verdict(monkeypatch):
    monkeypatch.syspath_prepend(str(MANY))
    import summary

    better = {"a": 0, "b": 2, "c": 1, "d": 0, "e": 1, "f": 0}  # Of three seeds: a mean of 0.5 is 0.49999999999999994.
    gains = {(table, seed): 1.0 if seed < count else -1.0 for table, count in better.items() for seed in range(3)}
    gain = pd.Series(gains).rename_axis(["table", "seed"])
    assert (summary._improvement(gain, comparisons=4) | {"probability": 0, "low": 0}) == {
        "probability": 0,
        "low": 0,
        "high": 0.5,
        "verdict": "no difference",
    }


def test_a_verdict_over_tables_needs_an_interval_on_one_side(monkeypatch):
    monkeypatch.syspath_prepend(str(MANY))
    import summary

    gains = {"helps": [1, 1, 1], "harms": [-1, -1, -1], "depends on the table": [1, -1, 0]}
    rows = [
        (f"table {table}", loss, seed, "accuracy", 0.8 + 0.01 * gain[table % 3])
        for table in range(12)
        for loss, gain in {"reference": [0, 0, 0], **gains}.items()
        for seed in range(2)
    ]
    frame = pd.DataFrame(rows, columns=["table", "loss", "seed", "metric", "value"])
    found = summary.summary(frame).set_index("loss")
    assert found.verdict[1:].to_dict() == {
        "helps": "helped",
        "harms": "worse",
        "depends on the table": "no difference",
    }
    assert found.probability[1:].tolist() == [1, 0, 0.5]
    assert found["rank"].to_dict() == pytest.approx(
        {"reference": 5 / 2, "helps": 7 / 6, "harms": 23 / 6, "depends on the table": 5 / 2}
    )
    # Table 5 (a) of Demsar, JMLR 2006, has 2.728 for five methods.
    assert summary.critical_difference(5, 30) == pytest.approx(2.728 * (5 * 6 / 6 / 30) ** 0.5, abs=1e-3)
    with pytest.raises(ValueError, match="accuracy: not every table"):
        summary.summary(frame[1:])


@pytest.mark.parametrize(
    ("name", "part", "row"),
    [
        ("focal_loss", "imbalance", "focal_loss, balanced"),
        ("logit_adjusted_loss", "imbalance", "logit_adjusted_loss"),
        ("poly_loss", "imbalance", "poly_loss"),
        ("corn", "order", "corn"),
        ("tempered_softmax_cross_entropy", "noise", "tempered_softmax_cross_entropy"),
        ("generalized_cross_entropy", "noise", "generalized_cross_entropy"),
        ("deep_sad", "anomalies", "deep_sad, 1% labelled"),
        ("deep_svdd", "anomalies", "deep_svdd"),
        ("drocc", "anomalies", "drocc"),
        ("poisson_nll_loss", "counts", "poisson_nll_loss"),
        ("tweedie_loss", "counts", "tweedie_loss"),
        ("gaussian_nll_loss", "counts", "gaussian_nll_loss"),
        ("log_cosh_loss", "counts", "log_cosh_loss"),
    ],
)
def test_the_advice_says_what_many_tables_say(name, part, row, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES.parent / "docs" / "_build"))
    import write

    advice = find(name).advice
    verdict, tables, metric = re.fullmatch(r"(.*), (\d+) tables, by (\w+)", advice.found).groups()
    # With noisy labels the last section, with the most of them, decides.
    counted, found = write.over_tables(part, row, [*write.sections_of_tables(part)][-1])
    assert advice.evidence == (part if part == "counts" else "many_tables")
    assert (int(tables), verdict) == (counted, found[metric][0])
