"""Run by test_distributed.py with a Ray of its own: a training on two workers, or a search with two trials."""

from __future__ import annotations

import json
import pathlib
import sys

import ray
import yaml


def train(folder: pathlib.Path) -> None:
    """Train under Ray, and write down the losses of each epoch."""
    from ludwig.api import LudwigModel

    model = LudwigModel(yaml.safe_load((folder / "config.yaml").read_text()), logging_level=20)
    statistics, _, _ = model.train(str(folder / "data.csv"), output_directory=str(folder / "results"))
    losses = {feature: metrics["loss"] for feature, metrics in statistics.training.items()}
    (folder / "losses.json").write_text(json.dumps(losses))


def search(folder: pathlib.Path) -> None:
    """Run `ludwig hyperopt`."""
    import ludwig.hyperopt_cli

    files = ["--config", str(folder / "config.yaml"), "--dataset", str(folder / "data.csv")]
    output = ["--output_directory", str(folder / "results"), "--hyperopt_log_verbosity", "1"]
    ludwig.hyperopt_cli.cli([*files, *output, "--backend", "local"])


if __name__ == "__main__":
    # Two workers on two processors would wait for a third one, which Ray's data need.
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    {"train": train, "search": search}[sys.argv[1]](pathlib.Path(sys.argv[2]))
    ray.shutdown()
