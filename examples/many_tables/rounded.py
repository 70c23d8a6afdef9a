"""Classes with an order as a number: a number feature predicts the rank, which is rounded.

Another type of output feature cannot be a row of the same comparison. So this is a second call of `compare`, with the
same rows and network, whose predictions are measured here by what the classes are measured by.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from ludwig_losses.comparison.plan import PREDICTIONS, RESULT
from ludwig_losses.metrics.functional.ordinal import rank_sums, rank_values

NUMBERS = {
    "number, squared error, rounded": {"type": "mean_squared_error"},
    "number, absolute error, rounded": {"type": "mean_absolute_error"},
}


def measure(config: dict[str, Any], table: pd.DataFrame, seeds: int, category: pathlib.Path) -> pd.DataFrame:
    """Return the metrics of what number features predict of the ranks of the classes, by loss and seed.

    Args:
        config: that of the classes.
        table: with the column ``target``, whose sorted names are the classes in their order.
        seeds: how many.
        category: where the comparison of the classes has been kept; that of the numbers is kept beside it.
    """
    import ludwig_losses

    names, ranks = np.unique(table.target, return_inverse=True)
    output = category.with_name(f"{category.name}_as_number")
    number = {**config, "output_features": [{"name": "rank", "type": "number"}]}
    result = ludwig_losses.compare(
        number, table.assign(rank=ranks), NUMBERS, seeds=seeds, output_directory=output, quiet=True
    )
    if result.attrs["failed"]:
        raise RuntimeError(f"{output.name}: {result.attrs['failed']}")
    truths = {kept["seed"]: ranks_of(kept, names) for kept in kept_by(category, "cross-entropy")}
    rows = []
    for loss in NUMBERS:
        for kept in kept_by(output, loss):
            true = kept["truth"].round().astype(int)
            if not np.array_equal(true, truths[kept["seed"]]):
                raise RuntimeError(f"{output.name}: the test rows of seed {kept['seed']} are others.")
            values = metrics(kept["predicted"], true, len(names))
            rows += [(loss, kept["seed"], name, value) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["loss", "seed", "metric", "value"])


def metrics(predicted: np.ndarray, true: np.ndarray, classes: int) -> dict[str, float]:
    """Return the metrics of numbers, rounded to the nearest of the ranks 0, 1, ..., and of true ranks."""
    rank = predicted.round().clip(0, classes - 1).astype(int)
    values = rank_values(rank_sums(torch.from_numpy(rank), torch.from_numpy(true)))
    return {name: float(value) for name, value in values.items()} | {"accuracy": float((rank == true).mean())}


def kept_by(output: pathlib.Path, loss: str) -> Iterator[dict[str, Any]]:
    """Yield what each run of a loss has kept of its test rows, with its seed."""
    for path in sorted(output.glob(f"runs/*/{RESULT}")):
        run = json.loads(path.read_text())["run"]
        if run["loss"] == loss:
            with np.load(path.with_name(PREDICTIONS)) as arrays:
                yield {"seed": run["seed"], **arrays}


def ranks_of(kept: dict[str, Any], names: np.ndarray) -> np.ndarray:
    """Return the true ranks of what a category feature has kept, whose classes are numbered by frequency."""
    return np.searchsorted(names, kept["classes"][kept["truth"]])
