"""Write the digits of scikit-learn with labels for open-set recognition: ``prepare.py FOLDER``.

0 to 4 are known. 5 to 7, labelled "other", are the background, in training and validation rows. 8 and 9, labelled
"other", too, are in the test rows only, which have no background.
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from digits import TEST, load

BACKGROUND, NEVER_SEEN = (5, 6, 7), (8, 9)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    digits = load(seed=0)
    is_background, is_never_seen = digits.digit.isin(BACKGROUND), digits.digit.isin(NEVER_SEEN)
    table = digits.assign(
        split=digits.split.mask(is_never_seen, TEST),
        label=("digit " + digits.digit.astype(str)).mask(is_background | is_never_seen, "other"),
    )
    table[~is_background | (table.split != TEST)].drop(columns="digit").to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
