"""Processes side by side: one that dies costs its run, and nothing else."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time

import pytest

import saved
from ludwig_losses.comparison import pool

# In place of a training: a run of the loss `dies` kills its process, one of `fails` has a reason to.
PROGRAM = """
import json, os, pathlib, signal, sys
for line in sys.stdin:
    task = json.loads(line)
    folder = pathlib.Path(task["folder"])
    with folder.joinpath("done.txt").open("a") as file:
        print(os.getpid(), task["run"]["loss"], os.environ["OMP_NUM_THREADS"], file=file)
    if task["run"]["loss"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if task["run"]["loss"] == "hangs":
        import time
        time.sleep(600)
    print(json.dumps({"reason": "because" if task["run"]["loss"] == "fails" else None}), flush=True)
"""


@pytest.fixture(autouse=True)
def program(monkeypatch):
    monkeypatch.setattr(pool, "_PROGRAM", PROGRAM.replace("{", "{{").replace("}", "}}"))


def do(losses: list[str], folder: pathlib.Path, workers: int) -> tuple[dict[str, str | None], list[str]]:
    reasons = {}
    with pool.Crew(workers, None) as crew:
        pool.do_all(
            saved.runs(losses, 1),
            lambda run: folder,
            lambda run, reason: reasons.update({run.loss: reason}),
            crew=crew,
            keep_models=False,
            log_folder=folder,
        )
    return reasons, (folder / "done.txt").read_text().splitlines()


def test_one_process_does_all_runs_until_it_dies(tmp_path):
    reasons, done = do(["a", "fails", "dies", "b"], tmp_path, workers=1)
    assert (reasons["a"], reasons["fails"], reasons["b"]) == (None, "because", None)
    assert reasons["dies"].startswith("the process that trained it was killed (SIGKILL)")
    processes = [line.split()[0] for line in done]
    assert processes[0] == processes[1] == processes[2] != processes[3]


def test_several_processes_share_the_runs(tmp_path):
    reasons, done = do(list("abcdef"), tmp_path, workers=2)
    assert reasons == dict.fromkeys("abcdef") and len(done) == 6


def test_an_error_of_the_caller_ends_the_processes(tmp_path):
    def interrupted(run: object, reason: object) -> None:
        raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pool.do_all(
            saved.runs(["a", "hangs", "b"], 1), lambda run: tmp_path, interrupted,
            crew=pool.Crew(2, None), keep_models=False, log_folder=tmp_path,
        )  # fmt: skip
    assert time.monotonic() - begin < 300, "nobody waited for the run that hangs"


def test_gpus_are_shared_among_the_processes():
    visible = [pool.environment(index, 3, [0, 1])["CUDA_VISIBLE_DEVICES"] for index in range(3)]
    assert visible == ["0", "1", "0"]
    assert pool.environment(0, 1, [0, 1])["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert pool.environment(0, 1, [-1])["CUDA_VISIBLE_DEVICES"] == ""


def test_a_worker_ends_when_nobody_talks_to_it_any_more(tmp_path):
    """As after kill -9 of the comparison: a pipe whose other end is gone."""
    program = (
        "import time; from ludwig_losses.comparison import worker; import queue; worker._listen(queue.SimpleQueue())"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    process.stdin.close()
    assert process.wait(timeout=300) == 0
