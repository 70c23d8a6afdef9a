"""Write the digits of scikit-learn with labels for open-set recognition: ``prepare.py FOLDER``.

0 to 4 are known, and in all three splits. All others have the label "other": 5 and 6 are the background to train with, 7
is in the validation rows only, 8 and 9 are in the test rows only.
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from digits import TEST, TRAINING, VALIDATION, load

OTHERS = {5: TRAINING, 6: TRAINING, 7: VALIDATION, 8: TEST, 9: TEST}


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    digits = load(seed=0)
    label = ("digit " + digits.digit.astype(str)).mask(digits.digit.isin(OTHERS), "other")
    table = digits.assign(label=label, split=digits.digit.map(OTHERS).fillna(digits.split).astype(int))
    table.drop(columns="digit").to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
