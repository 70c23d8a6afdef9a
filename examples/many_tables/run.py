"""Which loss helps on tables in general? ``python examples/many_tables/run.py PART FOLDER`` compares over many.

PART is ``imbalance``, ``order`` or ``noise``. Each table is one call of ``ludwig_losses.compare``, whose runs are kept
below the folder: an interrupted call goes on. ``PART.csv`` has the numbers of each run, ``PART.md`` what they say,
``PART.svg`` a picture; ``table.md`` joins the parts that are there. No setting is chosen: losses have the same ones on
every table.
"""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from summary import DIGITS, write
from tables import COMMON, RARE, imbalanced, ordered, several_classes

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent))
from one_process import runs_in_this_process  # noqa: E402

TRAINING, VALIDATION, TEST = 0, 1, 2
SHARES = {TRAINING: 0.5, VALIDATION: 0.2, TEST: 0.3}
CROSS_ENTROPY = {"type": "softmax_cross_entropy"}
SEEDS = 3
WRONG = (0.0, 0.2, 0.4)
# Chooses the split and the wrong labels of a table, which are the same for all seeds.
SEED_OF_NOISE = 1


@dataclass(frozen=True)
class Part:
    """A question to many tables.

    Args:
        tables: frames with the columns ``values`` and ``target``, and ``split`` if all seeds share one.
        losses: sections by name, the reference first, for a table.
        metrics: those to show, the deciding one first.
        seeds: how many.
    """

    tables: Callable[[], dict[str, pd.DataFrame]]
    losses: Callable[[pd.DataFrame], dict[str, dict[str, Any]]]
    metrics: tuple[str, ...]
    seeds: int


def for_imbalance(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The class weights are those that give both classes the same sum."""
    rare = float((table.target == RARE).mean())
    weights = {COMMON: round(0.5 / (1 - rare), 4), RARE: round(0.5 / rare, 4)}
    return {
        "cross-entropy": CROSS_ENTROPY,
        "class weights": {**CROSS_ENTROPY, "class_weights": weights},
        "focal_loss, default": {"type": "focal_loss"},
        "focal_loss, balanced": {"type": "focal_loss", "alpha": {COMMON: 0.25, RARE: 0.75}},
        "poly_loss": {"type": "poly_loss"},
        "logit_adjusted_loss": {"type": "logit_adjusted_loss"},
    }


def for_order(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {"cross-entropy": CROSS_ENTROPY, "corn": {"type": "corn", "order": sorted(table.target.unique())}}


def for_noise(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The settings with which the pages of the losses begin."""
    return {
        "cross-entropy": CROSS_ENTROPY,
        "tempered_softmax_cross_entropy": {"type": "tempered_softmax_cross_entropy", "t1": 0.2, "t2": 2.0},
        "generalized cross-entropy": {"type": "generalized_cross_entropy", "q": 0.7},
    }


def with_wrong_labels() -> dict[str, pd.DataFrame]:
    """Each table with 0, 20 and 40 % of its training rows, and no others, named after another class."""
    tables = several_classes().items()
    return {f"{name}, {share:.0%} wrong": wrong_labels(table, share) for name, table in tables for share in WRONG}


def wrong_labels(table: pd.DataFrame, share: float) -> pd.DataFrame:
    generator = np.random.default_rng(SEED_OF_NOISE)
    split = generator.choice(list(SHARES), len(table), p=list(SHARES.values()))
    names, truth = np.unique(table.target, return_inverse=True)
    # The rows with a low number are wrong, so that those of 20 % are also wrong at 40 %.
    other = (truth + generator.integers(1, len(names), len(table))) % len(names)
    wrong = (generator.random(len(table)) < share) & (split == TRAINING)
    return table.assign(target=names[np.where(wrong, other, truth)], split=split)


PARTS = {
    "imbalance": Part(
        imbalanced, for_imbalance, ("average_precision", "balanced_accuracy", "macro_f1", "log_loss"), SEEDS
    ),
    "order": Part(ordered, for_order, ("rank_mae", "quadratic_weighted_kappa", "accuracy", "log_loss"), SEEDS),
    "noise": Part(with_wrong_labels, for_noise, ("accuracy", "log_loss", "expected_calibration_error"), SEEDS),
}


def config(table: pd.DataFrame) -> dict[str, Any]:
    """A small network. The epoch with the lowest loss on the validation rows is kept, Ludwig's early stopping."""
    shared = "split" in table
    stratified = {"type": "stratify", "column": "target", "probabilities": list(SHARES.values())}
    return {
        "input_features": [
            {"name": "values", "type": "vector", "encoder": {"type": "dense", "num_layers": 1, "output_size": 32}}
        ],
        "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": 32},
        "output_features": [{"name": "target", "type": "category"}],
        "preprocessing": {"split": {"type": "fixed", "column": "split"} if shared else stratified},
        "trainer": {
            "epochs": 15,
            "early_stop": 4,
            "validation_metric": "loss",
            "batch_size": 64,
            "eval_batch_size": 4096,
            "learning_rate": 0.01,
        },
    }


def measure(name: str, folder: pathlib.Path) -> pd.DataFrame:
    """Return the metrics of each table, loss and seed."""
    import ludwig_losses

    part = PARTS[name]
    found = []
    tables = part.tables()
    with runs_in_this_process():
        for number, (table_name, table) in enumerate(tables.items(), 1):
            output = folder / name / table_name.replace(" ", "_").replace("%", "")
            result = ludwig_losses.compare(
                config(table), table, part.losses(table), seeds=part.seeds, output_directory=output, quiet=True
            )
            if result.attrs["failed"]:
                raise RuntimeError(f"{table_name}: {result.attrs['failed']}")
            shown = result[result.metric.isin(part.metrics)]
            found.append(shown.assign(table=table_name)[["table", "loss", "seed", "metric", "value"]])
            print(f"{number} of {len(tables)}: {table_name}", flush=True)
    return pd.concat(found, ignore_index=True)


def seconds(folder: pathlib.Path) -> float:
    """Return how long the runs took, which an interrupt does not change."""
    import json

    results = (json.loads(path.read_text()) for path in folder.glob("*/runs/*/result.json"))
    return sum(result["seconds"] for result in results)


def main(name: str, folder: pathlib.Path) -> None:
    if name == "noise":
        os.environ["LUDWIG_LOSSES_PLUGINS"] = str(HERE / "generalized_cross_entropy.py")
    folder.mkdir(parents=True, exist_ok=True)
    frame = measure(name, folder)
    frame["value"] = frame["value"].round(DIGITS)
    # Metrics in the order of the part.
    frame = frame.sort_values("metric", key=lambda column: column.map(PARTS[name].metrics.index), kind="stable")
    write(frame, name, folder, seconds(folder / name))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
