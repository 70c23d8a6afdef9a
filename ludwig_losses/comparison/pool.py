"""Parallel processes that do training runs."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from types import TracebackType
from typing import Any, TypeVar

from ludwig_losses.comparison.plan import Run

# The workers import the package from the same place.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from ludwig_losses.comparison.worker import main; main()"

Done = Callable[[Run, "str | None"], None]
_T = TypeVar("_T")


class Stopped(Exception):
    """The process was told to end."""


class Worker:
    """A process that does runs, started anew if it has died."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False
        self.lock = threading.Lock()

    def do(self, run: Run, folder: pathlib.Path, keep_model: bool, log: pathlib.Path) -> str | None:
        """Return why a run has no result, or ``None`` if it has one.

        Args:
            run: to be done.
            folder: of its results.
            keep_model: whether to keep the trained model.
            log: for what the process has to say beside the log of the run.

        Raises:
            Stopped: :meth:`stop` was called.
        """
        task = {"run": asdict(run), "folder": str(folder), "keep_model": keep_model, "log": str(log)}
        answer, status = self._ask(task, log)
        if answer is not None:
            return answer["reason"]
        return f"the process that trained it {_ended(status)}; see {log} and the log of the run."

    def call(self, function: Callable[[], _T]) -> _T:
        """Return what a function returns in the process; what it prints there goes to standard error.

        Raises:
            ValueError, OSError: as the function does, or the process has ended.
            RuntimeError: the function has failed otherwise.
        """
        answer, status = self._ask({"call": encoded(function)})
        if answer is None:
            raise ChildProcessError(f"the process that was to read the configuration {_ended(status)}.")
        if "raised" in answer:
            raise decoded(answer["raised"])
        return decoded(answer["returned"])

    def _ask(self, task: dict[str, Any], log: pathlib.Path | None = None) -> tuple[dict[str, Any] | None, int]:
        """Return what the process answers, or ``None`` with its status if it has ended."""
        process = self.begin(log)
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # It died while starting: there is no answer either.
            print(json.dumps(task), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if answer:
            return json.loads(answer), 0
        status = process.wait()
        with self.lock:
            self.process = None
            if self.stopped:
                raise Stopped
        return None, status

    def begin(self, log: pathlib.Path | None = None) -> subprocess.Popen[str]:
        """Start the process, if it does not run yet; without a log it writes to standard error until it has a run."""
        with self.lock:
            if self.stopped:
                raise Stopped
            if self.process is None:
                with contextlib.nullcontext() if log is None else log.open("a") as stream:
                    self.process = subprocess.Popen(
                        [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=stream,
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


def encoded(value: Any) -> str:
    """Return a value as text, for a process that imports the same modules."""
    return base64.b64encode(pickle.dumps(value)).decode()


def decoded(text: str) -> Any:
    """Return the value of a text."""
    return pickle.loads(base64.b64decode(text))


class Crew:
    """The processes of one comparison, which end with it; they are started when they are needed.

    Args:
        count: how many of them there may be.
        gpus: the numbers of those to use.
    """

    def __init__(self, count: int, gpus: Sequence[int] | None) -> None:
        self.count = count
        self.gpus = gpus
        self.workers: list[Worker] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def of(self, count: int) -> list[Worker]:
        """Return so many of the processes, with the share of the machine that each of them gets."""
        environments = [environment(index, count, self.gpus) for index in range(count)]
        if [worker.environment for worker in self.workers] != environments:
            kept = self.workers[:1] if self.workers and self.workers[0].environment == environments[0] else []
            self._end(self.workers[len(kept) :])
            self.workers = kept + [Worker(of) for of in environments[len(kept) :]]
        return self.workers

    def begin(self) -> None:
        """Start the first process."""
        self.of(self.count)[0].begin()

    def call(self, function: Callable[[], _T]) -> _T:
        """Return what a function returns in the first process, as :meth:`Worker.call` does."""
        return self.of(self.count)[0].call(function)

    def stop(self) -> None:
        """End the processes at once."""
        self._end(self.workers)
        self.workers = []

    def _end(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            worker.stop()


def do_all(
    runs: Sequence[Run],
    folder: Callable[[Run], pathlib.Path],
    done: Done,
    *,
    crew: Crew,
    keep_models: bool,
    log_folder: pathlib.Path,
) -> None:
    """Do runs in several processes; call ``done`` in this thread after each, with the reason where it has failed."""
    count = min(crew.count, len(runs))
    if not count:
        return
    free: queue.SimpleQueue[tuple[int, Worker]] = queue.SimpleQueue()
    for numbered in enumerate(crew.of(count)):
        free.put(numbered)

    def do(run: Run) -> str | None:
        number, worker = free.get()
        try:
            return worker.do(run, folder(run), keep_models, log_folder / f"worker{number}.txt")
        finally:
            free.put((number, worker))

    with ThreadPoolExecutor(count) as threads:
        futures = {threads.submit(do, run): run for run in runs}
        try:
            for future in as_completed(futures):
                done(futures[future], future.result())
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            crew.stop()
            raise


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
