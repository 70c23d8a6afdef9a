"""Which method finds what is not normal, over the imbalanced tables: one-class losses and scikit-learn's detectors.

The common class is normal, the rare one is not. Half of the normal rows, at most 500, are to train on, the others, at
most 500, to test with; so are the halves of the anomalies, of which all but the labelled ones of ``deep_sad`` are left
out of training. The losses run in plain PyTorch, with the settings of the example on contaminated rows.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM
from tables import RARE, imbalanced

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from one_class import train

METRICS = ("anomaly_auroc", "anomaly_average_precision")
SEEDS = (0, 1, 2)
MOST_ROWS = 500
# Settings of the losses were chosen on these tables.
CHOSEN_ON = ("segment0", "yeast3")
DETECTORS = {
    "IsolationForest": lambda seed: IsolationForest(random_state=seed),
    "OneClassSVM": lambda seed: OneClassSVM(nu=0.1),
    "LocalOutlierFactor": lambda seed: LocalOutlierFactor(novelty=True),
}
# The share of labelled anomalies among the training rows.
LOSSES = {
    "deep_svdd": ("deep_svdd", 0.0),
    "drocc": ("drocc", 0.0),
    "deep_sad, 1% labelled": ("deep_sad", 0.01),
    "deep_sad, 5% labelled": ("deep_sad", 0.05),
}


def split(table: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return normal rows and anomalies to train on, test rows and whether those are anomalies."""
    rows = np.array([text.split() for text in table["values"]], dtype=float)
    is_rare = (table.target == RARE).to_numpy()
    generator = np.random.default_rng(seed)
    normal, anomalies = (rows[generator.permutation(np.flatnonzero(is_rare == kind))] for kind in (False, True))
    training, held_out = np.array_split(normal[: 2 * MOST_ROWS], 2)
    known, found = np.array_split(anomalies, 2)
    mean, deviation = training.mean(axis=0), training.std(axis=0)
    deviation[deviation < 1e-6] = 1.0  # The same number in all training rows.
    test = np.concatenate([held_out, found])
    is_anomaly = np.arange(len(test)) >= len(held_out)
    return *((part - mean) / deviation for part in (training, known, test)), is_anomaly


def scores(name: str, training: np.ndarray, known: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Return the scores of the test rows: the higher, the more anomalous."""
    if name in DETECTORS:
        return -DETECTORS[name](seed).fit(training).score_samples(test)
    loss, share = LOSSES[name]
    labelled = known[: round(share * len(training) / (1 - share))]
    labels = torch.cat([torch.full((len(training),), -1), torch.ones(len(labelled), dtype=torch.long)])
    rows = torch.tensor(np.concatenate([training, labelled])).float()
    network = train(loss, rows, labels, 0.0, seed)
    with torch.no_grad():
        return network(torch.tensor(test).float()).numpy()


def of_table(table: pd.DataFrame) -> Iterator[dict[str, object]]:
    for seed in SEEDS:
        training, known, test, is_anomaly = split(table, seed)
        for name in (*DETECTORS, *LOSSES):
            found = scores(name, training, known, test, seed)
            values = roc_auc_score(is_anomaly, found), average_precision_score(is_anomaly, found)
            for metric, value in zip(METRICS, values, strict=True):
                yield {"loss": name, "seed": seed, "metric": metric, "value": value}


def measure(folder: pathlib.Path) -> pd.DataFrame:
    """Return the metrics of each table, method and seed; a table that was measured before is read."""
    torch.set_num_threads(1)
    found = []
    for name, table in imbalanced().items():
        if name in CHOSEN_ON:
            continue
        path = folder / name / "runs" / "all" / "result.json"
        if not path.exists():
            begin = time.perf_counter()
            rows = list(of_table(table))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"rows": rows, "seconds": time.perf_counter() - begin}))
            print(name, flush=True)
        found.append(pd.DataFrame(json.loads(path.read_text())["rows"]).assign(table=name))
    return pd.concat(found, ignore_index=True)
