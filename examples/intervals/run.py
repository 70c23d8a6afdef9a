"""Do intervals hold? ``python examples/intervals/run.py FOLDER`` measures coverage and width on tables and a series.

Each of them is one call of ``ludwig_losses.compare``, whose runs are kept below the folder: an interrupted call goes
on. The same training, validation and test rows are given to scikit-learn's gradient boosting of quantiles, alone and
made to hold by MAPIE. ``intervals.csv`` has the numbers of each table and seed, ``table.md`` and ``tables.md`` their
means, ``coverage.svg`` a picture; ``series.csv`` and ``series.md`` are of the series.

Settings are chosen on validation rows: the epoch of each network, and the number of trees.
"""

from __future__ import annotations

import json
import pathlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from ludwig.data.split import RandomSplitter
from mapie.regression import ConformalizedQuantileRegressor
from sklearn.ensemble import GradientBoostingRegressor
from summary import write, write_series

sys.path.append(str(pathlib.Path(__file__).parents[1]))
from one_process import runs_in_this_process
from tables import SHARES, inputs, series, tables, targets

SEEDS = 10
LEVELS = [0.05, 0.1, 0.5, 0.9, 0.95]
INTERVALS = {0.9: (0, 4), 0.8: (1, 3)}
LOSS = {"type": "quantile_loss", "quantiles": LEVELS}
LOSSES = {
    "quantile_loss": LOSS,
    "quantile_loss, calibrate": {**LOSS, "calibrate": True},
    "quantile_loss, calibrate, share 0.5": {**LOSS, "calibrate": True, "calibration_share": 0.5},
}
TREES, DEPTH, LEARNING_RATE = 100, 3, 0.1


def config(table: pd.DataFrame) -> dict[str, Any]:
    """A small network. The epoch with the lowest loss on the validation rows is kept, Ludwig's early stopping."""
    output: dict[str, Any] = {"name": "target", "type": "number", "preprocessing": {"normalization": "zscore"}}
    is_series = "split" in table
    return {
        "input_features": [
            {"name": "values", "type": "vector", "encoder": {"type": "dense", "num_layers": 1, "output_size": 32}}
        ],
        "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": 32},
        "output_features": [{"name": "target", "type": "timeseries"} if is_series else output],
        "preprocessing": {"split": {"type": "fixed"} if is_series else {"type": "random", "probabilities": SHARES}},
        "trainer": {
            "epochs": 15,
            "early_stop": 4,
            "batch_size": 32,
            "eval_batch_size": 4096,
            "evaluate_training_set": False,
            "learning_rate": 0.01,
        },
    }


def of_networks(table: pd.DataFrame, folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Yield what the losses reach on the test rows of each seed."""
    import ludwig_losses

    result = ludwig_losses.compare(config(table), table, LOSSES, seeds=SEEDS, output_directory=folder, quiet=True)
    if result.attrs["failed"]:
        raise RuntimeError(str(result.attrs["failed"]))
    for path in sorted(folder.glob("runs/*/result.json")):
        run = json.loads(path.read_text())["run"]
        kept = np.load(path.with_name("predictions.npz"))
        truth = targets(split(table, run["seed"])[2])
        np.testing.assert_allclose(kept["truth"].reshape(truth.shape), truth, rtol=1e-4, atol=1e-3 * truth.std())
        yield from measured(run["loss"], run["seed"], truth, kept["quantiles"].reshape(*truth.shape, -1))


def split(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the training, validation and test rows that Ludwig takes."""
    from ludwig.backend import initialize_backend

    if "split" in table:
        return tuple(table[table["split"] == part] for part in range(len(SHARES)))

    return RandomSplitter(SHARES).split(table, initialize_backend("local"), seed)


def of_trees(table: pd.DataFrame, seed: int) -> Iterator[dict[str, Any]]:
    """Yield what scikit-learn and MAPIE reach on the test rows of a seed."""
    parts = [(inputs(part), targets(part)) for part in split(table, seed)]
    truth = parts[2][1]
    steps = [of_step(*((x, y[:, step]) for x, y in parts[:2]), parts[2][0], seed) for step in range(truth.shape[1])]
    for method, q in zip(("gradient boosting", "gradient boosting, MAPIE"), np.stack(steps, axis=2), strict=True):
        yield from measured(method, seed, truth, q)


def of_step(training: Any, validation: Any, test: np.ndarray, seed: int) -> np.ndarray:
    """Return the quantiles ``[2, N, K]`` of one target of each row, alone and made to hold."""
    x, y = training
    models = [boosted(level, x, y, validation, seed) for level in LEVELS]
    q = np.sort(np.stack([model.predict(test) for model in models], axis=1), axis=1)
    bounds = q.copy()
    for level, (low, high) in INTERVALS.items():
        mapie = ConformalizedQuantileRegressor([models[low], models[high], models[2]], level, prefit=True)
        # One offset for both ends, as Romano et al. define the intervals, and as quantile_loss has it.
        _, found = mapie.conformalize(*validation).predict_interval(test, symmetric_correction=True)
        bounds[:, low], bounds[:, high] = found[:, 0, 0], found[:, 1, 0]
    return np.stack([q, bounds])


def boosted(level: float, x: np.ndarray, y: np.ndarray, validation: Any, seed: int) -> GradientBoostingRegressor:
    """Return trees for a quantile, as many as have the smallest pinball loss on the validation rows."""
    options = {"loss": "quantile", "alpha": level, "max_depth": DEPTH, "learning_rate": LEARNING_RATE}
    model = GradientBoostingRegressor(n_estimators=TREES, random_state=seed, **options).fit(x, y)
    errors = [validation[1] - q for q in model.staged_predict(validation[0])]
    best = 1 + int(np.argmin([np.maximum(level * u, (level - 1) * u).mean() for u in errors]))
    model.estimators_, model.n_estimators_ = model.estimators_[:best], best
    return model


def measured(method: str, seed: int, truth: np.ndarray, q: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield what quantiles ``[N, T, K]`` reach, all targets together."""
    for level, (low, high) in INTERVALS.items():
        inside = (q[..., low] <= truth) & (truth <= q[..., high])
        outside = np.maximum(q[..., low] - truth, 0) + np.maximum(truth - q[..., high], 0)
        width = q[..., high] - q[..., low]
        score = (width + 2 / (1 - level) * outside).mean()
        numbers = {"coverage": inside.mean(), "width": width.mean(), "score": score}
        yield {"method": method, "seed": seed, "level": level, **numbers}


def main(folder: pathlib.Path) -> None:
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    with runs_in_this_process():
        write_series(measure(series(), folder), folder)
        write(measure(tables(), folder), folder)


def measure(data: dict[str, pd.DataFrame], folder: pathlib.Path) -> pd.DataFrame:
    """Return what every method reaches."""
    frames = []
    for name, table in data.items():
        rows = [*of_networks(table, folder / name)]
        rows += [row for seed in range(SEEDS) for row in trees(table, seed, folder / name)]
        deviation = targets(table).std(ddof=1)
        frames.append(pd.DataFrame(rows).assign(table=name, rows=len(table), deviation=deviation))
        print(name, flush=True)
    return pd.concat(frames, ignore_index=True)


def trees(table: pd.DataFrame, seed: int, folder: pathlib.Path) -> list[dict[str, Any]]:
    """Return what trees reach, from a file if there is one."""
    path = folder / f"trees-{seed}.json"
    if not path.exists():
        path.write_text(json.dumps([*of_trees(table, seed)]))
    return json.loads(path.read_text())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
