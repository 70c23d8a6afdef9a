"""Runs of ``ludwig_losses.compare`` in this process, for examples that call it for many tables."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any


@contextlib.contextmanager
def runs_in_this_process() -> Iterator[None]:
    """`compare` starts a process for each call, which imports Ludwig: here that would take longer than the runs."""
    import gc

    from ludwig.globals import set_disable_progressbar

    from ludwig_losses.comparison import pool, worker
    from ludwig_losses.comparison.training import Trainings
    from ludwig_losses.host.config.schemas import each_checked_once

    def do_all(runs: Sequence[Any], folder: Callable, done: Callable, *, keep_models: bool, **_: Any) -> None:
        trainings = Trainings()
        for run in runs:
            done(run, worker.do(run, folder(run), keep_models, trainings))

    set_disable_progressbar(True)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    gc.freeze()  # Ludwig collects garbage after each training: not among what was imported.
    in_processes, pool.do_all = pool.do_all, do_all
    try:
        with each_checked_once():
            yield
    finally:
        pool.do_all = in_processes
