"""The page on speed shows the results that are committed."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


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
