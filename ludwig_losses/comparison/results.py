"""The results of the runs of a comparison, in the form that tables need."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ludwig_losses.comparison.outcome import (
    LEVELS,
    QUANTILES,
    common_levels,
    quantile_means,
    quantile_values,
    with_levels,
)
from ludwig_losses.comparison.plan import PREDICTIONS, RESULT, Run
from ludwig_losses.comparison.resampling import Samples, drawn_units, resampled
from ludwig_losses.comparison.roles import Roles
from ludwig_losses.comparison.settings import AS_GIVEN
from ludwig_losses.comparison.statistics import FEWEST_SEEDS, Difference, Resamples, Splits, compare_pairs
from ludwig_losses.metrics.catalogue import METRICS, metric

if TYPE_CHECKING:
    import pandas as pd


# So many rows that belong to two seeds are not missed by chance.
_EXPECTED_REPETITIONS = 10


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
        margins: by metric, where they are not those of the catalogue.
        levels: those of quantiles to measure by, of those that all losses predict; ``None`` is for all of these.
    """

    runs: Sequence[Run]
    found: Mapping[tuple[str, int], dict[str, Any]]
    failed: Mapping[tuple[str, int], str]
    folders: Mapping[tuple[str, int], pathlib.Path]
    margins: Mapping[str, float] = field(default_factory=dict)
    levels: tuple[float, ...] | None = None

    @classmethod
    def read(
        cls,
        runs: Sequence[Run],
        folder: Callable[[Run], pathlib.Path],
        failed: Mapping[Run, str],
        margins: Mapping[str, float] | None = None,
        levels: tuple[float, ...] | None = None,
    ) -> Results:
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
        results = cls(runs, found, reasons, folders, margins or {}, levels)
        results._check_rows()
        results._measure_by_roles()
        results._measure_by_levels()
        return results

    def _check_rows(self) -> None:
        """Raise a RuntimeError if two losses of a seed were trained or measured on different rows."""
        for seed in self.seeds:
            of_seed = [result for (_, of), result in self.found.items() if of == seed]
            for what, key in (("measured", "truth"), ("trained", "trained_on")):
                if len({result[key] for result in of_seed}) > 1:
                    raise RuntimeError(
                        f"seed {seed}: the losses were not {what} on the same rows, so they have no pairs. Have files "
                        f"that the data names, as images, changed? Then take another output directory."
                    )

    def _measure_by_roles(self) -> None:
        """Add the metrics for which one of the losses has to know what the classes are."""
        if self.roles != Roles(None, None):
            for key, result in self.found.items():
                result["metrics"] |= self.roles.measure(self.arrays(*key))

    def _measure_by_levels(self) -> None:
        """Measure quantiles anew by those that all losses have which predict some, where they predict different ones.

        Errors of other quantiles are other numbers: neither would say which loss is better."""
        if self.has_other_levels:
            for key in self._levels:
                arrays, metrics = self.arrays(*key), self.found[key]["metrics"]
                for name in quantile_values(arrays):
                    del metrics[name]
                metrics |= quantile_means(with_levels(arrays, self.common_levels))

    @cached_property
    def _levels(self) -> dict[tuple[str, int], tuple[float, ...]]:
        """The levels of the quantiles of each run that predicts some."""
        predict = [key for key, result in self.found.items() if "pinball_loss" in result["metrics"]]
        return {key: tuple(self.arrays(*key)[LEVELS].tolist()) for key in predict}

    @cached_property
    def has_other_levels(self) -> bool:
        """Whether a loss predicts other quantiles than those by which losses are compared."""
        return any(levels != self.common_levels for levels in self._levels.values())

    @cached_property
    def common_levels(self) -> tuple[float, ...]:
        """The levels of the quantiles that every loss predicts which predicts some."""
        return common_levels([*self._levels.values(), *([] if self.levels is None else [self.levels])])

    @cached_property
    def roles(self) -> Roles:
        return Roles.shared(result.get("roles", {}) for result in self.found.values())

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

    @cached_property
    def same(self) -> dict[str, str]:
        """The losses that give the numbers of an earlier one in every seed, each with the name of that one."""
        if not self.has_metrics:
            return {}
        first: dict[str, str] = {}
        return {
            loss: earlier
            for loss in self.losses
            if any(of == loss for of, _ in self.found)
            and (earlier := first.setdefault(self._numbers(loss), loss)) != loss
        }

    @property
    def has_metrics(self) -> bool:
        """Whether the rows define a metric: those of anomalies need labels."""
        return any(metric(name).features for result in self.found.values() for name in result["metrics"])

    def _numbers(self, loss: str) -> str:
        names = [name for name in self.metrics if metric(name).features]
        return repr([self.values(loss, name) for name in names])

    def margin(self, name: str) -> float | None:
        """Return up to which difference two losses are practically equal; ``None`` where that is not asked."""
        return self.margins.get(name, metric(name).margin)

    @cached_property
    def comparisons(self) -> int:
        """How many losses were planned to be compared with the first one, whichever have failed."""
        return len(self.compared) - 1

    @cached_property
    def compared(self) -> list[str]:
        """The losses, without the rows that show something else."""
        return [loss for loss in self.losses if loss not in (self.noise, self.baseline)]

    @cached_property
    def baseline(self) -> str | None:
        """The row of a model that was trained before, if there is one."""
        return next((run.loss for run in self.runs if run.baseline is not None), None)

    @cached_property
    def noise(self) -> str | None:
        """The row of the first loss with its rows in another order, if there is one."""
        return next((run.loss for run in self.runs if run.reordered), None)

    @cached_property
    def correction(self) -> float:
        """Held-out rows per training row, or 0 where all seeds train on the same rows."""
        if len({result["trained_on"] for result in self.found.values()}) <= 1:
            return 0.0
        rows = [result["rows"] for result in self.found.values()]
        return sum(of["held_out"] for of in rows) / sum(of["training"] for of in rows)

    @cached_property
    def _everything(self) -> np.ndarray | None:
        """All rows, or groups of partners, that were measured, each once; ``None`` where a run does not tell them."""
        first = {seed: key for key in self.found for seed in [key[1]]}
        units = [drawn_units(self.arrays(*key)) for key in first.values()]
        known = [of_seed for of_seed in units if of_seed is not None]
        if len(known) < max(len(units), FEWEST_SEEDS):
            return None
        everything, measured = np.unique(np.concatenate(known)), sum(map(len, known))
        rows = sum(self.found[key]["rows"]["training"] for key in first.values()) / len(first) + len(everything)
        repeated = measured**2 * (1 - 1 / len(known)) / 2 / rows
        # Where rows are prepared otherwise for each seed, none of them is recognized.
        return None if len(everything) == measured and repeated > _EXPECTED_REPETITIONS else everything

    @cached_property
    def _samples(self) -> dict[tuple[str, int], Samples]:
        if self._everything is None:
            return {}
        return {key: resampled(self._comparable(key), self.roles, self._everything) for key in self.found}

    def _comparable(self, key: tuple[str, int]) -> dict[str, np.ndarray]:
        """Return what a run has kept, of its quantiles those by which it is compared."""
        arrays = self.arrays(*key)
        return with_levels(arrays, self.common_levels) if QUANTILES in arrays else arrays

    def _sampled(self, loss: str, name: str, seeds: Sequence[int]) -> list[np.ndarray]:
        """Return a metric of a loss on samples of the rows, for the seeds that have it."""
        found = [self._samples.get((loss, seed), {}).get(name) for seed in seeds]
        return [values for values in found if values is not None]

    def shared(self, loss: str, name: str, seeds: Sequence[int], before: Results | None = None) -> Splits | None:
        """Return how seeds share rows, ``None`` for a metric that does not depend on them.

        Args:
            loss: that is compared.
            name: of the metric.
            seeds: those that have it.
            before: other results of the same loss that it is compared with, instead of the first loss here.
        """
        if not metric(name).features:
            return None
        other, first = (self, self.losses[0]) if before is None else (before, loss)
        values, reference = self._sampled(loss, name, seeds), other._sampled(first, name, seeds)
        if not seeds or min(len(values), len(reference)) < len(seeds) or not self._has_rows_of(other):
            return Splits(self.correction)
        assert self._everything is not None
        return Resamples(self.correction, np.stack(values) - np.stack(reference), len(self._everything))

    def _has_rows_of(self, other: Results) -> bool:
        """Whether the samples of other results are drawn from the same rows."""
        own, others = self._everything, other._everything
        return own is not None and others is not None and np.array_equal(own, others)

    def table(self, name: str) -> list[Row]:
        """Return the rows of the losses that have a metric."""
        first = self.losses[0]
        reference = self.values(first, name)
        return [
            self._row(loss, name, reference if loss != first else {}) for loss in self.losses if self.values(loss, name)
        ]

    def _row(self, loss: str, name: str, reference: Mapping[int, float]) -> Row:
        values = self.values(loss, name)
        numbers = np.array([*values.values()])
        common = [seed for seed in values if seed in reference]
        difference = compare_pairs(
            [values[seed] for seed in common],
            [reference[seed] for seed in common],
            comparisons=self.comparisons,
            higher_is_better=metric(name).higher_is_better,
            rows=self.shared(loss, name, common) if len(common) >= FEWEST_SEEDS else None,
            margin=self.margin(name),
        )
        deviation = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
        return Row(loss, float(numbers.mean()), deviation, len(numbers), difference if common else None)

    def differences(self) -> list[dict[str, Any]]:
        """Return what the tables say of the difference of each loss to the first one."""
        return [
            {"loss": row.loss, "metric": name, **asdict(row.difference)}
            for name in self.metrics
            for row in self.table(name)
            if row.difference is not None
        ]

    def kept(self) -> list[dict[str, Any]]:
        """Return where each loss and seed has what is kept of it."""
        folders = {key: str(self.folders[key]) for key in self.found}
        return [
            {"loss": loss, "seed": seed, "setting": AS_GIVEN, "is_chosen": True, "folder": folder}
            for (loss, seed), folder in folders.items()
        ]

    def frame(self) -> pd.DataFrame:
        """Return a row for each loss, seed and metric."""
        import pandas as pd

        rows = [
            (loss, seed, name, value)
            for (loss, seed), result in self.found.items()
            for name, value in result["metrics"].items()
        ]
        return pd.DataFrame(rows, columns=["loss", "seed", "metric", "value"])
