"""Throughput of training under Ray by the number of workers: `python benchmarks/ray_workers.py`, with the extra
`distributed`, prints the table of docs/scaling.md. Nothing else should run on the machine.
"""

from __future__ import annotations

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import ray
from ludwig.api import LudwigModel
from ludwig.callbacks import Callback

WORKERS = (1, 2, 4)
BATCH = 256
STEPS = 40
EPOCHS = 3
INPUTS, HIDDEN = 64, 1024


class Clock(Callback):
    """Writes down how long each step of the first worker takes, and how much of it its processor was busy."""

    def __init__(self, file: pathlib.Path) -> None:
        self.file = file

    def on_trainer_train_setup(self, trainer: Any, save_path: str, is_coordinator: bool) -> None:
        if is_coordinator:
            trainer.train_step = self.timed(trainer.train_step)

    def timed(self, train_step: Callable) -> Callable:
        def step(*args: Any, **kwargs: Any) -> Any:
            start, busy = time.perf_counter(), time.process_time()
            result = train_step(*args, **kwargs)
            with self.file.open("a") as file:
                file.write(f"{time.perf_counter() - start} {time.process_time() - busy}\n")
            return result

        return step


def seconds(workers: int, folder: pathlib.Path) -> tuple[float, float, float]:
    """Train on some workers; return the median time of a step, how much of it is work, and the time of all."""
    generator = np.random.default_rng(0)
    rows = workers * BATCH * STEPS
    views = generator.normal(size=(rows, INPUTS)).round(2)
    data = pd.DataFrame({"x": [" ".join(map(str, row)) for row in views], "y": generator.integers(5, size=rows)})
    data["y"] = "class_" + data["y"].astype(str)
    data["split"] = 0
    layers = {"num_fc_layers": 3, "output_size": HIDDEN}
    config = {
        "input_features": [{"name": "x", "type": "vector"}],
        "combiner": {"type": "concat", **layers},
        "output_features": [{"name": "y", "type": "category", "loss": {"type": "poly_loss"}}],
        "preprocessing": {"split": {"type": "fixed"}},
        "trainer": {"epochs": EPOCHS, "batch_size": BATCH, "checkpoints_per_epoch": 1, "skip_all_evaluation": True},
        "backend": {"type": "ray", "trainer": {"num_workers": workers, "use_gpu": False}},
    }
    times = folder / f"{workers}.txt"
    model = LudwigModel(config, callbacks=[Clock(times)], logging_level=40)
    start = time.perf_counter()
    model.train(data, output_directory=str(folder / str(workers)), skip_save_processed_input=True)
    whole = time.perf_counter() - start
    step, busy = (statistics.median(column) for column in np.loadtxt(times).T)
    return step, busy, whole


def main() -> None:
    ray.init(address="local", num_cpus=6, object_store_memory=500 * 2**20, include_dashboard=False)
    heads = "| workers | batch of all | a step | busy | rows in a second | the whole training |"
    print(heads, "|---|---|---|---|---|---|", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        for workers in WORKERS:
            step, busy, whole = seconds(workers, pathlib.Path(folder))
            batch = workers * BATCH
            cells = f"{1e3 * step:.0f} ms | {1e3 * busy:.0f} ms | {batch / step:,.0f} | {whole:.0f} s"
            print(f"| {workers} | {batch:,} | {cells} |", flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
