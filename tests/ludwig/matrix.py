"""Of every feature type a configuration with data it can learn from, with any loss."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

import oracles

# Without an eval_batch_size Ludwig takes the one with which it has measured the most rows per second: on a busy machine
# it may be 1, and metrics that compare rows have nothing to compare.
TRAINER = {"epochs": 2, "batch_size": 32, "eval_batch_size": 64, "learning_rate": 0.01}
# A plug-in that registers nothing: a sixteenth of the width is enough to see whether a loss trains.
NARROW_UNETS = pathlib.Path(__file__).parents[2] / "examples" / "small_objects" / "small_unet.py"
# A U-Net has 31 million weights: without Adam's averages for each, a checkpoint is a third as large.
IMAGE_TRAINER = {"epochs": 2, "batch_size": 8, "eval_batch_size": 8, "learning_rate": 0.2, "optimizer": {"type": "sgd"}}


def write(feature: str, loss: dict[str, Any], folder: pathlib.Path) -> tuple[dict[str, Any], pathlib.Path]:
    """Write the data for a feature type into a folder; return a configuration with the loss and the data's path."""
    inputs, output, frame = FEATURES[feature](folder)
    facts = oracles.LOSSES.get(loss.get("type"))
    output = {**output, **(facts.output if facts else {})}
    path = folder / "data.csv"
    frame.to_csv(path, index=False)
    config = {
        "input_features": inputs,
        "combiner": {"type": "concat"},
        "output_features": [{"name": "y", "type": feature, "loss": loss, **output}],
        "trainer": dict(IMAGE_TRAINER if feature == "image" else TRAINER),
    }
    return config, path


def _binary(folder: pathlib.Path):
    data = load_breast_cancer(as_frame=True)
    names = list(data.feature_names[:5])
    columns = {name: f"f{index}" for index, name in enumerate(names)}
    frame = data.frame[names].rename(columns=columns).assign(y=data.target.map({0: "malignant", 1: "benign"}))
    return _numbers(columns.values()), {"preprocessing": {"fallback_true_label": "malignant"}}, frame


def _anomaly(folder: pathlib.Path):
    inputs, _, frame = _binary(folder)
    labels = frame["y"].map({"benign": 0.0, "malignant": 1.0}).where(frame.index % 3 > 0)  # a third has none
    return inputs, {}, frame.assign(y=labels)


def _category(folder: pathlib.Path):
    data = load_wine(as_frame=True)
    columns = {name: f"f{index}" for index, name in enumerate(data.feature_names)}
    frame = data.frame[data.feature_names].rename(columns=columns).assign(y=data.target.map("class_{}".format))
    return _numbers(columns.values()), {}, frame


def _number(folder: pathlib.Path):
    inputs, _, frame = _category(folder)
    return inputs, {}, frame.assign(y=frame["f1"] + frame["f5"])


def _set(folder: pathlib.Path):
    inputs, _, frame = _category(folder)
    return inputs, {}, frame.assign(y=frame["y"].map({"class_0": "a b", "class_1": "b", "class_2": "a c"}))


def _timeseries(folder: pathlib.Path):
    values = np.random.default_rng(0).normal(size=(100, 1)).cumsum(axis=0) + np.linspace(0, 1, 8)
    text = [" ".join(f"{value:.3f}" for value in row) for row in values]
    frame = pd.DataFrame({"x": text, "y": [" ".join(row.split()[::2]) for row in text]})
    return [{"name": "x", "type": "timeseries"}], {}, frame


def _vector(folder: pathlib.Path):
    digits = load_digits().data[:200] / 16
    views = np.repeat(digits, 2, axis=0) + np.random.default_rng(0).normal(0, 0.1, (400, 64))
    text = [" ".join(f"{value:.3f}" for value in row) for row in views]
    frame = pd.DataFrame({"x": text, "y": [" ".join(f"{value:.3f}" for value in row[:8]) for row in views]})
    return [{"name": "x", "type": "vector"}], {}, frame


def _image(folder: pathlib.Path):
    rows = []
    for index, digit in enumerate(load_digits().images[:24]):
        picture = np.kron(digit * 15, np.ones((2, 2))).astype(np.uint8)
        for name, array in (("image", picture), ("mask", np.where(picture > 100, 255, 0).astype(np.uint8))):
            Image.fromarray(array).save(folder / f"{name}{index}.png")
        rows.append({"x": str(folder / f"image{index}.png"), "y": str(folder / f"mask{index}.png")})
    size = {"height": 16, "width": 16, "num_channels": 1}
    inputs = [{"name": "x", "type": "image", "encoder": {"type": "unet", "conv_norm": None}, "preprocessing": size}]
    output = {
        "decoder": {"type": "unet", "num_fc_layers": 0, "conv_norm": None},
        "preprocessing": {**size, "num_classes": 2},
    }
    return inputs, output, pd.DataFrame(rows)


def _tokens(feature: str):
    def make(folder: pathlib.Path):
        generator = np.random.default_rng(0)
        words = np.array(["red", "green", "blue", "black"])
        sources = [words[generator.integers(4, size=generator.integers(3, 7))] for _ in range(300)]
        frame = pd.DataFrame({"x": [" ".join(s) for s in sources], "y": [" ".join(s).upper() for s in sources]})
        inputs = [{"name": "x", "type": feature, "encoder": {"type": "embed", "reduce_output": None}}]
        return inputs, {"decoder": {"type": "tagger"}}, frame

    return make


def _numbers(names):
    return [{"name": name, "type": "number", "preprocessing": {"normalization": "zscore"}} for name in names]


FEATURES = {
    "anomaly": _anomaly,
    "binary": _binary,
    "category": _category,
    "number": _number,
    "set": _set,
    "timeseries": _timeseries,
    "vector": _vector,
    "image": _image,
    "text": _tokens("text"),
    "sequence": _tokens("sequence"),
}
