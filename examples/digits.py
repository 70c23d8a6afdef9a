"""The 1,797 handwritten digits that ship with scikit-learn, and averages over training runs on them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

TRAINING, VALIDATION, TEST = 0, 1, 2


def load(seed: int) -> pd.DataFrame:
    """Return pixels (a Ludwig vector), digit and split of each image: 50 % training, 10 % validation, 40 % test."""
    digits = load_digits()
    parts = np.random.default_rng(seed).choice([TRAINING, VALIDATION, TEST], len(digits.target), p=[0.5, 0.1, 0.4])
    pixels = [" ".join(f"{value / 16:g}" for value in row) for row in digits.data]
    return pd.DataFrame({"pixels": pixels, "digit": digits.target, "split": parts})


def mean_table(rows: list[dict]) -> str:
    """Return the mean and the standard deviation over seeds of each number, one line per loss, as Markdown."""
    frame = pd.DataFrame(rows)
    numbers = frame.drop(columns=["loss", "seed"]).columns
    grouped = frame.groupby("loss", sort=False)[list(numbers)]
    mean, deviation = grouped.mean(), grouped.std()
    lines = [f"| loss | {' | '.join(numbers)} |", "|---" * (len(numbers) + 1) + "|"]
    for loss in mean.index:
        cells = [f"{mean.loc[loss, number]:.3f} ± {deviation.loc[loss, number]:.3f}" for number in numbers]
        lines.append(f"| {loss} | {' | '.join(cells)} |")
    return "\n".join(lines)
