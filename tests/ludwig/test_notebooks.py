"""The notebooks of the examples: each has what its example consists of, and a quick one runs."""

from __future__ import annotations

import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "_build" / "notebooks.py")
notebooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(notebooks)

NAMES = sorted(page.parent.name for page in ROOT.glob("examples/*/README.md"))


@pytest.mark.parametrize("name", NAMES)
def test_every_program_of_a_notebook_is_there(name):
    sources = [cell["source"] for cell in notebooks.notebook(name)["cells"]]
    written = [source.split("\n")[0].split()[1] for source in sources if source.startswith("%%writefile ")]
    (command,) = [source.split() for source in sources if source.startswith("%run ")]
    assert command[1] in written and command[-1] == f"results/{name}"
    assert all((ROOT / path).exists() for path in written)
    shared = {path.stem for path in ROOT.glob("examples/*.py")}
    imported = {
        module for source in sources for module in re.findall(r"^ *(?:from|import) (\w+)", source, re.MULTILINE)
    }
    assert {f"examples/{module}.py" for module in shared & imported} <= {*written}


def test_the_notebook_of_a_quick_example_runs(tmp_path):
    book = notebooks.notebook("breast_cancer")
    (program,) = [cell for cell in book["cells"] if "SEEDS = (0, 1, 2)" in cell["source"]]
    program["source"] = program["source"].replace("SEEDS = (0, 1, 2)", "SEEDS = (0,)")  # To save time.
    outputs = [
        output for cell in notebooks.run(book, tmp_path / "run.ipynb").cells for output in cell.get("outputs", ())
    ]
    shown = {kind for output in outputs for kind in output.get("data", ())}
    assert {"text/markdown", "image/svg+xml"} <= shown
    # Focal loss with more weight on malignant tumours misses fewer of them.
    rows = (tmp_path / "results" / "breast_cancer" / "table.md").read_text().splitlines()[2:]
    found = {row.split(" | ")[0].strip("| "): float(row.split(" | ")[1].split()[0]) for row in rows}
    assert found["focal"] > found["cross_entropy"]
