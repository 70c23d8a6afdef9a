"""The matrix through the command line: one process trains, another resumes, a third one evaluates and predicts."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

import matrix

LUDWIG = str(pathlib.Path(sys.executable).with_name("ludwig"))
# The program `ludwig`, for one command after the other: its imports take longer than most commands.
COMMANDS = """
import json, sys
from ludwig.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["ludwig", *command]
    main()
"""
SPARSE = {"entmax_1.5_loss", "sparsemax_loss"}


def run(*command: str | pathlib.Path, cwd: pathlib.Path) -> None:
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def interrupt_training(config: pathlib.Path, data: pathlib.Path, cwd: pathlib.Path) -> pathlib.Path:
    """Start a training, interrupt it once it has a checkpoint, return the results' folder."""
    log = cwd / "interrupted.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [LUDWIG, "train", "--config", str(config), "--dataset", str(data), "--output_directory", "results"],
            cwd=cwd, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        deadline = time.monotonic() + 240
        while not list(cwd.glob("results/*/model/training_progress.json")):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.02)
        # Ludwig discards the signal while it saves a checkpoint, which is most of the time of a small training.
        while process.poll() is None and "Received SIGINT" not in log.read_text(errors="replace"):
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        process.wait(timeout=120)
    return next(cwd.glob("results/*/model")).parent


def predictions(folder: pathlib.Path) -> pd.DataFrame:
    return pd.read_parquet(next(folder.glob("**/predictions.parquet")))


def numbers(frame: pd.DataFrame) -> np.ndarray:
    """All numeric output of some predictions as one array."""
    columns = [frame[name] for name in frame if not isinstance(np.ravel(frame[name].iloc[0])[0], str)]
    return np.concatenate([np.concatenate([np.ravel(value).astype(float) for value in column]) for column in columns])


@pytest.mark.parametrize(("feature", "loss"), matrix.PAIRS, ids=["-".join(pair) for pair in matrix.PAIRS])
def test_train_interrupt_resume_evaluate_predict(feature, loss, tmp_path):
    config, data = matrix.write(feature, {"type": loss, **matrix.OPTIONS.get((feature, loss), {})}, tmp_path)
    epochs = 4 if feature == "image" else 12
    config["trainer"].update(
        epochs=epochs, early_stop=-1, **({"validation_metric": "mean_iou"} if feature == "image" else {})
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))

    results = interrupt_training(path, data, tmp_path)
    interrupted_at = progress(results)["epoch"]
    run(LUDWIG, "experiment", "--config", path, "--dataset", data, "--model_resume_path", results, cwd=tmp_path)

    statistics = json.loads((results / "training_statistics.json").read_text())
    losses = np.array(statistics["training"]["y"]["loss"])
    assert interrupted_at < len(losses) == epochs
    assert np.isfinite(losses).all() and losses[-1] < losses[0]

    of_model = ["--model_path", str(results / "model"), "--dataset", str(data), "--output_directory"]
    commands = [["evaluate", *of_model, "evaluated"], ["predict", *of_model, "predicted", "--split", "test"]]
    run(sys.executable, "-c", COMMANDS, json.dumps(commands), cwd=tmp_path)
    evaluated = json.loads(next((tmp_path / "evaluated").glob("**/test_statistics.json")).read_text())
    assert np.isfinite(evaluated["y"]["loss"])
    if feature == "image":
        metrics = {"mean_iou", "dice_coefficient", "pixel_accuracy", "iou_0", "iou_1"}
        assert metrics <= evaluated["y"].keys() and metrics <= statistics["validation"]["y"].keys()
        assert evaluated["y"]["mean_iou"] == pytest.approx((evaluated["y"]["iou_0"] + evaluated["y"]["iou_1"]) / 2)

    after_reload = predictions(tmp_path / "predicted")
    assert np.isfinite(numbers(after_reload)).all()
    np.testing.assert_allclose(numbers(after_reload), numbers(predictions(results)), rtol=1e-5, atol=1e-6)
    if feature == "category" and loss in SPARSE:
        rows = np.stack(after_reload["y_probabilities"].tolist())
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
        assert (rows == 0).mean() > 0.2


def progress(results: pathlib.Path) -> dict:
    return json.loads((results / "model" / "training_progress.json").read_text())
