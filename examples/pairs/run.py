"""What is an embedding worth that learned without labels? ``python examples/pairs/run.py FOLDER``

compares temperatures and batch sizes of NT-Xent by what the embedding of each model is good for, on digits that no
model has seen:

- retrieval: the share of the test digits whose nearest other test digit, by cosine, is the same digit;
- linear probe: the accuracy of a logistic regression on the embeddings of 100 labelled digits, ten of each.

Beside them stand the pixels themselves, and the same encoder trained on these 100 labels, and on the labels of all
training digits, whose class probabilities are the embedding. ``table.md`` and ``plot.svg`` in the folder are what the
example shows; the pairs come from ``prepare.py``.
"""

from __future__ import annotations

import copy
import json
import logging
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import chain
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from ludwig.api import LudwigModel
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

import ludwig_losses

CONFIG = yaml.safe_load(pathlib.Path(__file__).with_name("config.yaml").read_text())
SEEDS = (0, 1, 2)
TEMPERATURES, BATCH_SIZES = (0.07, 0.2, 0.5), (32, 128)
TRAINING, VALIDATION, TEST = 0, 1, 2
LABELLED = 10  # Of each digit.


def few(labels: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the training digits that a seed has labels of."""
    training = labels[labels.split == TRAINING].sample(frac=1, random_state=seed)
    return training.groupby("digit").head(LABELLED)


def predicted(model: LudwigModel, rows: pd.DataFrame, column: str) -> np.ndarray:
    found, _ = model.predict(rows[["pixels"]].reset_index(drop=True), skip_save_predictions=True)
    return normalize(np.stack([*found[column]]))


def retrieval(vectors: np.ndarray, digit: np.ndarray) -> float:
    # The first neighbour of a digit is itself.
    nearest = NearestNeighbors(n_neighbors=2).fit(vectors).kneighbors(vectors, return_distance=False)[:, 1]
    return float((digit[nearest] == digit).mean())


def without_labels(folder: pathlib.Path, labels: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Train on pairs, by ``compare``; yield what the embeddings of each model are good for."""
    losses = {f"temperature {value}": {"type": "nt_xent_loss", "temperature": value} for value in TEMPERATURES}
    for size in BATCH_SIZES:
        config = copy.deepcopy(CONFIG)
        config["trainer"]["batch_size"] = size
        output = folder / f"batch{size}"
        ludwig_losses.compare(
            config, folder / "data.csv", losses, seeds=SEEDS, output_directory=output, keep_models=True
        )
        for path in sorted(output.glob("runs/*/result.json")):
            run = json.loads(path.read_text())["run"]
            model = LudwigModel.load(str(path.parent / "model"), logging_level=logging.ERROR)
            vectors = [predicted(model, rows, "embedding_predictions") for rows in parts(labels, run["seed"])]
            yield {"what": f"{run['loss']}, batch {size}", "seed": run["seed"], **judge(*vectors, labels, run["seed"])}


def parts(labels: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the digits with a label, and those to test on."""
    return few(labels, seed), labels[labels.split == TEST]


def judge(known: np.ndarray, test: np.ndarray, labels: pd.DataFrame, seed: int) -> dict[str, float]:
    """Return what embeddings of the digits with a label, and of those to test on, are good for."""
    truth = [rows.digit.to_numpy() for rows in parts(labels, seed)]
    probe = LogisticRegression(C=10, max_iter=1000).fit(known, truth[0])
    return {"retrieval": retrieval(test, truth[1]), "accuracy": probe.score(test, truth[1])}


def pixels(labels: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield what the pixels themselves are good for."""
    for seed in SEEDS:
        vectors = [normalize(np.stack([*rows.pixels.map(_numbers)])) for rows in parts(labels, seed)]
        yield {"what": "the pixels", "seed": seed, **judge(*vectors, labels, seed)}


def _numbers(text: str) -> np.ndarray:
    return np.array(text.split(), dtype=float)


def with_labels(folder: pathlib.Path, labels: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Train the same encoder on labels, on a few of them and on all."""
    training, validation = labels[labels.split == TRAINING], labels[labels.split == VALIDATION]
    for seed in SEEDS:
        known, test = parts(labels, seed)
        for what, rows, epochs in (("100 labels", known, 60), ("2,000 labels", training, 15)):
            config = copy.deepcopy(CONFIG)
            config["output_features"] = [{"name": "digit", "type": "category"}]
            config["trainer"] |= {"epochs": epochs, "batch_size": 32}
            model = LudwigModel(config, logging_level=logging.ERROR)
            table = pd.concat([rows, validation]).reset_index(drop=True)
            model.train(
                table, output_directory=str(folder / "labels"), random_seed=seed, skip_save_processed_input=True
            )
            vectors = predicted(model, test, "digit_probabilities")
            right = predicted_digits(model, test) == test.digit.to_numpy()
            truth = test.digit.to_numpy()
            yield {
                "what": f"trained on {what}",
                "seed": seed,
                "retrieval": retrieval(vectors, truth),
                "accuracy": right.mean(),
            }


def predicted_digits(model: LudwigModel, rows: pd.DataFrame) -> np.ndarray:
    found, _ = model.predict(rows[["pixels"]].reset_index(drop=True), skip_save_predictions=True)
    return found["digit_predictions"].astype(int).to_numpy()


def table(frame: pd.DataFrame) -> str:
    """Return the mean and the standard deviation over seeds, a line for each encoder, as Markdown."""
    grouped = frame.groupby("what", sort=False)[["retrieval", "accuracy"]].agg(["mean", "std"])
    lines = ["| embedding | retrieval | accuracy with 100 labels |", "|---|---|---|"]
    for what, row in grouped.iterrows():
        cells = [f"{row[name, 'mean']:.3f} ± {row[name, 'std']:.3f}" for name in ("retrieval", "accuracy")]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(frame: pd.DataFrame, path: pathlib.Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    names = [*frame.what.unique()]
    for axis, metric in zip(axes, ("retrieval", "accuracy"), strict=True):
        for place, what in enumerate(names):
            values = frame[frame.what == what][metric]
            axis.plot(values, [place] * len(values), ".", color="0.6")
            axis.plot(values.mean(), place, "o")
        axis.set_title(metric)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.savefig(path)


def main(folder: pathlib.Path) -> None:
    begin = time.monotonic()
    subprocess.run([sys.executable, pathlib.Path(__file__).with_name("prepare.py"), folder], check=True)
    labels = pd.read_csv(folder / "labels.csv")
    rows = []
    for row in chain(pixels(labels), with_labels(folder, labels), without_labels(folder, labels)):
        rows.append(row)
        print(row, flush=True)
    frame = pd.DataFrame(rows)
    seeds, seconds = ", ".join(map(str, SEEDS)), time.monotonic() - begin
    facts = f"- 2,500 test digits, seeds {seeds}, Ludwig {version('ludwig')}; it took {seconds:.0f} s."
    (folder / "table.md").write_text(f"{facts}\n\n{table(frame)}\n")
    plot(frame, folder / "plot.svg")
    print(table(frame))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
