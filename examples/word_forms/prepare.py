"""Write English words and which grammatical forms they can be: ``prepare.py FOLDER``.

6,000 of the words with four to twelve letters in the lexicon of the package lemminflect (from the SPECIALIST Lexicon),
drawn at random, with the forms as labels: "cut" is a singular noun, a verb, its past and its participle.
"""

from __future__ import annotations

import gzip
import importlib.util
import pathlib
import sys
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pandas as pd

PARTS = (3_000, 1_000, 2_000)
# What the lexicon lists of each part of speech after the word itself. An empty column: there is none, or for the
# participle of a verb, it is that of the column before.
FORMS = {
    "noun": ("singular", "plural"),
    "verb": ("verb", "past", "participle", "gerund", "third_person"),
    "adj": ("adjective", "comparative", "superlative"),
    "adv": ("adverb", "comparative", "superlative"),
}


def forms(lexicon: str) -> Iterator[tuple[str, str]]:
    """Return each word of the lexicon with each form that it can be."""
    for line in lexicon.splitlines():
        word, part, *listed = line.split(",")
        if part not in FORMS:
            continue
        if part == "verb" and not listed[1]:
            listed[1] = listed[0]
        for form, words in zip(FORMS[part], (word, *listed), strict=False):
            yield from ((each, form) for each in words.split("/"))


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Not imported: the package loads a model, and this needs a file of it only.
    package = pathlib.Path(importlib.util.find_spec("lemminflect").submodule_search_locations[0])
    found = defaultdict(set)
    for word, form in forms(gzip.decompress((package / "resources" / "infl_lu.csv.gz").read_bytes()).decode()):
        if word.isascii() and word.isalpha() and word.islower() and 4 <= len(word) <= 12:
            found[word].add(form)
    words = np.random.default_rng(0).choice(sorted(found), sum(PARTS), replace=False)
    table = pd.DataFrame(
        {
            "letters": [" ".join(word) for word in words],
            "forms": [" ".join(sorted(found[word])) for word in words],
            "split": np.repeat(range(len(PARTS)), PARTS),
        }
    )
    table.to_csv(folder / "data.csv", index=False)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
