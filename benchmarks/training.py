"""The time of a training run with each loss, relative to the one with Ludwig's default loss.

``python benchmarks/training.py [--rows N] [--rounds N] [PART OF A NAME ...]`` trains on a table with ten columns, or,
where each token of a text gets a class, on short texts. Two
processes, one with the loss and one with the default loss, take turns after each step, so that a machine that is busy,
or slower for a while, slows both. Compared is all that ``LudwigModel.train`` does, its preprocessing included, and
what is done between the first steps and the last one, with evaluations and checkpoints. Printed is the median of the
ratios of the rounds, the least and the largest. It runs with every generation of Ludwig, and on the accelerator that
is there.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from multiprocessing.synchronize import Semaphore
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Whoever asks for a GPU in another way could not fork processes that use it.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import numpy as np
import pandas as pd
import torch
from ludwig.api import LudwigModel
from ludwig.callbacks import Callback

COLUMNS, CLASSES, EPOCHS, BATCH = 10, 10, 3, 128
TOKENS = 12  # of a text
# Steps until everything is warm, and the longest that a turn may take.
WARM, SECONDS = 10, 300
_processes = multiprocessing.get_context("fork")  # Ludwig takes ten seconds to import.

CATEGORY: dict[str, dict[str, Any]] = {
    "focal": {"type": "focal_loss"},
    "poly": {"type": "poly_loss"},
    "entmax-1.5": {"type": "entmax_1.5_loss"},
    "sparsemax": {"type": "sparsemax_loss"},
    "tempered": {"type": "tempered_softmax_cross_entropy", "t1": 0.5, "t2": 1.5},
    "logit-adjusted": {"type": "logit_adjusted_loss"},
    "generalized cross-entropy": {"type": "generalized_cross_entropy"},
    "corn": {"type": "corn", "order": [f"c{i}" for i in range(CLASSES)]},
    "open-set": {"type": "entropic_open_set"},
    "objectosphere with background": {"type": "objectosphere", "background_class": "c0"},
    "compound": {
        "type": "compound_loss",
        "terms": [{"type": "focal_loss"}, {"type": "softmax_cross_entropy", "weight": 0.5}],
    },
}
LOSSES: dict[str, dict[str, dict[str, Any]]] = {
    "category": CATEGORY,
    "binary": {
        "binary focal": {"type": "focal_loss"},
        "binary asymmetric": {"type": "asymmetric_loss"},
        "binary generalized cross-entropy": {"type": "generalized_cross_entropy"},
    },
    "set": {
        "set focal": {"type": "focal_loss"},
        "set asymmetric": {"type": "asymmetric_loss"},
        "set poly": {"type": "poly_loss"},
    },
    "sequence": {
        "token focal": {"type": "focal_loss"},
        "token poly": {"type": "poly_loss"},
        "token tempered": {"type": "tempered_softmax_cross_entropy"},
    },
    "number": {
        "quantiles": {"type": "quantile_loss", "quantiles": [0.05, 0.5, 0.95]},
        "calibrated quantiles": {"type": "quantile_loss", "quantiles": [0.05, 0.5, 0.95], "calibrate": True},
    },
}


def table(rows: int) -> pd.DataFrame:
    """Columns of numbers; a class that depends on them; a truth, labels and a number that depend on the class; a text
    with a class for each token."""
    source = np.random.default_rng(0)
    x = source.normal(size=(rows, COLUMNS))
    label = (x @ source.normal(size=(COLUMNS, CLASSES)) + source.normal(size=(rows, CLASSES))).argmax(axis=1)
    tokens = source.integers(0, CLASSES, size=(rows, TOKENS))
    data = pd.DataFrame(x, columns=[f"x{i}" for i in range(COLUMNS)])
    return data.assign(
        category=[f"c{i}" for i in label],
        binary=label % 2 == 0,
        set=[f"c{i} {'even' if i % 2 == 0 else 'odd'} s{j}" for i, j in zip(label, tokens[:, 0], strict=True)],
        number=label + source.normal(size=rows),
        text=[" ".join(f"w{i}" for i in row) for row in tokens],
        sequence=[" ".join(f"t{(i + row[0]) % 3}" for i in row) for row in tokens],
        split=np.arange(rows) % 10 // 8,
    )


def configuration(output: str, loss: dict[str, Any] | None) -> dict[str, Any]:
    feature: dict[str, Any] = {"name": output, "type": output}
    inputs: list[dict[str, Any]] = [{"name": f"x{i}", "type": "number"} for i in range(COLUMNS)]
    # The smallest network, the same with every generation: beside a large one no loss would be seen.
    combiner = {"type": "concat"}
    if output == "sequence":
        encoder = {"type": "embed", "embedding_size": 16, "reduce_output": None}
        inputs = [{"name": "text", "type": "sequence", "encoder": encoder}]
        combiner = {"type": "sequence_concat", "reduce_output": None}
        feature["decoder"] = {"type": "tagger"}
    return {
        "input_features": inputs,
        "combiner": combiner,
        "output_features": [feature if loss is None else {**feature, "loss": loss}],
        "preprocessing": {"split": {"type": "fixed"}},
        # Without a size for evaluations, Ludwig would try some.
        "trainer": {"epochs": EPOCHS, "batch_size": BATCH, "eval_batch_size": BATCH, "early_stop": -1},
    }


class Turns(Callback):
    """Lets the other training go on before the first step of this one, after each step, and after the training; takes
    the time of each turn."""

    def __init__(self, mine: Semaphore, others: Semaphore) -> None:
        self.mine, self.others = mine, others
        self.times: list[float] = []

    def __enter__(self) -> None:
        self._begin()

    def on_batch_start(self, *args: Any) -> None:
        self._end()
        self._begin()

    def __exit__(self, *_: object) -> None:
        self._end()

    def _begin(self) -> None:
        if not self.mine.acquire(timeout=SECONDS):
            raise TimeoutError("the other training has stopped")
        self.times.append(-time.perf_counter())

    def _end(self) -> None:
        self.times[-1] += time.perf_counter()
        self.others.release()


def train(data: pd.DataFrame, config: dict[str, Any], turns: Turns, result: Any) -> None:
    """Train a model, and send the time of everything and that of the steps."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # Others would go on turning for a while after the turn.
    with tempfile.TemporaryDirectory() as folder, turns:
        LudwigModel(config, logging_level=logging.ERROR, callbacks=[turns]).train(
            dataset=data, output_directory=folder, skip_save_processed_input=True, skip_save_log=True, random_seed=1
        )
    # What comes before the first step is one turn, and the last step has what comes after it.
    result.send((sum(turns.times), sum(turns.times[1 + WARM : -1])))


