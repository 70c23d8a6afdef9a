"""What does Ludwig's ``calibration: true`` do to probabilities? ``python examples/calibration/run.py FOLDER``.

Losses are trained on the data of two other examples, without and with ``calibration: true`` on the output feature, by
``ludwig_losses.compare``. The table has both values of a metric on the test rows, and the number of seeds in which the
second one is lower; the plot has reliability diagrams.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from sklearn.calibration import calibration_curve

EXAMPLES = pathlib.Path(__file__).resolve().parents[1]
METRICS = ("expected_calibration_error", "log_loss")
SETTINGS = ("without", "with")
BINS = 10
FOCAL = "focal, gamma 2"
PLANS = {
    "rare_positives": {
        "title": "3 % positives, ten numbers (`rare_positives`), 10 epochs",
        "epochs": 10,
        "seeds": 5,
        "drawn from": 0.45,
        "losses": {
            "cross-entropy": {"type": "binary_weighted_cross_entropy"},
            "class weights": {"type": "binary_weighted_cross_entropy", "positive_class_weight": 32},
            FOCAL: {"type": "focal_loss", "alpha": None, "gamma": 2},
            "focal, balanced": {"type": "focal_loss", "alpha": 0.75, "gamma": 2},
            "logit-adjusted": {"type": "logit_adjusted_loss", "priors": [0.97, 0.03]},
            "tempered": {"type": "tempered_softmax_cross_entropy", "t1": 0.8, "t2": 1.0},
        },
    },
    "many_classes": {
        "title": "26 letters, sixteen numbers (`many_classes`), 40 epochs",
        "epochs": 40,
        "seeds": 3,
        "drawn from": 0.2,
        "losses": {
            "cross-entropy": {"type": "softmax_cross_entropy"},
            FOCAL: {"type": "focal_loss", "alpha": None, "gamma": 2},
            "focal, gamma 5": {"type": "focal_loss", "alpha": None, "gamma": 5},
            "poly": {"type": "poly_loss"},
            "tempered": {"type": "tempered_softmax_cross_entropy", "t1": 0.8, "t2": 1.0},
        },
    },
}


def measure(name: str, plan: dict, folder: pathlib.Path) -> pd.DataFrame:
    """Return the metrics of an example's data with each loss and seed, without and with calibration."""
    import ludwig_losses

    subprocess.run([sys.executable, EXAMPLES / name / "prepare.py", folder], check=True)
    found = []
    for setting in SETTINGS:
        config = yaml.safe_load((EXAMPLES / name / "config.yaml").read_text())
        config["trainer"] |= {"epochs": plan["epochs"], "evaluate_training_set": False}
        config["output_features"][0]["calibration"] = setting == "with"
        frame = ludwig_losses.compare(
            config, folder / "data.csv", plan["losses"], seeds=plan["seeds"], output_directory=folder / setting
        )
        found.append(frame[frame.metric.isin(METRICS)].assign(setting=setting))
    return pd.concat(found, ignore_index=True)


def table(frame: pd.DataFrame) -> str:
    """Return both values of each metric, a line for each loss, as Markdown."""
    lines = [f"| loss | {' | '.join(f'{name} | lower' for name in METRICS)} |", "|---" * (2 * len(METRICS) + 1) + "|"]
    for loss, of_loss in frame.groupby("loss", sort=False):
        cells = [cell for name in METRICS for cell in cells_of(of_loss[of_loss.metric == name])]
        lines.append(f"| {loss} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cells_of(values: pd.DataFrame) -> tuple[str, str]:
    wide = values.pivot(index="seed", columns="setting", values="value")
    means = [f"{wide[setting].mean():.3f} ± {wide[setting].std():.3f}" for setting in SETTINGS]
    return " → ".join(means), f"{(wide['with'] < wide['without']).sum()} of {len(wide)}"


def certainty(folder: pathlib.Path, loss: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each predicted class, and whether it is right, of all seeds of a loss."""
    runs = [
        path.parent for path in folder.glob("runs/*/result.json") if json.loads(path.read_text())["run"]["loss"] == loss
    ]
    found = [np.load(run / "predictions.npz", allow_pickle=False) for run in sorted(runs)]
    probabilities = np.concatenate([run["probabilities"] for run in found])
    truth = np.concatenate([run["truth"] for run in found])
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == truth


def plot(folder: pathlib.Path) -> None:
    """Draw reliability diagrams of cross-entropy and focal loss."""
    figure, axes = plt.subplots(1, len(PLANS), figsize=(9, 3.6), layout="constrained")
    for axis, (name, plan) in zip(axes, PLANS.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle=":", label="calibrated")
        for colour, loss in enumerate(("cross-entropy", FOCAL)):
            for style, setting in zip(("--", "-"), SETTINGS, strict=True):
                confidence, is_right = certainty(folder / name / setting, loss)
                accuracy, mean = calibration_curve(is_right, confidence, n_bins=BINS, strategy="quantile")
                label = f"{loss}, {setting} calibration"
                axis.plot(mean, accuracy, style, color=f"C{colour}", marker=".", label=label)
        axis.set(title=plan["title"].partition(" (")[0], xlabel="probability of the predicted class")
        axis.set(xlim=(plan["drawn from"], 1.01), ylim=(plan["drawn from"], 1.01))
    axes[0].set_ylabel("share that is right")
    axes[0].legend(fontsize="small")
    figure.savefig(folder / "plot.svg")


def main(folder: pathlib.Path) -> None:
    parts = []
    for name, plan in PLANS.items():
        parts += [f"{plan['title']}:", "", table(measure(name, plan, folder / name)), ""]
    parts.append("Mean ± standard deviation over the seeds, without → with `calibration: true`, on the test rows.")
    (folder / "table.md").write_text("\n".join(parts) + "\n")
    plot(folder)
    print((folder / "table.md").read_text())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
