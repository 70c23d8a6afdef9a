"""The matrix through the command line: a process trains, another one resumes, further ones evaluate and predict."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import commands
import declared
import matrix
from ludwig_losses import plugins

LUDWIG = str(pathlib.Path(sys.executable).with_name("ludwig"))
# Training and prediction of this pair are processes started from nothing; those of the others are forked, which saves
# 20 s each.
UNFORKED = ("category", "focal_loss")
# The one that trains the U-Net as wide as it is; the others load a plug-in.
WIDE = "dice_loss"
SPARSE = {"entmax_1.5_loss", "sparsemax_loss"}


class Command:
    """A running ``ludwig COMMAND...``, forked from a process that has imported Ludwig, or started from nothing."""

    def __init__(self, *command: str | pathlib.Path, cwd: pathlib.Path, forked: bool, **environment: str) -> None:
        self.log = cwd / f"{command[0]}.log"
        arguments = [*map(str, command)]
        self.process = self._fork(arguments, cwd, environment) if forked else self._start_from_nothing(arguments, cwd)

    def _fork(self, arguments: list[str], cwd: pathlib.Path, environment: dict[str, str]) -> BaseProcess:
        return commands.fork(commands.ludwig, *arguments, folder=cwd, log=self.log, **environment)

    def _start_from_nothing(self, arguments: list[str], cwd: pathlib.Path) -> subprocess.Popen:
        users = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with self.log.open("w") as output:
            return subprocess.Popen([LUDWIG, *arguments], cwd=cwd, stdout=output, stderr=subprocess.STDOUT, env=users)

    @property
    def status(self) -> int | None:
        """The exit status, or ``None`` while the command runs."""
        forked = isinstance(self.process, BaseProcess)
        return self.process.exitcode if forked else self.process.poll()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def interrupt(self) -> None:
        os.kill(self.process.pid, signal.SIGINT)

    def wait(self, limit: float = 300) -> int:
        """Return the exit status; a command that runs for longer than the limit is ended."""
        deadline = time.monotonic() + limit
        try:
            while self.status is None:
                assert time.monotonic() < deadline, self.output[-4000:]
                time.sleep(0.02)
        finally:
            if self.status is None:
                self.process.kill()
        return self.status


def run(*command: str | pathlib.Path, **how: Any) -> None:
    running = Command(*command, **how)
    assert running.wait() == 0, running.output[-4000:]


def interrupt_training(config: pathlib.Path, data: pathlib.Path, cwd: pathlib.Path, **how: Any) -> pathlib.Path:
    """Start a training, interrupt it once it has a checkpoint, return the results' folder."""
    training = ("train", "--config", config, "--dataset", data, "--output_directory", "results")
    running = Command(*training, cwd=cwd, **how)
    deadline = time.monotonic() + 240
    while not list(cwd.glob("results/*/model/training_progress.json")):
        assert running.status is None and time.monotonic() < deadline, running.output[-4000:]
        time.sleep(0.02)
    # Ludwig discards the signal while it saves a checkpoint, which is most of the time of a small training.
    while running.status is None and "Received SIGINT" not in running.output:
        running.interrupt()
        time.sleep(0.02)
    running.wait(limit=120)
    return next(cwd.glob("results/*/model")).parent


def predictions(folder: pathlib.Path) -> pd.DataFrame:
    return pd.read_parquet(next(folder.glob("**/predictions.parquet")))


def numbers(frame: pd.DataFrame) -> np.ndarray:
    """All numeric output of some predictions as one array."""
    columns = [frame[name] for name in frame if not isinstance(np.ravel(frame[name].iloc[0])[0], str)]
    return np.concatenate([np.concatenate([np.ravel(value).astype(float) for value in column]) for column in columns])


@pytest.mark.parametrize(("feature", "loss"), declared.PAIRS, ids=["-".join(pair) for pair in declared.PAIRS])
def test_train_interrupt_resume_evaluate_predict(feature, loss, tmp_path):
    config, data = matrix.write(feature, {"type": loss, **declared.options(feature, loss)}, tmp_path)
    epochs = 4 if feature == "image" else 12
    config["trainer"].update(
        epochs=epochs, early_stop=-1, **({"validation_metric": "mean_iou"} if feature == "image" else {})
    )
    narrow = {}
    if feature == "image" and loss != WIDE:
        narrow[plugins.VARIABLE] = str(matrix.NARROW_UNETS)
        # With SGD the loss of a narrow one hardly changes in four epochs.
        config["trainer"].update(optimizer={"type": "adam"}, learning_rate=0.01)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))

    forked = (feature, loss) != UNFORKED
    results = interrupt_training(path, data, tmp_path, forked=forked, **narrow)
    interrupted_at = progress(results)["epoch"]
    resume = ("experiment", "--config", path, "--dataset", data, "--model_resume_path", results)
    run(*resume, cwd=tmp_path, forked=True, **narrow)

    statistics = json.loads((results / "training_statistics.json").read_text())
    losses = np.array(statistics["training"]["y"]["loss"])
    assert interrupted_at < len(losses) == epochs
    # Of the last epochs, one may be worse by chance: where the interrupt came, shuffling begins anew.
    assert np.isfinite(losses).all() and np.median(losses[-3:]) < losses[0]

    of_model = ("--model_path", results / "model", "--dataset", data, "--output_directory")
    run("evaluate", *of_model, "evaluated", cwd=tmp_path, forked=True, **narrow)
    run("predict", *of_model, "predicted", "--split", "test", cwd=tmp_path, forked=forked, **narrow)
    evaluated = json.loads(next((tmp_path / "evaluated").glob("**/test_statistics.json")).read_text())
    assert np.isfinite(evaluated["y"]["loss"])
    if feature == "image":
        metrics = {"mean_iou", "dice_coefficient", "pixel_accuracy", "iou_0", "iou_1"}
        assert metrics <= evaluated["y"].keys() and metrics <= statistics["validation"]["y"].keys()
        assert evaluated["y"]["mean_iou"] == pytest.approx((evaluated["y"]["iou_0"] + evaluated["y"]["iou_1"]) / 2)

    after_reload = predictions(tmp_path / "predicted")
    assert np.isfinite(numbers(after_reload)).all()
    np.testing.assert_allclose(numbers(after_reload), numbers(predictions(results)), rtol=1e-5, atol=1e-6)
    if feature == "anomaly":
        assert {"anomaly_auroc", "f1_max", "recall_at_threshold"} <= evaluated["y"].keys()
        assert 0 < after_reload["y_predictions"].mean() < 1, "the threshold is saved with the model"
    if feature == "category":
        rows = np.stack(after_reload["y_probabilities"].tolist())
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
        assert loss not in SPARSE or (rows == 0).mean() > 0.2


def progress(results: pathlib.Path) -> dict:
    return json.loads((results / "model" / "training_progress.json").read_text())
