"""What ``ludwig-losses compare`` costs beside the training runs that it consists of.

``python benchmarks/compare.py`` trains a table of 20,000 rows with five losses and three seeds, for three epochs each:

- *plain*: one process that calls ``LudwigModel.train`` for each of the 15 runs, as a loop by hand would, with what
  Ludwig measures by itself: the training, validation and test rows after each epoch.
- *compare*: the command, from its start to the last file, in a new directory.

The two take turns, and processor time is compared, so that a machine that is busy slows neither. Both use one thread.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import contextlib
import ctypes
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from typing import Any

COLUMNS, CLASSES, EPOCHS, SEEDS = 10, 10, 3, 3
LOSSES = ("softmax_cross_entropy", "focal_loss", "poly_loss", "tempered_softmax_cross_entropy", "entmax_1.5_loss")
PLAIN = "import sys; sys.path.insert(0, sys.argv[1]); from compare import train_all; train_all(*sys.argv[2:])"
PR_SET_CHILD_SUBREAPER = 36


def write_data(rows: int, path: pathlib.Path) -> None:
    """Write columns of numbers and a class that depends on them."""
    import numpy as np
    import pandas as pd

    source = np.random.default_rng(0)
    x = source.normal(size=(rows, COLUMNS))
    label = (x @ source.normal(size=(COLUMNS, CLASSES)) + source.normal(size=(rows, CLASSES))).argmax(axis=1)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(COLUMNS)])
    frame.assign(category=[f"c{i}" for i in label]).to_csv(path, index=False)


def configuration(loss: str) -> dict[str, Any]:
    return {
        "input_features": [{"name": f"x{i}", "type": "number"} for i in range(COLUMNS)],
        "combiner": {"type": "concat"},
        "output_features": [{"name": "category", "type": "category", "loss": {"type": loss}}],
        "trainer": {"epochs": EPOCHS, "batch_size": 128, "eval_batch_size": 1024, "early_stop": -1},
    }


def train_all(data: str, folder: str) -> None:
    """Train with each loss and seed, nothing else."""
    import logging

    from ludwig.api import LudwigModel
    from ludwig.globals import set_disable_progressbar

    set_disable_progressbar(True)
    for seed in range(SEEDS):
        for loss in LOSSES:
            LudwigModel(configuration(loss), logging_level=logging.INFO, backend="local").train(
                dataset=data, random_seed=seed, output_directory=folder, skip_save_processed_input=True
            )


def seconds(command: list[str], log: pathlib.Path) -> float:
    """Return the processor time of a command and of the processes that it starts, on Linux."""
    # Processes that are left behind become those of this one: only then is their time counted.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("w") as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rows: int, folder: pathlib.Path) -> tuple[float, float]:
    """Return the processor time of the plain runs, and of the comparison."""
    data, config = folder / "data.csv", folder / "config.json"
    write_data(rows, data)
    config.write_text(json.dumps(configuration(LOSSES[0])))
    here = str(pathlib.Path(__file__).parent)
    plain = seconds([sys.executable, "-c", PLAIN, here, str(data), str(folder / "plain")], folder / "plain.txt")
    losses = [part for loss in LOSSES for part in ("--loss", loss)]
    files = ["--config", str(config), "--dataset", str(data), "--output_directory", str(folder / "compared")]
    command = [sys.executable, "-m", "ludwig_losses.cli", "compare", *files, "--seeds", str(SEEDS), *losses]
    return plain, seconds(command, folder / "compare.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    found = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(options.rows, pathlib.Path(folder)))
        print(found[-1], flush=True)
    plain, compared = (statistics.median(of) for of in zip(*found, strict=True))
    ratio = statistics.median(of / alone for alone, of in found)
    print(f"| {version('ludwig')} | {plain:.0f} s | {compared:.0f} s | {ratio:.2f} |")


if __name__ == "__main__":
    main()
