"""A whole ``LudwigModel.train`` with each loss as a ratio to the one with Ludwig's default loss.

``python benchmarks/training.py [--rows N] [--rounds N] [PART OF A NAME ...]`` trains on a table with ten columns, in
rounds: each loss between two trainings with the default one, so that a machine that is busy slows both. Printed is the
median of the ratios of the rounds, the least and the largest. It runs with every generation of Ludwig, and on the
accelerator that is there.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas as pd
import torch
from ludwig.api import LudwigModel

COLUMNS, CLASSES, EPOCHS, BATCH = 10, 10, 3, 128

CATEGORY: dict[str, dict[str, Any]] = {
    "focal": {"type": "focal_loss"},
    "poly": {"type": "poly_loss"},
    "entmax-1.5": {"type": "entmax_1.5_loss"},
    "sparsemax": {"type": "sparsemax_loss"},
    "tempered": {"type": "tempered_softmax_cross_entropy", "t1": 0.5, "t2": 1.5},
    "open-set": {"type": "entropic_open_set"},
    "objectosphere with background": {"type": "objectosphere", "background_class": "c0"},
    "compound": {
        "type": "compound_loss",
        "terms": [{"type": "focal_loss"}, {"type": "softmax_cross_entropy", "weight": 0.5}],
    },
}
BINARY: dict[str, dict[str, Any]] = {"binary focal": {"type": "focal_loss"}}


def table(rows: int) -> pd.DataFrame:
    """Columns of numbers, a class that depends on them and a truth that depends on the class."""
    source = np.random.default_rng(0)
    x = source.normal(size=(rows, COLUMNS))
    label = (x @ source.normal(size=(COLUMNS, CLASSES)) + source.normal(size=(rows, CLASSES))).argmax(axis=1)
    data = pd.DataFrame(x, columns=[f"x{i}" for i in range(COLUMNS)])
    return data.assign(category=[f"c{i}" for i in label], binary=label % 2 == 0, split=np.arange(rows) % 10 // 8)


def configuration(output: str, loss: dict[str, Any] | None) -> dict[str, Any]:
    feature: dict[str, Any] = {"name": output, "type": output}
    return {
        "input_features": [{"name": f"x{i}", "type": "number"} for i in range(COLUMNS)],
        "output_features": [feature if loss is None else {**feature, "loss": loss}],
        "preprocessing": {"split": {"type": "fixed"}},
        "trainer": {"epochs": EPOCHS, "batch_size": BATCH, "early_stop": -1},
    }


def seconds(data: pd.DataFrame, output: str, loss: dict[str, Any] | None) -> float:
    """The time of a training, from the configuration to the trained model."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        LudwigModel(configuration(output, loss), logging_level=logging.ERROR).train(
            dataset=data, output_directory=folder, skip_save_processed_input=True, skip_save_log=True, random_seed=1
        )
        return time.perf_counter() - start


def ratios(data: pd.DataFrame, output: str, loss: dict[str, Any], rounds: int) -> list[float]:
    """A training with the loss over the mean of the ones with the default loss before and after it."""
    default = [seconds(data, output, None)]
    found = []
    for _ in range(rounds):
        time_of_loss = seconds(data, output, loss)
        default.append(seconds(data, output, None))
        found.append(time_of_loss / statistics.mean(default[-2:]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of names of losses; none for all")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    data = table(options.rows)
    seconds(data.head(2000), "category", None)  # warms up
    print(f"| loss | training over one with the default loss, median of {options.rounds} (least to largest) |")
    print("|---|---|")
    for output, losses in (("category", CATEGORY), ("binary", BINARY)):
        for name, loss in losses.items():
            if not options.names or any(part in name for part in options.names):
                found = ratios(data, output, loss, options.rounds)
                print(f"| {name} | {statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f}) |", flush=True)


if __name__ == "__main__":
    main()
