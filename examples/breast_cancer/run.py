"""Are fewer tumours missed if a missed one costs three times a false alarm? Cross-entropy against focal loss.

    python examples/breast_cancer/run.py FOLDER

trains both configurations beside this file with three seeds, and writes a table and a plot into the folder.
"""

from __future__ import annotations

import logging
import pathlib
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ludwig.api import LudwigModel
from sklearn.metrics import precision_score, recall_score, roc_auc_score

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from digits import TEST, mean_table

HERE = pathlib.Path(__file__).parent
CONFIGS = ("cross_entropy", "focal")
SEEDS = (0, 1, 2)
THRESHOLDS = np.linspace(0.05, 0.95, 19)
# How many false alarms a missed tumour costs, and the threshold that follows for calibrated probabilities.
COST = 3
FOR_COST = 1 / (1 + COST)
# What is compared: a configuration with a threshold. That of focal loss has the costs in its weights.
CASES = {
    "cross_entropy": ("cross_entropy", 0.5),
    f"cross_entropy, threshold {FOR_COST}": ("cross_entropy", FOR_COST),
    "focal": ("focal", 0.5),
}


def probabilities(config: str, seed: int, data: pd.DataFrame, folder: pathlib.Path) -> np.ndarray:
    """Train a configuration; return the probability that each test tumour is malignant."""
    model = LudwigModel(str(HERE / f"{config}.yaml"), logging_level=logging.ERROR)
    output = str(folder / f"{config}-{seed}")
    model.train(data, output_directory=output, random_seed=seed, skip_save_processed_input=True)
    predictions, _ = model.predict(data, split="test", output_directory=output)
    return predictions["diagnosis_probabilities_malignant"].to_numpy()


def row(case: str, seed: int, truth: np.ndarray, probability: np.ndarray, threshold: float) -> dict:
    alarms = probability > threshold
    return {
        "loss": case,
        "seed": seed,
        "tumours found": recall_score(truth, alarms),
        "alarms that are right": precision_score(truth, alarms),
        "cost of a row": (COST * (truth & ~alarms) + (~truth & alarms)).mean(),
        "ROC AUC": roc_auc_score(truth, probability),
    }


def plot(truth: np.ndarray, found: dict[str, list[np.ndarray]], path: pathlib.Path) -> None:
    """Draw what each threshold finds, as the mean over the seeds."""
    figure, axis = plt.subplots(figsize=(6, 3.5))
    for colour, (config, seeds) in zip(("C0", "C1"), found.items(), strict=True):
        for score, style in ((recall_score, "-"), (precision_score, "--")):
            values = [[score(truth, one > threshold) for threshold in THRESHOLDS] for one in seeds]
            name = "tumours found" if style == "-" else "alarms that are right"
            axis.plot(THRESHOLDS, np.mean(values, axis=0), colour + style, label=f"{config}: {name}")
    axis.axvline(0.5, color="grey", linewidth=0.8)
    axis.set(xlabel="threshold of the probability", ylabel="share", title="Test tumours, mean of three seeds")
    axis.legend(fontsize="small")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main(folder: pathlib.Path) -> None:
    subprocess.run([sys.executable, HERE / "prepare.py", folder], check=True)
    data = pd.read_csv(folder / "breast_cancer.csv")
    truth = (data[data.split == TEST].diagnosis == "malignant").to_numpy(bool)
    found = {config: [probabilities(config, seed, data, folder) for seed in SEEDS] for config in CONFIGS}
    rows = [
        row(case, seed, truth, one, threshold)
        for case, (config, threshold) in CASES.items()
        for seed, one in zip(SEEDS, found[config], strict=True)
    ]
    table = mean_table(rows)
    (folder / "table.md").write_text(table + "\n")
    plot(truth, found, folder / "thresholds.svg")
    print(table)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
