"""Print test metrics of evaluated models beside each other: ``compare.py FEATURE NAME=FOLDER [NAME=FOLDER ...]``."""

import json
import pathlib
import sys

METRICS = ["accuracy", "roc_auc", "precision", "recall"]


def main(feature: str, *models: str) -> None:
    print(f"{'':<16}" + "".join(f"{metric:>12}" for metric in METRICS))
    for model in models:
        name, _, folder = model.partition("=")
        metrics = json.loads((pathlib.Path(folder) / "test_statistics.json").read_text())[feature]
        print(f"{name:<16}" + "".join(f"{metrics[metric]:>12.4f}" for metric in METRICS))


if __name__ == "__main__":
    main(*sys.argv[1:])
