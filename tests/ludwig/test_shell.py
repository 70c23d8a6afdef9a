"""What README and site tell to type, typed; trainings and comparisons are shorter."""

from __future__ import annotations

import pathlib
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml

import commands
import matrix
from ludwig_losses.cli import main
from ludwig_losses.comparison import pool, worker
from ludwig_losses.comparison.plan import Run
from ludwig_losses.comparison.training import Trainings

ROOT = pathlib.Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
START = "docs/start.md"
# test_plugins.py follows it.
OWN_LOSS = "docs/guides/own_loss.md"
# Needs installations, or is run by test_distributed.py.
ELSEWHERE = ("pip ", "make ", "torchrun ", "ludwig hyperopt ")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def typed(page: str) -> list[str]:
    """Return the commands of a page that are run here, without what stands behind a `#`."""
    text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(ELSEWHERE)]


OTHERS = {page: typed(page) for page in PAGES if page not in (START, OWN_LOSS) and typed(page)}


@pytest.fixture(autouse=True)
def comparisons_import_nothing(monkeypatch):
    """Do the runs of a comparison in this process, which has imported Ludwig. test_compare.py does them in others."""

    def do_all(
        runs: Sequence[Run], folder: Callable[[Run], pathlib.Path], done: pool.Done, *, keep_models: bool, **_: Any
    ) -> None:
        trainings = Trainings()
        for run in runs:
            done(run, worker.do(run, folder(run), keep_models, trainings))

    monkeypatch.setattr(pool, "do_all", do_all)


def run(line: str, folder: pathlib.Path) -> None:
    program, *arguments = shlex.split(line, comments=True)
    if program == "python" and arguments[0] == "-c":
        assert subprocess.check_output([sys.executable, *arguments], cwd=folder, text=True) == "True\n"
    elif program == "python":
        runpy.run_path(arguments[0])
    elif program == "ludwig-losses":
        fewer = ("--seeds", "1") if arguments[0] == "compare" else ()
        fewer += ("--budget", "4") if "--tune" in arguments else ()
        assert main([*arguments, *fewer]) == 0
    else:
        assert program == "ludwig"
        commands.run(commands.ludwig, *arguments, folder=folder, log="ludwig.log")


def test_every_command_of_start_writes_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (prepare,), (config,) = blocks(START, "python"), blocks(START, "yaml")
    pathlib.Path("prepare.py").write_text(prepare)
    pathlib.Path("config.yaml").write_text(config.replace("epochs: 20", "epochs: 2"))
    shown = dict(re.findall(r"```bash\n(ludwig-losses check.*?)\n```\n\n```\n(.*?)```", PAGES[START], re.DOTALL))
    lines = typed(START)
    assert len(lines) == 6 and len(shown) == 1 and {*shown} <= {*lines}
    for line in lines:
        capsys.readouterr()
        run(line, tmp_path)
        if line in shown:
            # A library of Ludwig 0.11 may write a line of its own while it is imported.
            assert capsys.readouterr().out.endswith(shown[line])
    pathlib.Path("typo.yaml").write_text(config.replace("gamma:", "gama:"))
    capsys.readouterr()
    assert main(["check", "typo.yaml"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "gama" in said and said in " ".join(PAGES[START].split())
    assert {"comparison.csv", "comparison.html", "comparison.md"} <= {
        path.name for path in pathlib.Path("results/compare").iterdir()
    }
    files = re.findall(r"`((?:predicted|evaluated)/\S+)`", PAGES[START])
    assert files and all(pathlib.Path(file).exists() for file in files)


@pytest.mark.parametrize("page", OTHERS)
def test_every_command_of_the_other_pages_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page == "README.md":  # Configuration and data of Start.
        exec(blocks(START, "python")[0])
        pathlib.Path("tumours.csv").rename("data.csv")
        config = yaml.safe_load(blocks(START, "yaml")[0])
    elif page == "docs/guides/tuning.md":
        exec(blocks(START, "python")[0])
        config = yaml.safe_load(blocks(START, "yaml")[0])
    else:
        config, _ = matrix.write("category", {"type": "focal_loss"}, tmp_path)
    config["trainer"]["epochs"] = 2
    pathlib.Path("config.yaml").write_text(yaml.safe_dump(config))
    for line in OTHERS[page]:
        run(line, tmp_path)
