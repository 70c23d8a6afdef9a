"""The results of the runs of a comparison, in the form that tables need."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ludwig_losses.comparison.plan import PREDICTIONS, RESULT, Run
from ludwig_losses.comparison.roles import Roles
from ludwig_losses.comparison.statistics import Difference, compare_pairs
from ludwig_losses.metrics.catalogue import METRICS, metric

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """A loss in the table of a metric.

    Args:
        loss: as tables call it.
        mean: over seeds.
        deviation: of the seeds; ``None`` for a single one.
        seeds: how many there are.
        difference: to the first loss; ``None`` for that loss itself, and where there is no common seed.
    """

    loss: str
    mean: float
    deviation: float | None
    seeds: int
    difference: Difference | None


@dataclass(frozen=True)
class Results:
    """The results of runs.

    Args:
        runs: all of them, also those that have failed.
        found: what they have left, by loss and seed.
        failed: why others have failed, by loss and seed.
        folders: where they are, by loss and seed.
    """

    runs: Sequence[Run]
    found: Mapping[tuple[str, int], dict[str, Any]]
    failed: Mapping[tuple[str, int], str]
    folders: Mapping[tuple[str, int], pathlib.Path]

    @classmethod
    def read(cls, runs: Sequence[Run], folder: Callable[[Run], pathlib.Path], failed: Mapping[Run, str]) -> Results:
        """Read the results of the runs that have not failed.

        Raises:
            RuntimeError: two losses were not measured on the same rows.
        """
        folders = {(run.loss, run.seed): folder(run) for run in runs}
        reasons = {(run.loss, run.seed): reason for run, reason in failed.items()}
        found = {
            key: json.loads((path / RESULT).read_text(encoding="utf-8"))
            for key, path in folders.items()
            if key not in reasons
        }
        results = cls(runs, found, reasons, folders)
        for seed in results.seeds:
            if len({result["truth"] for (_, of), result in found.items() if of == seed}) > 1:
                raise RuntimeError(
                    f"seed {seed}: the losses were not measured on the same rows, so they have no pairs."
                )
        results._measure_by_roles()
        return results

    def _measure_by_roles(self) -> None:
        """Add the metrics for which one of the losses has to know what the classes are."""
        roles = Roles.shared(result.get("roles", {}) for result in self.found.values())
        if roles != Roles(None, None):
            for key, result in self.found.items():
                result["metrics"] |= roles.measure(self.arrays(*key))

    @property
    def losses(self) -> list[str]:
        return [*dict.fromkeys(run.loss for run in self.runs)]

    @property
    def seeds(self) -> list[int]:
        return [*dict.fromkeys(run.seed for run in self.runs)]

    @property
    def metrics(self) -> list[str]:
        """The metrics that there are, the main ones first; without those that are 0 for every loss."""
        results = [result["metrics"] for result in self.found.values()]
        names = dict.fromkeys(name for values in results for name, value in values.items() if value)
        order = [*METRICS]
        rank = {name: order.index(name) if metric(name).is_main else len(order) for name in names}
        return sorted(names, key=lambda name: rank[name])

    def arrays(self, loss: str, seed: int) -> dict[str, np.ndarray]:
        """Return what a run has kept of its predictions."""
        with np.load(self.folders[loss, seed] / PREDICTIONS) as kept:
            return dict(kept)

    def values(self, loss: str, name: str) -> dict[int, float]:
        """Return a metric of a loss by seed."""
        results = {seed: self.found[loss, seed]["metrics"] for seed in self.seeds if (loss, seed) in self.found}
        return {seed: values[name] for seed, values in results.items() if name in values}

    def table(self, name: str) -> list[Row]:
        """Return the rows of the losses that have a metric."""
        compared = [loss for loss in self.losses if self.values(loss, name)]
        first = self.losses[0]
        reference = self.values(first, name)
        return [self._row(loss, name, reference if loss != first else {}, len(compared) - 1) for loss in compared]

    def _row(self, loss: str, name: str, reference: Mapping[int, float], comparisons: int) -> Row:
        values = self.values(loss, name)
        numbers = np.array([*values.values()])
        common = [seed for seed in values if seed in reference]
        difference = compare_pairs(
            [values[seed] for seed in common],
            [reference[seed] for seed in common],
            comparisons=comparisons,
            higher_is_better=metric(name).higher_is_better,
        )
        deviation = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
        return Row(loss, float(numbers.mean()), deviation, len(numbers), difference if common else None)

    def frame(self) -> pd.DataFrame:
        """Return a row for each loss, seed and metric."""
        import pandas as pd

        rows = [
            (loss, seed, name, value)
            for (loss, seed), result in self.found.items()
            for name, value in result["metrics"].items()
        ]
        return pd.DataFrame(rows, columns=["loss", "seed", "metric", "value"])
