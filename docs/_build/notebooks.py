"""Notebooks of the examples: ``python docs/_build/notebooks.py FOLDER NAME...`` writes them and runs them.

A notebook has the README of its example, writes the files of the example beside itself, runs them as ``make`` does, and
shows the tables and plots that they write. The site has each of them, not run.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
from typing import Any

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"

_MADE = re.compile(r"```bash\n.*?```\n|<!-- table.*?<!-- /table -->\n|!\[.*?\]\(.*?\)\n", re.DOTALL)
_IMPORTED = re.compile(r"^ *(?:from|import) (\w+)", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\((?!http)[^)]*\)")

_SHOW = """from pathlib import Path

from IPython.display import SVG, Markdown, display

for table in sorted(Path("{results}").glob("*.md")):
    display(Markdown(table.read_text()))
for plot in sorted(Path("{results}").glob("*.svg")):
    display(SVG(str(plot)))"""


def notebook(name: str) -> dict[str, Any]:
    """Return the notebook of an example, as the format 4.5 has it."""
    readme = _MADE.sub("", (EXAMPLES / name / "README.md").read_text())
    question, _, answer = _LINK.sub(r"\1", readme).partition("\n## ")
    files = _files(name)
    folders = sorted({file.parent.as_posix() for file in files})
    arguments = f"examples/run.py {name}" if _is_compared(name) else f"examples/{name}/run.py"
    cells = [
        _cell("markdown", f"{question.strip()}\n\nIt needs ludwig-losses with its extras `examples` and `compare`."),
        _cell("code", f"import pathlib\n\nfor folder in {folders}:\n    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)"),
        *(_cell("code", f"%%writefile {file.as_posix()}\n{(EXAMPLES.parent / file).read_text()}") for file in files),
        _cell("code", f"%run {arguments} results/{name}"),
        _cell("code", _SHOW.format(results=f"results/{name}")),
        *([_cell("markdown", f"## {answer.strip()}")] if answer else []),
    ]
    numbered = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": numbered, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _is_compared(name: str) -> bool:
    """Whether the program that examples share compares the losses of this one."""
    return (EXAMPLES / name / "losses.yaml").exists()


def _files(name: str) -> list[pathlib.Path]:
    """What an example consists of, by paths in the repository: its own files, and those that it shares with others."""
    own = sorted(path for pattern in ("*.py", "*.yaml") for path in (EXAMPLES / name).glob(pattern))
    needed = set(_IMPORTED.findall("\n".join(path.read_text() for path in own if path.suffix == ".py")))
    needed |= {"run"} if _is_compared(name) else set()
    shared = [path for path in sorted(EXAMPLES.glob("*.py")) if path.stem in needed]
    return [path.relative_to(EXAMPLES.parent) for path in (*shared, *own)]


def _cell(kind: str, source: str) -> dict[str, Any]:
    code = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source, **code}


def run(book: dict[str, Any], path: pathlib.Path) -> Any:
    """Run a notebook in the folder of the path, and write it to the path with its output."""
    import nbformat
    from nbclient import NotebookClient

    found = nbformat.from_dict(book)
    NotebookClient(found, timeout=None, resources={"metadata": {"path": str(path.parent)}}).execute()
    path.write_text(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for example in sys.argv[2:]:
        run(notebook(example), folder / f"{example}.ipynb")
