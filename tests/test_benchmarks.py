"""The page on speed shows the results that are committed."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def test_the_speed_table_is_the_one_of_the_results() -> None:
    spec = importlib.util.spec_from_file_location("report", ROOT / "benchmarks" / "report.py")
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    results = json.loads((ROOT / "benchmarks" / "results" / "losses.json").read_text())
    (table,) = re.findall(
        r"<!-- speed -->\n(.*?)\n<!-- /speed -->", (ROOT / "docs" / "guides" / "speed.md").read_text(), re.DOTALL
    )
    assert table == report.summary(results), (
        "run `python benchmarks/report.py` and paste its output into docs/guides/speed.md"
    )
