"""Parallel processes that do training runs."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict

from ludwig_losses.comparison.plan import Run

# The workers import the package from the same place.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from ludwig_losses.comparison.worker import main; main()"

Done = Callable[[Run, "str | None"], None]


class Stopped(Exception):
    """The process was told to end."""


class Worker:
    """A process that does runs, started anew if it has died."""

    def __init__(self, environment: dict[str, str], log: pathlib.Path) -> None:
        self.environment = environment
        self.log = log
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False
        self.lock = threading.Lock()

    def do(self, run: Run, folder: pathlib.Path, keep_model: bool) -> str | None:
        """Return why a run has no result, or ``None`` if it has one.

        Raises:
            Stopped: :meth:`stop` was called.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        task = {"run": asdict(run), "folder": str(folder), "keep_model": keep_model}
        with contextlib.suppress(BrokenPipeError):  # It died while starting: there is no answer either.
            print(json.dumps(task), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if answer:
            return json.loads(answer)["reason"]
        status = process.wait()
        with self.lock:
            self.process = None
            if self.stopped:
                raise Stopped
        return f"the process that trained it {_ended(status)}; see {self.log} and the log of the run."

    def _started(self) -> subprocess.Popen[str]:
        with self.lock:
            if self.stopped:
                raise Stopped
            if self.process is None:
                with self.log.open("a") as log:
                    self.process = subprocess.Popen(
                        [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                        env=self.environment,
                        # An interrupt is for the comparison: Ludwig would take it as the end of the training.
                        start_new_session=True,
                    )
            return self.process

    def stop(self) -> None:
        """End the process at once."""
        with self.lock:
            self.stopped = True
            if self.process is not None:
                self.process.kill()


def _ended(status: int) -> str:
    return f"was killed ({signal.Signals(-status).name})" if status < 0 else f"ended with status {status}"


def do_all(
    runs: Sequence[Run],
    folder: Callable[[Run], pathlib.Path],
    done: Done,
    *,
    workers: int,
    gpus: Sequence[int] | None,
    keep_models: bool,
    log_folder: pathlib.Path,
) -> None:
    """Do runs in several processes; call ``done`` in this thread after each, with the reason where it has failed."""
    count = min(workers, len(runs))
    if not count:
        return
    crew = [Worker(environment(i, count, gpus), log_folder / f"worker{i}.txt") for i in range(count)]
    free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for worker in crew:
        free.put(worker)

    def do(run: Run) -> str | None:
        worker = free.get()
        try:
            return worker.do(run, folder(run), keep_models)
        finally:
            free.put(worker)

    with ThreadPoolExecutor(count) as threads:
        futures = {threads.submit(do, run): run for run in runs}
        try:
            for future in as_completed(futures):
                done(futures[future], future.result())
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for worker in crew:
                worker.stop()


def environment(index: int, workers: int, gpus: Sequence[int] | None) -> dict[str, str]:
    """Return the environment of a worker: its share of the cores, and its GPU where there are several workers."""
    threads = str(max((os.cpu_count() or 1) // workers, 1))
    found = {"OMP_NUM_THREADS": threads, **os.environ}
    # Results must not depend on the order of sets of strings.
    found.setdefault("PYTHONHASHSEED", "0")
    if gpus is not None:
        mine = [gpu for gpu in gpus if gpu >= 0]
        if mine and workers > 1:
            mine = [mine[index % len(mine)]]
        found["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, mine))
    return found
