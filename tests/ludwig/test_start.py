"""The page "Start", followed to the letter but for the length of the trainings."""

from __future__ import annotations

import pathlib
import re
import runpy
import shlex

import commands
from ludwig_losses.cli import main

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "start.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(command: list[str], folder: pathlib.Path) -> None:
    program, *arguments = command
    if program == "python":
        runpy.run_path(arguments[0])
    elif program == "ludwig-losses":
        assert main(arguments) == 0
    else:
        assert program == "ludwig"
        process = commands.start(arguments, folder, folder / "ludwig.log")
        process.join()
        assert process.exitcode == 0, (folder / "ludwig.log").read_text()[-4000:]


def test_every_command_runs_and_writes_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (prepare,), (config,) = blocks("python"), blocks("yaml")
    pathlib.Path("prepare.py").write_text(prepare)
    pathlib.Path("config.yaml").write_text(config.replace("epochs: 20", "epochs: 2"))
    text = "\n".join(blocks("bash")).replace("\\\n", " ").replace("--seeds 3", "--seeds 1")
    typed = [line for line in text.splitlines() if line]
    shown = dict(re.findall(r"```bash\n(ludwig-losses check.*?)\n```\n\n```\n(.*?)```", PAGE, re.DOTALL))
    assert len(typed) == 6 and len(shown) == 1
    for line in typed:
        capsys.readouterr()
        run(shlex.split(line), tmp_path)
        if line in shown:
            # A library of Ludwig 0.11 may write a line of its own while it is imported.
            assert capsys.readouterr().out.endswith(shown[line])
    assert {"comparison.csv", "comparison.html", "comparison.md"} <= {
        path.name for path in pathlib.Path("results/compare").iterdir()
    }
    for written in re.findall(r"`((?:predicted|evaluated)/\S+)`", PAGE):
        assert pathlib.Path(written).exists()
