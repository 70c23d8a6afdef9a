"""What is left when 40 % of the training labels are wrong? Cross-entropy against the bi-tempered loss on digits.

    python examples/noisy_labels/run.py FOLDER

trains both configurations beside this file with three seeds, and writes a table and a plot into the folder.
"""

from __future__ import annotations

import logging
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ludwig.api import LudwigModel

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from digits import TEST, load, mean_table

CONFIGS = ("cross_entropy", "bi_tempered")
SEEDS = (0, 1, 2)
NOISE = 0.4


def noisy(seed: int) -> pd.DataFrame:
    """Return the digits; a part of the training and validation labels is another digit, the test labels are right."""
    data = load(seed)
    random = np.random.default_rng(seed + 100)
    wrong = (random.random(len(data)) < NOISE) & (data.split != TEST)
    other = (data.digit + random.integers(1, 10, len(data))) % 10
    return data.assign(label=np.where(wrong, other, data.digit)).assign(
        label=lambda frame: frame.label.map("digit {}".format)
    )


def test_accuracy(config: str, seed: int, folder: pathlib.Path) -> list[float]:
    """Train a configuration; return the share of right predictions on the test images after each epoch."""
    model = LudwigModel(str(pathlib.Path(__file__).with_name(f"{config}.yaml")), logging_level=logging.ERROR)
    output = str(folder / f"{config}-{seed}")
    result = model.train(noisy(seed), output_directory=output, random_seed=seed, skip_save_processed_input=True)
    return result.train_stats.test["label"]["accuracy_micro"]


def plot(curves: dict[str, np.ndarray], path: pathlib.Path) -> None:
    figure, axis = plt.subplots(figsize=(6, 3.5))
    for config, accuracy in curves.items():
        epochs = np.arange(1, accuracy.shape[1] + 1)
        axis.plot(epochs, accuracy.mean(axis=0), label=config)
        axis.fill_between(epochs, accuracy.min(axis=0), accuracy.max(axis=0), alpha=0.2)
    axis.set(xlabel="epoch", ylabel="test accuracy", title="Digits, 40 % of the training labels wrong")
    axis.legend()
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    curves = {config: np.array([test_accuracy(config, seed, folder) for seed in SEEDS]) for config in CONFIGS}
    rows = [
        {"loss": config, "seed": seed, "after 10 epochs": row[9], "after 30 epochs": row[29], "at the end": row[-1]}
        for config, accuracies in curves.items()
        for seed, row in zip(SEEDS, accuracies, strict=True)
    ]
    table = mean_table(rows)
    (folder / "table.md").write_text(table + "\n")
    plot(curves, folder / "accuracy.svg")
    print(table)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