def ratios(data: pd.DataFrame, output: str, loss: dict[str, Any], round_: int) -> tuple[float, float]:
    """The time of a training run with a loss over that of one with the default loss, as a whole and in its steps; every
    other round begins with it."""
    mine, others = _processes.Semaphore(round_ % 2), _processes.Semaphore(1 - round_ % 2)
    running = []
    for config, turns in (
        (configuration(output, loss), Turns(mine, others)),
        (configuration(output, None), Turns(others, mine)),
    ):
        receiver, sender = _processes.Pipe(duplex=False)
        process = _processes.Process(target=train, args=(data, config, turns, sender))
        process.start()
        sender.close()
        running.append((process, receiver))
    of_loss, of_default = (receiver.recv() for _, receiver in running)
    for process, _ in running:
        process.join()
    return of_loss[0] / of_default[0], of_loss[1] / of_default[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of names of losses; none for all")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    data = table(options.rows)
    print(f"| loss, over the default one: median of {options.rounds} (least to largest) | whole training | steps |")
    print("|---|---|---|", flush=True)
    for output, losses in LOSSES.items():
        for name, loss in losses.items():
            if not options.names or any(part in name for part in options.names):
                found = [ratios(data, output, loss, round_) for round_ in range(options.rounds)]
                print(f"| {name} | {' | '.join(map(shown, zip(*found, strict=True)))} |", flush=True)


def shown(found: tuple[float, ...]) -> str:
    return f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


if __name__ == "__main__":
    main()
