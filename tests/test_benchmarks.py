"""The page on speed shows the results that are committed."""

from __future__ import annotations

import importlib.util
import json
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[1]


def test_the_intervals_of_comparisons_hold() -> None:
    """The committed simulation; three lines of it may be wider than they have to be, none may be narrower."""
    text = (ROOT / "benchmarks" / "results" / "coverage.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if " % |" in line]
    assert len(rows) == 36
    coverage = [float(row[6].removesuffix(" %")) for row in rows]
    assert min(coverage) >= 93 and max(coverage) < 99.5 and sum(share > 98 for share in coverage) <= 3
    # With a fixed split the training rows make one of two different learners better.
    equal = [
        row for row in rows if row[0].startswith("the same") or (row[0].startswith("more") and row[1] == "by seed")
    ]
    assert len(equal) == 18 and all(float(row[7].removesuffix(" %")) <= 5 for row in equal)


def test_calibrated_intervals_hold_where_other_rows_choose_the_epoch() -> None:
    """The committed simulation: the last epoch, and the epoch that the other half of the validation rows has chosen."""
    text = (ROOT / "benchmarks" / "results" / "epochs.md").read_text()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    assert [row[0] for row in rows] == ["30", "100", "300"]
    for row in rows:
        cells = dict(zip(head, row, strict=True))
        for way, calibrated_by in (("the last epoch", 1), ("half of the rows calibrate", 2)):
            coverage, error = (float(part.strip().removesuffix("%")) for part in cells[way].split("±"))
            rows_used = int(row[0]) // calibrated_by
            promised = 100 * math.ceil(round((rows_used + 1) * 0.9, 9)) / (rows_used + 1)
            # Figures are rounded to 0.1.
            assert abs(coverage - promised) < 3.5 * (error + 0.05) + 0.05


def test_a_repetition_of_the_simulation() -> None:
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", ROOT / "benchmarks" / "coverage.py")
    coverage = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = coverage  # where dataclasses look for it
    spec.loader.exec_module(coverage)
    found = coverage.answers(0)
    assert len(found) == 36 and coverage.table(found).count("\n") == 40
    assert {answer.truth for answer in found if answer.cell[0] == coverage.SAME and answer.cell[2] == "fixed"} == {0.0}


def test_the_tables_on_speed_are_those_of_the_results() -> None:
    spec = importlib.util.spec_from_file_location("report", ROOT / "benchmarks" / "report.py")
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    results, on_gpu = (
        json.loads((ROOT / "benchmarks" / "results" / name).read_text()) for name in ("losses.json", "losses-cuda.json")
    )
    page = (ROOT / "docs" / "guides" / "speed.md").read_text()
    for name, expected in (
        ("speed", report.summary(results)),
        ("small", report.summary_of_small(results)),
        ("gpu", report.summary_of_gpu(on_gpu)),
    ):
        (table,) = re.findall(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.DOTALL)
        assert table == expected, "run `python benchmarks/report.py` and paste its output into docs/guides/speed.md"


def test_the_table_of_compiled_losses_is_that_of_the_results() -> None:
    page = (ROOT / "docs" / "guides" / "speed.md").read_text()
    (table,) = re.findall(r"<!-- compiled -->\n(.*?)\n<!-- /compiled -->", page, re.DOTALL)
    assert table == (ROOT / "benchmarks" / "results" / "compiled.md").read_text().split("\n\n")[-1].strip()
