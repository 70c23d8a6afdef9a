"""Metrics on bootstrap samples of the held-out rows, from what a run has kept of its predictions.

A sample is a weight for each row of the data, so all losses and seeds share the samples, whichever of the rows they
were measured on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ludwig_losses.comparison.outcome import QUANTILES, TOKEN_CLASSES, quantile_values, token_class_values
from ludwig_losses.comparison.ranking import Ranking
from ludwig_losses.comparison.roles import Roles, known, ranks
from ludwig_losses.metrics.catalogue import CALIBRATION_BINS, SMALLEST_PROBABILITY
from ludwig_losses.metrics.functional.contrastive import row_sums
from ludwig_losses.metrics.functional.numbers import error_values
from ludwig_losses.metrics.functional.segmentation import area_values
from ludwig_losses.metrics.functional.sequences import token_values

SAMPLES = 500
FEWEST_SAMPLES = 100
# Products of rows, classes and samples: a fraction of a second a run. Ten thousand rows of ten classes get 200 samples.
_MOST_WORK = 2 * 10**7
# Weights at a time: 32 MB.
_CHUNK = 2**22
# Where a run keeps what identifies its held-out rows.
ROWS = "rows"

Kept = Mapping[str, np.ndarray]
Samples = dict[str, np.ndarray]
_Measure = Callable[[np.ndarray], Samples]


def identities(columns: Mapping[str, Any]) -> np.ndarray:
    """Return a number ``[N]`` for each row of a prepared data set that depends on what is in it."""
    arrays = [np.asarray(columns[name]) for name in sorted(columns)]
    rows = zip(*map(_bytes_of_rows, arrays), strict=True)
    return np.frombuffer(b"".join(hashlib.blake2b(b"".join(row), digest_size=8).digest() for row in rows), np.uint64)


def _bytes_of_rows(array: np.ndarray) -> Iterable[bytes]:
    """Yield what is in each row of a column, of numbers without a loop over its cells."""
    if array.dtype == object:
        return map(_bytes, array)
    content = np.ascontiguousarray(array).tobytes()
    size = len(content) // max(len(array), 1)
    return (content[start : start + size] for start in range(0, len(content), size))


def _bytes(cell: Any) -> bytes:
    array = np.asarray(cell)
    return repr(cell).encode() if array.dtype == object else array.tobytes()


def drawn_units(kept: Kept) -> np.ndarray | None:
    """Return what identifies the units ``[U]`` of a run that are drawn: its rows, or its groups of partners."""
    if ROWS not in kept:
        return None
    rows = kept[ROWS]
    if "groups" not in kept:
        return rows
    groups = _numbered(kept["groups"])
    if np.bincount(groups).max() > 2:  # Rows with the same target, which says what group it is.
        rows = identities({"target": kept["truth"]})
        return rows[np.unique(groups, return_index=True)[1]]
    units = np.zeros(groups.max() + 1, dtype=np.uint64)
    np.add.at(units, groups, rows)  # Of two equal rows, as where noise within the network makes the views, not 0.
    return units


def resampled(kept: Kept, roles: Roles, everything: np.ndarray) -> Samples:
    """Return each metric ``[B]`` on ``B`` samples, NaN where a sample does not define it.

    Args:
        kept: the arrays of a run.
        roles: what one of the losses knows of the classes.
        everything: the units of all runs that are compared, each once and sorted.
    """
    units = drawn_units(kept)
    assert units is not None
    places, measure = np.searchsorted(everything, units), _measure(kept, roles)
    classes = kept["probabilities"].shape[1] if "probabilities" in kept else 1
    samples = samples_of(len(everything), classes)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [measure(weights[:, places]) for weights in drawn(len(everything), samples)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def samples_of(rows: int, classes: int = 1) -> int:
    """Return how many samples of rows are drawn: fewer where there are many of these."""
    return int(np.clip(_MOST_WORK // (rows * classes), FEWEST_SAMPLES, SAMPLES))


def drawn(rows: int, samples: int) -> Iterator[np.ndarray]:
    """Yield weights ``[b, rows]``: how often each row is drawn."""
    generator = np.random.default_rng(rows)
    at_once = max(_CHUNK // rows, 1)
    for start in range(0, samples, at_once):
        count = min(at_once, samples - start)
        drawn = generator.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(float)


def _measure(kept: Kept, roles: Roles) -> _Measure:
    """Return what measures weights ``[b, U]`` of the units of a run."""
    if "areas" in kept:
        return _of_masks(kept)
    if "tokens" in kept:
        return _of_sequences(kept)
    if "vectors" in kept:
        return _of_embeddings(kept)
    if "errors" in kept:
        return _of_numbers(kept)
    if "true_labels" in kept:
        return _of_labels(kept)
    return _of_anomalies(kept) if "score" in kept else _of_classes(kept, roles)


def _of_numbers(kept: Kept) -> _Measure:
    of_rows = quantile_values(kept) if QUANTILES in kept else {}

    def measure(weights: np.ndarray) -> Samples:
        rows = weights.sum(axis=1)
        means = {name: weights @ values / rows for name, values in of_rows.items()}
        return {**error_values(weights @ kept["errors"]), **means}

    return measure


def _of_masks(kept: Kept) -> _Measure:
    areas = kept["areas"].astype(float)
    total = areas.sum(axis=0)
    present = [int(c) for c in np.flatnonzero(total[1] + total[2])]
    smallest = int(np.where(total[1] > 0, total[1], np.inf).argmin())

    def measure(weights: np.ndarray) -> Samples:
        summed = (weights @ areas.reshape(len(areas), -1)).reshape(-1, *areas.shape[1:])
        found = {name: value.numpy() for name, value in area_values(torch.from_numpy(summed), present).items()}
        return {**found, "smallest_class_iou": found[f"iou_{smallest}"]}

    return measure


def _of_labels(kept: Kept) -> _Measure:
    true, said = kept["true_labels"], kept["predicted_labels"]
    right, either = true & said, (true | said).sum(axis=1)
    of_rows = np.where(either > 0, right.sum(axis=1) / np.maximum(either, 1), 1.0)
    wrong, names = (true != said).mean(axis=1), kept["classes"]
    occurs, used = np.flatnonzero(true.any(axis=0)), np.flatnonzero((true | said).any(axis=0))
    rankings = [Ranking(kept["label_probabilities"][:, c], true[:, c]) for c in occurs]

    def measure(weights: np.ndarray) -> Samples:
        found, positive, predicted = (weights @ part.astype(float) for part in (right, true, said))
        rows, precisions = weights.sum(axis=1), [ranking.curve(weights).average_precision for ranking in rankings]
        values = {
            "jaccard": weights @ of_rows / rows,
            "hamming_distance": weights @ wrong / rows,
            "micro_f1": 2 * found.sum(axis=1) / (positive + predicted).sum(axis=1),
            "macro_f1": _mean((2 * found / (positive + predicted))[:, used]),
        }
        if rankings:
            values["average_precision"] = _mean(np.stack(precisions, axis=1))
        for place, c in enumerate(occurs):
            values[f"recall[{names[c]}]"] = found[:, c] / positive[:, c]
            values[f"average_precision[{names[c]}]"] = precisions[place]
        return values

    return measure


def _of_sequences(kept: Kept) -> _Measure:
    counts, zeros = kept["tokens"].astype(float), kept.get("zeros")

    def measure(weights: np.ndarray) -> Samples:
        rows = weights.sum(axis=1)
        found = token_values(weights @ counts / rows[:, None])
        found |= token_class_values(kept, weights) if TOKEN_CLASSES in kept else {}
        return found if zeros is None else {**found, "zero_probabilities": weights @ zeros / rows}

    return measure


def _of_embeddings(kept: Kept) -> _Measure:
    """Draw partners together, and what has none alone; neighbours are those among all rows."""
    groups = torch.from_numpy(_numbered(kept["groups"]))
    sums = row_sums(torch.from_numpy(kept["vectors"]).double(), groups)
    by_group = {
        name: torch.zeros(int(groups.max()) + 1, dtype=torch.double).index_add_(0, groups, value.double()).numpy()
        for name, value in sums.items()
    }

    def measure(weights: np.ndarray) -> Samples:
        of = {name: weights @ value for name, value in by_group.items()}
        mean = by_group["potential"].sum() / by_group["pairs"].sum()
        # Both rows of a pair are drawn: to first order that has twice the effect of one of them.
        potential = 2 * of["potential"] / of["pairs"] - mean
        return {
            "alignment": of["distance"] / of["partners"],
            "pair_accuracy": of["hits"] / of["anchors"],
            "uniformity": np.log(np.where(potential > 0, potential, np.nan)),
        }

    return measure


def _numbered(groups: np.ndarray) -> np.ndarray:
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def _of_anomalies(kept: Kept) -> _Measure:
    is_labelled = kept["truth"] >= 0
    is_anomaly, flagged = kept["truth"][is_labelled] == 1, kept["flagged"][is_labelled].astype(float)
    ranking = Ranking(kept["score"][is_labelled], is_anomaly)

    def measure(weights: np.ndarray) -> Samples:
        weights = weights[:, is_labelled]
        found, flags, anomalies = weights @ (flagged * is_anomaly), weights @ flagged, weights @ is_anomaly
        curve = ranking.curve(weights)
        return {
            "anomaly_auroc": curve.roc_auc,
            "anomaly_average_precision": curve.average_precision,
            "f1_max": curve.best_f1,
            "precision_at_threshold": found / np.maximum(flags, 1),
            "recall_at_threshold": found / anomalies,
        }

    return measure


def _of_classes(kept: Kept, roles: Roles) -> _Measure:
    parts = [_of_decisions(kept), _of_probabilities(kept), _of_order(kept), *_of_roles(kept, roles)]

    def measure(weights: np.ndarray) -> Samples:
        return {name: value for part in parts for name, value in part(weights).items()}

    return measure


def _of_decisions(kept: Kept) -> _Measure:
    classes = range(kept["probabilities"].shape[1])
    truth, predicted = (kept[name][:, None] == classes for name in ("truth", "predicted"))
    right, present = truth & predicted, np.flatnonzero(truth.any(axis=0))
    used = np.flatnonzero((truth | predicted).any(axis=0))
    names, hits = kept["classes"], kept.get("hits")

    def measure(weights: np.ndarray) -> Samples:
        found, true, said = (weights @ part.astype(float) for part in (right, truth, predicted))
        recalls = {f"recall[{names[c]}]": found[:, c] / true[:, c] for c in present}
        positive = {"recall": recalls[name]} if len(names) == 2 and (name := f"recall[{names[1]}]") in recalls else {}
        of_hits = {} if hits is None else {"hits_at_k": _mean((weights @ (truth * hits[:, None]) / true)[:, present])}
        return {
            "accuracy": found.sum(axis=1) / weights.sum(axis=1),
            "balanced_accuracy": _mean((found / true)[:, present]),
            "macro_f1": _mean((2 * found / (true + said))[:, used]),
            **recalls,
            **positive,
            **of_hits,
        }

    return measure


def _mean(of_classes: np.ndarray) -> np.ndarray:
    """Return the mean over the classes that a sample has; each has some."""
    return np.nansum(of_classes, axis=1) / np.isfinite(of_classes).sum(axis=1)


def _of_probabilities(kept: Kept) -> _Measure:
    probabilities, truth = kept["probabilities"].astype(float).clip(0, 1), kept["truth"]
    count = probabilities.shape[1]
    clipped = probabilities.clip(SMALLEST_PROBABILITY)
    of_true = np.take_along_axis(clipped / clipped.sum(axis=1, keepdims=True), truth[:, None], axis=1)[:, 0]
    squares = ((probabilities - np.eye(count)[truth]) ** 2).sum(axis=1) / (2 if count == 2 else 1)
    columns = np.stack([-np.log(of_true), squares, (kept["probabilities"] == 0).mean(axis=1)], axis=1)
    confidence = probabilities.max(axis=1)
    place = np.digitize(confidence, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1])
    gaps = np.eye(CALIBRATION_BINS)[place] * ((probabilities.argmax(axis=1) == truth) - confidence)[:, None]

    def measure(weights: np.ndarray) -> Samples:
        rows = weights.sum(axis=1)
        log_loss, brier, zeros = (weights @ columns / rows[:, None]).T
        error = np.abs(weights @ gaps).sum(axis=1) / rows
        return {
            "log_loss": log_loss,
            "brier_score": brier,
            "zero_probabilities": zeros,
            "expected_calibration_error": error,
        }

    return measure


def _of_order(kept: Kept) -> _Measure:
    """Measure how the probability of each class ranks its rows before others."""
    truth, probabilities = kept["truth"], kept["probabilities"]
    columns = [1] if probabilities.shape[1] == 2 else [*np.unique(truth)]
    if len(np.unique(truth)) < 2:
        return lambda weights: {}
    rankings = [Ranking(probabilities[:, c], truth == c) for c in columns]

    def measure(weights: np.ndarray) -> Samples:
        curves = [ranking.curve(weights) for ranking in rankings]
        return {
            "roc_auc": _mean(np.stack([curve.roc_auc for curve in curves], axis=1)),
            "average_precision": _mean(np.stack([curve.average_precision for curve in curves], axis=1)),
        }

    return measure


def _of_roles(kept: Kept, roles: Roles) -> Iterator[_Measure]:
    if roles.order is not None:
        yield _of_ranks(*ranks(kept, roles.order))
    if roles.background is not None:
        yield _of_known(*known(kept, roles.background))


def _of_ranks(predicted: np.ndarray, true: np.ndarray) -> _Measure:
    has_rank = true >= 0
    p, t = predicted * has_rank, true * has_rank
    sums = np.stack([has_rank, np.abs(p - t), (p - t) ** 2, t, p, t**2 + p**2], axis=1).astype(float)

    def measure(weights: np.ndarray) -> Samples:
        count, distance, square, of_true, of_predicted, squares = (weights @ sums).T
        by_chance = count * squares - 2 * of_true * of_predicted
        return {"rank_mae": distance / count, "quadratic_weighted_kappa": 1 - count * square / by_chance}

    return measure


def _of_known(score: np.ndarray, is_right: np.ndarray, is_known: np.ndarray) -> _Measure:
    everything = Ranking(score, is_known)
    # A known row that is taken for another class is never accepted before an unknown one.
    right = Ranking(np.where(~is_known | is_right, score, -np.inf), is_known)
    found, count = (is_known & is_right).astype(float), is_known.astype(float)

    def measure(weights: np.ndarray) -> Samples:
        return {
            "open_set_auroc": everything.curve(weights).roc_auc,
            "oscr": right.curve(weights).roc_auc,
            "closed_set_accuracy": weights @ found / (weights @ count),
        }

    return measure
