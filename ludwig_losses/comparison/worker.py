"""A process that does runs, one after the other.

It reads one line of JSON for each run from standard input and answers with one line on standard output. Ludwig, which
takes ten seconds to import, is imported once: before the first run the process may be asked to check the configuration,
too. The data of a seed is prepared once. What is printed goes to the log of the run. When standard input ends, because
the comparison is done or was killed, the process ends at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import queue
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ludwig_losses.comparison.files import whole, write_text
from ludwig_losses.comparison.plan import FAILURE, LOG, PREDICTIONS, RESULT, Run
from ludwig_losses.comparison.pool import decoded, encoded

if TYPE_CHECKING:
    from ludwig_losses.comparison.training import Trainings


def main() -> None:
    """Do runs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    from ludwig.globals import set_disable_progressbar

    from ludwig_losses.comparison.training import Trainings
    from ludwig_losses.host.config.schemas import each_checked_once

    set_disable_progressbar(True)
    trainings = Trainings()
    with each_checked_once():
        while True:
            task = tasks.get()
            answer = call(task["call"]) if "call" in task else _done(task, trainings)
            print(json.dumps(answer), file=answers, flush=True)


def _listen(tasks: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        tasks.put(json.loads(line))
    os._exit(0)


def _done(task: dict[str, Any], trainings: Trainings) -> dict[str, Any]:
    """Do the run of a task, in a process whose output goes to the log that the task names."""
    with open(task["log"], "ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    return {"reason": do(Run(**task["run"]), pathlib.Path(task["folder"]), task["keep_model"], trainings)}


def call(function: str) -> dict[str, str]:
    """Return what a function returns or raises, all as text; errors of Ludwig's own as those that they are kinds of."""
    try:
        return {"returned": encoded(decoded(function)())}
    except ValueError as error:
        return {"raised": encoded(ValueError(str(error)))}
    except OSError as error:
        return {"raised": encoded(error)}
    except Exception:
        return {"raised": encoded(RuntimeError(traceback.format_exc()))}


def do(run: Run, folder: pathlib.Path, keep_model: bool, trainings: Trainings) -> str | None:
    """Do a run and leave its result, or why there is none, in its folder; return the reason, or ``None``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin = time.perf_counter()
    with _logging_to(folder / LOG):
        try:
            outcome, details = trainings.train(run, folder, keep_model=keep_model)
            with whole(folder / PREDICTIONS) as part:
                np.savez_compressed(part, **outcome.arrays)  # type: ignore[arg-type]  # None is called allow_pickle.
            # Last, and at once: a run is done when this file is there.
            found = {"run": asdict(run), "metrics": outcome.metrics, "truth": outcome.truth, **details}
            found["duration"] = time.perf_counter() - begin
            write_text(folder / RESULT, _as_json(found))
        except Exception as error:
            reason = _reason(error)
            shutil.rmtree(folder / "training", ignore_errors=True)
            # The reason goes to the comparison, which reports it; a full disk takes neither of these.
            with contextlib.suppress(OSError):
                traceback.print_exc(file=sys.stdout)
                write_text(folder / FAILURE, _as_json({"loss": run.loss, "seed": run.seed, "reason": reason}))
            return reason
    return None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    # The text of a KeyError is the key alone.
    return f"{type(error).__name__}: {text}" if not text or isinstance(error, KeyError) else text


def _as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, default=str)


@contextlib.contextmanager
def _logging_to(path: pathlib.Path) -> Iterator[None]:
    """Send what this process and its libraries print to a file."""
    sys.stdout.flush()
    before = os.dup(1), os.dup(2)
    with path.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # What does not fit on a full disk is lost.
            sys.stdout.flush()
            sys.stderr.flush()
        for stream, descriptor in zip((1, 2), before, strict=True):
            os.dup2(descriptor, stream)
            os.close(descriptor)
