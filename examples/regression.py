"""Tables with a number to predict, as the examples on intervals and counts give them to Ludwig."""

from __future__ import annotations

import numpy as np
import pandas as pd

MOST_ROWS = 1500


def frame(columns: pd.DataFrame, target: np.ndarray) -> pd.DataFrame:
    """Return the columns ``values``, the numbers of a row as text, standardised over all rows, and ``target``.

    Names become columns of 0 and 1. Of more than 1,500 rows a random 1,500 are kept (seed 0).
    """
    rows = pd.get_dummies(columns).to_numpy(float)
    deviation = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0))[:, deviation > 0] / deviation[deviation > 0]
    values = [" ".join(f"{value:.6g}" for value in row) for row in rows]
    table = pd.DataFrame({"values": values, "target": target})
    return table.sample(min(len(table), MOST_ROWS), random_state=0).reset_index(drop=True)
