"""Results of runs that nobody had to train, as they lie in a folder."""

from __future__ import annotations

import contextlib
import json
import pathlib
import resource
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from ludwig_losses.comparison.plan import PREDICTIONS, RESULT, Run, plan

CONFIG = {"output_features": [{"name": "y", "type": "category"}]}


@dataclass
class Batch:
    """As those of :mod:`ludwig_losses.host.model.held_out`, which imports Ludwig."""

    truth: np.ndarray
    predicted: dict[str, np.ndarray]
    image: None = None
    known_score: None = None
    quantiles: np.ndarray | None = None
    levels: np.ndarray | None = None


def runs(losses: list[str], seeds: int) -> list[Run]:
    named = {loss: {"type": loss} for loss in losses}
    return plan(CONFIG, named, range(seeds), index=0, dataset="d.csv", data="1")


def save(
    run: Run,
    folder: pathlib.Path,
    metrics: dict[str, float],
    measured_on: str = "rows",
    roles: dict | None = None,
    trained_on: str = "the same rows",
    validation: dict[str, float] | None = None,
    duration: float = 2.0,
    details: dict | None = None,
    **arrays: np.ndarray,
) -> None:
    """Leave what a run leaves."""
    folder.mkdir(parents=True)
    curves = {"validation": {"accuracy": [0.1, 0.2 + 0.01 * run.seed], "loss": [2.0, 1.0]}}
    rows = {"training": 70, "held_out": 20}
    content = {"run": asdict(run), "metrics": metrics, "truth": measured_on, "curves": curves, "rows": rows}
    content |= {"roles": roles or {}, "trained_on": trained_on, "duration": duration}
    content |= {} if validation is None else {"validation": validation}
    (folder / RESULT).write_text(json.dumps(content | {"epochs": 2, "seconds": 1.5} | (details or {})))
    np.savez(folder / PREDICTIONS, **arrays)


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """A context in which no larger file can be written, as on a full disk: the system refuses the rest."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
