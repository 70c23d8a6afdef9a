"""Which classifier knows what it does not know? Digits 0 to 4 are known, 5 to 7 background, 8 and 9 never seen.

    python examples/open_set/run.py FOLDER

trains each configuration beside this file with three seeds, and writes a table and a plot into the folder.
"""

from __future__ import annotations

import logging
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from ludwig.api import LudwigModel
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from digits import TEST, load, mean_table

CONFIGS = ("cross_entropy", "entropic_open_set", "objectosphere", "objectosphere_default")
SEEDS = (0, 1, 2)


def label(digit: int) -> str:
    return f"digit {digit}" if digit <= 4 else "other"


def scores(config: str, seed: int, folder: pathlib.Path) -> pd.DataFrame:
    """Train a configuration; return the test images with their score and predicted label."""
    data = load(seed).assign(label=lambda frame: frame.digit.map(label))
    seen = data[data.digit <= (4 if config == "cross_entropy" else 7)]
    path = pathlib.Path(__file__).with_name(f"{config}.yaml")
    model = LudwigModel(str(path), logging_level=logging.ERROR)
    output = folder / f"{config}-{seed}"
    model.train(seen, output_directory=str(output), random_seed=seed, skip_save_processed_input=True)
    test = data[data.split == TEST].reset_index(drop=True)
    predicted, _ = model.predict(test[["pixels"]], skip_save_predictions=True)
    # Cross-entropy has no score of its own: its highest probability is the usual one.
    score = predicted.get("label_known_score", predicted["label_probability"])
    return test.assign(
        score=score, probability=predicted["label_probability"], predicted=predicted["label_predictions"]
    )


def summary(config: str, seed: int, test: pd.DataFrame) -> dict:
    known, background, never_seen = test[test.digit <= 4], test[test.digit.isin([5, 6, 7])], test[test.digit >= 8]
    both = pd.concat([known, never_seen])
    return {
        "loss": config,
        "seed": seed,
        "AUROC, known against never seen": roc_auc_score(both.digit <= 4, both.score),
        "accuracy on known": (known.label == known.predicted).mean(),
        "probability, known": known.probability.mean(),
        "background": background.probability.mean(),
        "never seen": never_seen.probability.mean(),
    }


def plot(results: dict[str, pd.DataFrame], path: pathlib.Path) -> None:
    figure, axes = plt.subplots(1, len(results), figsize=(4 * len(results), 3), sharey=True)
    for axis, (config, test) in zip(axes, results.items(), strict=True):
        groups = [test[test.digit <= 4].probability, test[test.digit >= 8].probability]
        axis.hist(groups, bins=20, range=(0, 1), density=True, label=["known", "never seen"])
        axis.set(title=config, xlabel="probability of the predicted class")
    axes[0].set_ylabel("density of test images")
    axes[0].legend()
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows, pooled = [], {}
    for config in CONFIGS:
        tests = {seed: scores(config, seed, folder) for seed in SEEDS}
        rows += [summary(config, seed, test) for seed, test in tests.items()]
        pooled[config] = pd.concat(tests.values())
    table = mean_table(rows)
    (folder / "table.md").write_text(table + "\n")
    plot(pooled, folder / "scores.svg")
    print(table)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
