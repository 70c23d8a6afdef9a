"""Which loss for counts and amounts? ``python examples/counts/run.py FOLDER`` compares on real tables.

Each table is two calls of ``ludwig_losses.compare``, since some losses learn from normalised targets and others from
the amounts as they are; the runs are kept below the folder: an interrupted call goes on. ``counts.csv`` has the numbers
of each run, ``table.md`` and ``tables.md`` what they say, ``counts.svg`` a picture.

Only the epoch is chosen, on the validation rows, by the loss.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from ludwig.data.split import RandomSplitter

sys.path += [str(pathlib.Path(__file__).parents[1] / folder) for folder in ("", "many_tables")]
from one_process import runs_in_this_process
from tables import tables

from report import BOUNDED, METRICS, NEGATIVE, SMALLEST_SHARE, write

SEEDS = 5
SHARES = [0.5, 0.25, 0.25]
# By the normalization of the target: Huber and log-cosh tell small errors from large ones in its units, and the
# squared error of large amounts needs a larger learning rate.
LOSSES: dict[str | None, dict[str, dict[str, Any]]] = {
    "zscore": {
        "mean_squared_error": {"type": "mean_squared_error"},
        "huber": {"type": "huber"},
        "log_cosh_loss": {"type": "log_cosh_loss"},
    },
    None: {
        "gaussian_nll_loss": {"type": "gaussian_nll_loss"},
        "poisson_nll_loss": {"type": "poisson_nll_loss"},
        "tweedie_loss": {"type": "tweedie_loss"},
    },
}


def config(normalization: str | None) -> dict[str, Any]:
    """A small network. The epoch with the lowest loss on the validation rows is kept, Ludwig's early stopping."""
    return {
        "input_features": [
            {"name": "values", "type": "vector", "encoder": {"type": "dense", "num_layers": 1, "output_size": 32}}
        ],
        "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": 32},
        "output_features": [
            {"name": "target", "type": "number", "preprocessing": {"normalization": normalization}},
        ],
        "preprocessing": {"split": {"type": "random", "probabilities": SHARES}},
        "trainer": {
            "epochs": 15,
            "early_stop": 4,
            "validation_metric": "loss",
            "batch_size": 64,
            "eval_batch_size": 4096,
            "evaluate_training_set": False,
            "learning_rate": 0.01,
        },
    }


def measured(table: pd.DataFrame, folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yield what each loss reaches on the test rows of each seed, by what the mean of the training rows reaches."""
    import ludwig_losses

    for normalization, losses in LOSSES.items():
        output = folder / (normalization or "none")
        result = ludwig_losses.compare(
            config(normalization), table, losses, seeds=SEEDS, output_directory=output, quiet=True
        )
        if result.attrs["failed"]:
            raise RuntimeError(str(result.attrs["failed"]))
        for path in sorted(output.glob("runs/*/result.json")):
            run = json.loads(path.read_text())
            kept = np.load(path.with_name("predictions.npz"))
            training, test = split(table, run["run"]["seed"])
            np.testing.assert_allclose(kept["truth"], test, rtol=1e-4, atol=1e-3 * test.std())
            yield {
                "loss": run["run"]["loss"],
                "seed": run["run"]["seed"],
                "seconds": run["seconds"],
                **by_constant(run["metrics"], test, kept["predicted"], training.mean()),
                NEGATIVE: (kept["predicted"] < 0).mean(),
            }


def split(table: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets of the training and of the test rows that Ludwig takes."""
    from ludwig.backend import initialize_backend

    training, _, test = RandomSplitter(SHARES).split(table, initialize_backend("local"), seed)
    return training["target"].to_numpy(), test["target"].to_numpy()


def by_constant(values: dict[str, float], truth: np.ndarray, predicted: np.ndarray, mean: float) -> dict[str, float]:
    """Return each metric divided by that of the mean of the training rows, and once more the Poisson deviance of
    predictions that are at least a tenth of it."""
    from ludwig_losses.metrics.functional.numbers import error_sums, error_values

    constant = error_values(error_sums(truth, np.full(len(truth), mean)).sum(axis=0))
    bounded = error_values(error_sums(truth, np.maximum(predicted, SMALLEST_SHARE * mean)).sum(axis=0))
    found = {name: values[name] / constant[name] for name in METRICS}
    return {**found, BOUNDED: bounded["poisson_deviance"] / constant["poisson_deviance"]}


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frames = []
    with runs_in_this_process():
        for number, (name, table) in enumerate(tables().items()):
            start = time.perf_counter()
            rows = pd.DataFrame(measured(table, folder / str(number)))
            frames.append(rows.assign(table=name, rows=len(table), zeros=(table["target"] == 0).mean()))
            print(f"{name}: {len(rows)} runs, {time.perf_counter() - start:.0f} s", flush=True)
    write(pd.concat(frames, ignore_index=True), folder)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
