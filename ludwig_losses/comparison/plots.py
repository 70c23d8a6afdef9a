"""The plots of a comparison, each as PNG and SVG; matplotlib is the light extra `compare`."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.decomposition import PCA
from sklearn.metrics import precision_recall_curve

from ludwig_losses.comparison.calibration import rescaled, temperatures
from ludwig_losses.comparison.files import whole
from ludwig_losses.comparison.outcome import LEVELS, QUANTILES
from ludwig_losses.comparison.results import Results, Row
from ludwig_losses.metrics.catalogue import metric

# Metrics by epoch that mean the same for every loss, by their names in Ludwig.
CURVES = ("roc_auc", "accuracy", "mean_iou", "token_accuracy", "pair_accuracy", "anomaly_auroc", "mean_squared_error")
MOST_CLASSES_WITH_NUMBERS = 15
MOST_GROUPS_WITH_COLOURS = 10
FEWEST_ROWS_OF_A_BIN = 5
_GREY = "0.55"

_Tables = dict[str, list[Row]]
_Curve = tuple[np.ndarray, np.ndarray]


def draw(results: Results, tables: _Tables, output: pathlib.Path) -> list[pathlib.Path]:
    """Draw every plot for which there is data; return the paths of the PNG files."""
    figures = {"differences": differences, "curves": curves, **dict(_kinds(results))}
    paths = []
    # Text stays text, and the same results give the same file.
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "ludwig-losses", "font.size": 9, "text.parse_math": False}
    ):
        for name, make in figures.items():
            figure = make(results, tables)
            if figure is not None:
                with whole(output / f"{name}.svg") as part:
                    figure.savefig(part, metadata={"Date": None})
                with whole(output / f"{name}.png") as part:
                    figure.savefig(part, dpi=150)
                paths.append(output / f"{name}.png")
    return paths


def _kinds(results: Results) -> Iterator[tuple[str, Callable[[Results, _Tables], Figure | None]]]:
    kept: dict[str, np.ndarray] = next((results.arrays(*key) for key in results.found), {})
    if "score" in kept or ("probabilities" in kept and len(kept["classes"]) == 2):
        yield "precision_recall", precision_recall
    elif "probabilities" in kept:
        yield "confusion", confusion
    if "probabilities" in kept:
        yield "reliability", reliability
    if "areas" in kept:
        yield "masks", masks
    if "vectors" in kept:
        yield "projection", projection
    if "errors" in kept:
        yield "predictions", predictions
        yield "coverage", coverage


def differences(results: Results, tables: _Tables) -> Figure | None:
    """Draw the difference of each loss to the first one for each of the main metrics."""
    shown = {name: rows for name, rows in tables.items() if metric(name).is_main and _varies(rows)}
    losses = results.losses[1:]
    if not shown or not losses:
        return None
    columns = min(len(shown), 3)
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(2.2 + 2.9 * columns, lines * (1.1 + 0.3 * len(losses)) + 0.7), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axis, (name, rows) in zip(axes.flat, shown.items(), strict=False):
        _draw_differences(axis, name, rows, results)
    for axis in [*axes.flat][len(shown) :]:
        axis.set_visible(False)
    axes[0, 0].set_yticks(range(len(losses)), [*map(_short, losses)])
    axes[0, 0].set_ylim(len(losses) - 0.5, -0.5)
    figure.suptitle(
        f"Difference to {_short(results.losses[0])}, seed by seed\n"
        "bar: 95 % interval for these rows; thin line: for new rows, corrected for the number of losses; "
        "grey dots: single seeds",
        fontsize=9,
    )
    return figure


def _varies(rows: Sequence[Row]) -> bool:
    return any(row.difference is not None and row.difference.mean for row in rows)


def _draw_differences(axis: Axes, name: str, rows: Sequence[Row], results: Results) -> None:
    reference = results.values(results.losses[0], name)
    for row in rows:
        found = row.difference
        if found is None:
            continue
        place = results.losses.index(row.loss) - 1
        values = results.values(row.loss, name)
        seeds = [values[seed] - reference[seed] for seed in values if seed in reference]
        axis.plot(seeds, [place + 0.25] * len(seeds), ".", color=_GREY, markersize=4)
        colour = _colour(place + 1)
        if found.corrected is not None and found.interval is not None:
            axis.plot(found.corrected, [place] * 2, color=colour, linewidth=1)
            axis.plot(found.interval, [place] * 2, color=colour, linewidth=3.5, solid_capstyle="butt")
        axis.plot(found.mean, place, "o", color=colour, markersize=6, markeredgecolor="white", zorder=4)
    axis.axvline(0, color="0.3", linewidth=0.8, linestyle="--", zorder=0)
    better = metric(name).higher_is_better
    axis.set_title(name if better is None else f"{name} ({'right' if better else 'left'} is better)", fontsize=9)
    axis.locator_params(axis="x", nbins=4)
    _bare(axis)


def curves(results: Results, tables: _Tables) -> Figure | None:
    """Draw a metric on the validation rows after each epoch: mean over seeds, and the range of them."""
    split, name = _common_curve(results)
    if name is None:
        return None
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axis = figure.subplots()
    for number, loss in enumerate(results.losses):
        found = [results.found[loss, seed]["curves"][split] for seed in results.seeds if (loss, seed) in results.found]
        if found:
            _draw_curve(axis, [curve[name] for curve in found], _short(loss), _colour(number))
    axis.set(xlabel="evaluation (after each epoch, if not configured otherwise)", ylabel=f"{name} ({split} rows)")
    axis.set_title(f"{name} while learning: mean and range of the seeds", fontsize=9)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _bare(axis)
    return figure


def _common_curve(results: Results) -> tuple[str, str | None]:
    for split in ("validation", "training"):
        kept = [result["curves"].get(split, {}) for result in results.found.values()]
        name = next((name for name in CURVES if kept and all(name in curves for curves in kept)), None)
        if name is not None:
            return split, name
    return "validation", None


def _draw_curve(axis: Axes, seeds: Sequence[Sequence[float]], label: str, colour: Any) -> None:
    # Runs may stop early: each is averaged as long as it lasts.
    longest = max(map(len, seeds))
    values = np.array([[*curve, *[np.nan] * (longest - len(curve))] for curve in seeds])
    epochs = np.arange(1, longest + 1)
    marker = "o" if longest == 1 else None
    axis.plot(epochs, np.nanmean(values, axis=0), color=colour, label=label, marker=marker)
    if len(seeds) > 1:
        axis.fill_between(epochs, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=colour, alpha=0.15, lw=0)


def precision_recall(results: Results, tables: _Tables) -> Figure:
    """Draw precision over recall for each loss, the mean over seeds."""
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axis = figure.subplots()
    recall = np.linspace(0, 1, 201)
    for number, loss in enumerate(results.losses):
        found = [_precision(results.arrays(*key), recall) for key in results.found if key[0] == loss]
        precisions = [precision for precision in found if precision is not None]
        if precisions:
            axis.plot(recall, np.mean(precisions, axis=0), color=_colour(number), label=_short(loss))
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(None, 1.02))
    axis.set_title("Precision over recall on the held-out rows, mean of the seeds", fontsize=9)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _bare(axis)
    return figure


def _precision(kept: dict[str, np.ndarray], recall: np.ndarray) -> np.ndarray | None:
    score = kept["score"] if "score" in kept else kept["probabilities"][:, 1]
    truth, score = kept["truth"][kept["truth"] >= 0], score[kept["truth"] >= 0]
    if len(np.unique(truth)) < 2:
        return None
    precision, reached, _ = precision_recall_curve(truth, score)
    return np.interp(recall, reached[::-1], precision[::-1])


def reliability(results: Results, tables: _Tables) -> Figure:
    """Draw how often predictions are right over how probable they are said to be, as trained and after calibration."""
    found: dict[str, dict[str, _Curve]] = {"as trained": {}, "with calibration: true": {}}
    for loss in results.losses:
        before, after = _reliability(results, loss)
        found["as trained"] |= {loss: before} if before is not None else {}
        found["with calibration: true"] |= {loss: after} if after is not None else {}
    shown = {title: losses for title, losses in found.items() if losses}
    figure = Figure(figsize=(3.4 * len(shown) + 2.2, 3.8), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axis, (title, losses) in zip(axes, shown.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="0.3", linewidth=0.8, linestyle="--")
        for loss, curve in losses.items():
            axis.plot(*curve, ".-", color=_colour(results.losses.index(loss)), label=_short(loss))
        axis.set_title(title, fontsize=9)
        _bare(axis)
    binary = results.arrays(*next(iter(results.found)))["probabilities"].shape[1] == 2
    axes[0].set(ylabel="share of positive rows" if binary else "share that is right")
    figure.supxlabel("predicted probability" if binary else "probability of the likeliest class", fontsize=9)
    figure.suptitle("Reliability on the held-out rows of all seeds", fontsize=9)
    # Losses that cannot be calibrated stand on the left only.
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _reliability(results: Results, loss: str) -> tuple[_Curve | None, _Curve | None]:
    """Return the curves of a loss over all seeds, before calibration and after it, where there are runs."""
    scales = temperatures(results, loss)
    seeds = {seed: results.arrays(loss, seed) for of, seed in results.found if of == loss}
    before = [_said_and_true(kept["probabilities"], kept["truth"]) for kept in seeds.values()]
    after = [
        _said_and_true(rescaled(kept["probabilities"], scales[seed]), kept["truth"])
        for seed, kept in seeds.items()
        if seed in scales
    ]
    first, second = (_in_bins(*np.concatenate(found, axis=1)) if found else None for found in (before, after))
    return first, second


def _said_and_true(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    if probabilities.shape[1] == 2:
        return np.stack([probabilities[:, 1], truth == 1])
    return np.stack([probabilities.max(axis=1), probabilities.argmax(axis=1) == truth])


def _in_bins(said: np.ndarray, true: np.ndarray) -> _Curve:
    """Return the means in ten bins of equal width, without those of a few rows."""
    place = np.minimum((said * 10).astype(int), 9)
    count = np.bincount(place, minlength=10)
    kept = count >= FEWEST_ROWS_OF_A_BIN
    return tuple(np.bincount(place, of, minlength=10)[kept] / count[kept] for of in (said, true))  # type: ignore[return-value]  # Two.


def confusion(results: Results, tables: _Tables) -> Figure:
    """Draw how often each class is taken for which other one by the best loss, all seeds together."""
    best = _best(results, "balanced_accuracy")
    kept = [results.arrays(*key) for key in results.found if key[0] == best]
    names = kept[0]["classes"]
    present = np.unique(np.concatenate([part for run in kept for part in (run["truth"], run["predicted"])]))
    counts = np.zeros((len(names), len(names)))
    for run in kept:
        np.add.at(counts, (run["truth"], run["predicted"]), 1)
    counts = counts[np.ix_(present, present)]
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    size = min(2.5 + 0.45 * len(present), 12)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axis = figure.subplots()
    picture = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the true class", shrink=0.8)
    labels = [str(names[c])[:20] for c in present]
    axis.set_xticks(range(len(present)), labels, rotation=90)
    axis.set_yticks(range(len(present)), labels)
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_title(f"{_short(best)}, the best balanced accuracy\nrows of all {len(kept)} seeds", fontsize=9)
    if len(present) <= MOST_CLASSES_WITH_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour, fontsize=8)
    return figure


def masks(results: Results, tables: _Tables) -> Figure:
    """Draw a few held-out images with the true mask, and those that the first and the best loss predict."""
    best = _best(results, "mean_iou")
    seed = next(seed for seed in results.seeds if (best, seed) in results.found)
    shown = [loss for loss in dict.fromkeys([results.losses[0], best]) if (loss, seed) in results.found]
    kept = {loss: results.arrays(loss, seed) for loss in shown}
    first = kept[shown[0]]
    columns = [*([("image", first["images"])] if "images" in first else []), ("truth", first["truth"])]
    columns += [(_short(loss), kept[loss]["predicted"]) for loss in shown]
    figure = Figure(figsize=(2 * len(columns), 1.9 * len(first["truth"]) + 0.6), layout="constrained")
    axes = figure.subplots(len(first["truth"]), len(columns), squeeze=False)
    classes = len(first["classes"])
    for (row, column), axis in np.ndenumerate(axes):
        title, pictures = columns[column]
        _show(axis, pictures[row], classes, is_image=title == "image" and column == 0)
        if row == 0:
            axis.set_title(title, fontsize=9)
    figure.suptitle(f"Held-out images of seed {seed}; the best mean IoU: {_short(best)}", fontsize=9)
    return figure


def _show(axis: Axes, picture: np.ndarray, classes: int, *, is_image: bool) -> None:
    if is_image:
        picture = np.moveaxis(picture.astype(float), 0, -1)
        spread = np.ptp(picture)
        axis.imshow((picture - picture.min()) / (spread if spread > 0 else 1), cmap="gray")
    else:
        axis.imshow(picture.squeeze(), cmap="viridis", vmin=0, vmax=max(classes - 1, 1), interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])


def projection(results: Results, tables: _Tables) -> Figure:
    """Draw the first two principal components of the embeddings of each loss, on the unit sphere."""
    seed = next(seed for _, seed in results.found)
    shown = [loss for loss in results.losses if (loss, seed) in results.found]
    columns = min(len(shown), 3)
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(3 * columns, 3 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis, loss in zip(axes.flat, shown, strict=False):
        _project(axis, results.arrays(loss, seed))
        axis.set_title(_short(loss), fontsize=9)
    for axis in [*axes.flat][len(shown) :]:
        axis.set_visible(False)
    figure.suptitle(f"Held-out rows of seed {seed}, two principal components; a colour: partners", fontsize=9)
    return figure


def _project(axis: Axes, kept: dict[str, np.ndarray]) -> None:
    vectors, groups = kept["vectors"], kept["groups"]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    points = PCA(2).fit_transform(vectors / np.where(length > 0, length, 1)) if vectors.shape[1] > 1 else vectors
    names, sizes = np.unique(groups, return_counts=True)
    largest = names[np.argsort(-sizes, kind="stable")][:MOST_GROUPS_WITH_COLOURS]
    axis.plot(*points.T, ".", markersize=3, color="0.85")
    for number, name in enumerate(largest):
        of_group = points[groups == name]
        # Lines show which points are partners.
        axis.plot(*of_group.T, "o-" if len(of_group) <= 3 else "o", markersize=3, lw=0.8, color=_colour(number))
    axis.set_xticks([])
    axis.set_yticks([])


def predictions(results: Results, tables: _Tables) -> Figure:
    """Draw predicted over true numbers for each loss, and the outermost intervals of those that predict quantiles."""
    seed = next(seed for _, seed in results.found)
    kept = {loss: results.arrays(loss, seed) for loss in results.losses if (loss, seed) in results.found}
    columns = min(len(kept), 3)
    lines = math.ceil(len(kept) / columns)
    figure = Figure(figsize=(3 * columns, 3 * lines + 0.5), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axis, (loss, arrays) in zip(axes.flat, kept.items(), strict=False):
        truth, predicted = arrays["truth"].ravel(), arrays["predicted"].ravel()
        colour = _colour(results.losses.index(loss))
        if LEVELS in arrays and len(arrays[LEVELS]) > 1:
            q = arrays[QUANTILES].reshape(len(truth), -1)
            axis.vlines(truth, q[:, 0], q[:, -1], color=colour, alpha=0.2, linewidth=0.8)
        axis.plot(truth, predicted, ".", markersize=3, alpha=0.5, color=colour)
        axis.axline((truth.mean(), truth.mean()), slope=1, color="0.3", linewidth=0.8, linestyle="--")
        axis.set_title(_short(loss), fontsize=9)
        _bare(axis)
    for axis in [*axes.flat][len(kept) :]:
        axis.set_visible(False)
    figure.supxlabel("true", fontsize=9)
    figure.supylabel("predicted", fontsize=9)
    lines_are = "" if not any(LEVELS in arrays for arrays in kept.values()) else "; lines: the outermost intervals"
    figure.suptitle(f"Held-out rows of seed {seed}{lines_are}", fontsize=9)
    return figure


def coverage(results: Results, tables: _Tables) -> Figure | None:
    """Draw for each interval of each loss which share of the held-out rows is inside, over the one that it promises."""
    found = {loss: shares for loss in results.losses if (shares := _coverages(results, loss))}
    if not found:
        return None
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.3", linewidth=0.8, linestyle="--")
    for loss, shares in found.items():
        for promised, inside in shares.items():
            axis.plot([promised] * len(inside), inside, ".", color=_GREY, markersize=4)
        means = [np.mean(inside) for inside in shares.values()]
        colour = _colour(results.losses.index(loss))
        axis.plot([*shares], means, "o-", color=colour, label=_short(loss), markeredgecolor="white")
    axis.set(xlabel="share that the interval promises", ylabel="share of the held-out rows inside")
    axis.set_title("Coverage of the intervals: mean of the seeds; grey dots: single seeds", fontsize=9)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _bare(axis)
    return figure


def _coverages(results: Results, loss: str) -> dict[float, list[float]]:
    """Return by the share that an interval of a loss promises the shares that are inside with each seed."""
    found: dict[float, list[float]] = {}
    for kept in (results.arrays(*key) for key in results.found if key[0] == loss):
        levels = kept.get(LEVELS, np.zeros(0))
        for pair in reversed(range(len(levels) // 2)):
            low, high = kept[QUANTILES][..., pair], kept[QUANTILES][..., -1 - pair]
            inside = float(((low <= kept["truth"]) & (kept["truth"] <= high)).mean())
            found.setdefault(round(float(levels[-1 - pair] - levels[pair]), 9), []).append(inside)
    return found


def _best(results: Results, name: str) -> str:
    found = [loss for loss, _ in results.found]
    losses = [loss for loss in found if loss in results.compared] or found
    values = {loss: [*results.values(loss, name).values()] for loss in losses}
    return max(values, key=lambda loss: np.mean(values[loss]) if values[loss] else -np.inf)


def _colour(number: int) -> Any:
    colours = mpl.colormaps["tab10" if number < 10 else "tab20b"]
    return colours(number % 10 if number < 10 else (number - 10) % 20)


def _short(loss: str) -> str:
    loss = " ".join(loss.split())
    return loss if len(loss) <= 40 else f"{loss[:37]}..."


def _bare(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
