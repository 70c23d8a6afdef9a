"""Files that are there whole or not at all, and folders that one comparison at a time writes to."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import saved
from ludwig_losses.comparison import api, files, plan, preparing, worker
from ludwig_losses.comparison.plan import FAILURE, LOG, PREDICTIONS, RESULT


def test_a_file_that_does_not_fit_is_not_there(tmp_path):
    path = tmp_path / "results.txt"
    files.write_text(path, "before")
    with saved.files_up_to(1000), pytest.raises(OSError, match=r"results\.txt") as caught:
        files.write_text(path, "x" * 5000)
    assert caught.value.filename == str(path) and path.read_text() == "before"
    assert [*tmp_path.iterdir()] == [path]


def test_any_other_error_leaves_no_part(tmp_path):
    def write() -> None:
        with files.whole(tmp_path / "a.csv") as part:
            part.write_text("some")
            raise KeyError("of the caller")

    with pytest.raises(KeyError):
        write()
    assert not [*tmp_path.iterdir()]


def test_a_second_comparison_says_who_writes_to_the_folder(tmp_path):
    with (
        files.held(tmp_path),
        pytest.raises(ValueError, match=rf"another comparison \(process {os.getpid()} on .*since"),
    ):
        files.held(tmp_path).__enter__()
    with files.held(tmp_path):
        pass


OPTIONS = dict.fromkeys(
    ("output_feature", "split", "noise", "baseline", "tune", "choose_by", "budget", "miss_cost"), None
) | {"seeds": [0]}


def test_tables_have_files_of_their_own_while_they_are_compared(tmp_path, monkeypatch):
    paths = []
    for number in (1.0, 2.0):
        frame = pd.DataFrame({"x": [number], "y": ["a"]})
        asked = preparing.Asked.of({}, frame, ["a"], tmp_path, tries=None, **OPTIONS)
        with api._readable(frame, path := asked.path):
            assert plan.load(path).equals(frame) and plan.fingerprint_of(plan.load(path)) == plan.fingerprint_of(frame)
        paths.append(path)
    assert len({*paths}) == 2 and not [*tmp_path.iterdir()]
    (tmp_path / "some.csv").write_text("x,y")
    monkeypatch.chdir(tmp_path)
    path = preparing.Asked.of({}, "some.csv", ["a"], tmp_path, tries=None, **OPTIONS).path
    with api._readable("some.csv", path):
        assert path == os.path.abspath("some.csv") == plan.load(path)
    assert pathlib.Path(path).exists()


def test_a_comparison_that_was_killed_holds_nothing(tmp_path):
    program = (
        "import sys, pathlib; from ludwig_losses.comparison.files import held; "
        "lock = held(pathlib.Path(sys.argv[1])); lock.__enter__(); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"process {process.pid} on"):
        files.held(tmp_path).__enter__()
    process.kill()
    process.wait()
    with files.held(tmp_path):
        assert json.loads((tmp_path / ".holder.json").read_text())["process"] == os.getpid()


def trained(*_: object, **__: object) -> tuple[SimpleNamespace, dict]:
    arrays = {"truth": np.random.default_rng(0).random(5000)}
    return SimpleNamespace(metrics={"accuracy": 0.5}, arrays=arrays, truth="rows"), {"epochs": 1}


def test_a_run_whose_results_do_not_fit_has_failed_and_says_which_file(tmp_path):
    (run,) = saved.runs(["a"], 1)
    folder = tmp_path / "run"
    with saved.files_up_to(2000):
        reason = worker.do(run, folder, False, SimpleNamespace(train=trained))
    assert PREDICTIONS in reason and str(folder) in reason
    names = {path.name for path in folder.iterdir()}
    assert RESULT not in names and PREDICTIONS not in names and names <= {LOG, FAILURE}
    assert worker.do(run, folder, False, SimpleNamespace(train=trained)) is None
    assert {path.name for path in folder.iterdir()} == {LOG, RESULT, PREDICTIONS}


def test_the_reason_of_a_failure_names_what_kind_it_is(tmp_path):
    def fails(*_: object, **__: object) -> None:
        raise KeyError("nope")

    (run,) = saved.runs(["a"], 1)
    assert worker.do(run, tmp_path / "run", False, SimpleNamespace(train=fails)) == "KeyError: 'nope'"
    assert json.loads((tmp_path / "run" / FAILURE).read_text())["reason"] == "KeyError: 'nope'"
