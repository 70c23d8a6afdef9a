"""The evaluation of one trained model on held-out rows: metrics for tables, and arrays for plots."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ludwig_losses.metrics.functional import Values
from ludwig_losses.metrics.functional.anomaly import anomaly_values, threshold_values
from ludwig_losses.metrics.functional.classes import classification, hits_at_k, is_hit
from ludwig_losses.metrics.functional.contrastive import pair_sums, pair_values
from ludwig_losses.metrics.functional.intervals import crps_values, interval_values
from ludwig_losses.metrics.functional.labels import average_precisions, label_values
from ludwig_losses.metrics.functional.numbers import error_sums, error_values
from ludwig_losses.metrics.functional.segmentation import mask_values, pixel_counts, smallest_class
from ludwig_losses.metrics.functional.sequences import TRUE, token_counts, token_values
from ludwig_losses.metrics.functional.token_classes import MOST_CLASSES, token_class_f1, token_class_rows

if TYPE_CHECKING:
    from ludwig_losses.host.model.held_out import Batch
    from ludwig_losses.parameters import Feature

# How many images are kept with prediction and target.
PICTURES = 4
# The array with the scores that separate known examples from others.
KNOWN_SCORE = "known_score"
# Those with the predicted quantiles [N, ..., K], and with their levels [K].
QUANTILES, LEVELS = "quantiles", "levels"
# Those with the counts of the classes of tokens of each row, and with their names.
TOKEN_CLASSES, TOKEN_NAMES = "token_classes", "token_names"
# The array with the logits, by which calibration is fitted; it is not kept.
LOGITS = "logits"


@dataclass
class Outcome:
    """Args:
    metrics: by name.
    arrays: what is kept of the predictions.
    rows: how many there were.
    truth: identifies the rows: those of all losses with the same seed must be the same.
    """

    metrics: Values
    arrays: dict[str, np.ndarray]
    rows: int
    truth: str


def measure(feature_type: str, rows: Iterable[Batch], feature: Feature, consecutive_pairs: bool) -> Outcome:
    """Measure the predictions of an output feature.

    Args:
        feature_type: Ludwig's name of the type, one of :data:`FEATURE_TYPES`.
        rows: in their order.
        feature: its classes, if it has any.
        consecutive_pairs: whether rows 2i and 2i + 1 are the partners of a vector feature, or else those with the same
            target.

    Raises:
        ValueError: there are no rows.
    """
    digest, count = hashlib.sha256(), 0

    def counted() -> Iterator[Batch]:
        nonlocal count
        for batch in rows:
            digest.update(np.ascontiguousarray(batch.truth).tobytes())
            count += len(batch.truth)
            yield batch

    stream = counted()
    first = next(stream, None)
    if first is None:
        raise ValueError("there are no rows to measure on.")
    found, arrays = _MEASURES[feature_type](itertools.chain([first], stream), feature, consecutive_pairs)
    return Outcome(found, arrays, count, digest.hexdigest())


_Measured = tuple[Values, dict[str, np.ndarray]]


def _binary(rows: Iterable[Batch], feature: Feature, _: bool) -> _Measured:
    rows = [*rows]
    truth, predicted, probability = _joined(rows, "predictions", "probabilities")
    both = np.stack([1 - probability, probability], axis=1)
    found, arrays = _classified(rows, truth.astype(int), predicted.astype(int), both, feature)
    positive = f"recall[{arrays['classes'][1]}]"
    return found | ({"recall": found[positive]} if positive in found else {}), arrays


def _category(rows: Iterable[Batch], feature: Feature, _: bool) -> _Measured:
    rows = [*rows]
    truth, predicted, probabilities, logits = _joined(rows, "predictions", "probabilities", "logits")
    found, arrays = _classified(rows, truth.astype(int), predicted.astype(int), probabilities, feature)
    if feature.top_k is not None:
        found |= hits_at_k(arrays["truth"], probabilities, logits, feature.top_k)
        arrays["hits"] = is_hit(arrays["truth"], probabilities, logits, feature.top_k)
    return found, arrays


def _classified(
    rows: Sequence[Batch], truth: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, feature: Feature
) -> _Measured:
    names = [*map(str, feature.classes or range(probabilities.shape[1]))]
    arrays = {"truth": truth, "predicted": predicted, "probabilities": probabilities, "classes": np.array(names)}
    if LOGITS in rows[0].predicted:
        arrays[LOGITS] = np.concatenate([batch.predicted[LOGITS] for batch in rows])
    if rows[0].known_score is not None:
        arrays[KNOWN_SCORE] = np.concatenate([batch.known_score for batch in rows])
    return classification(truth, predicted, probabilities, names), arrays


def _image(rows: Iterable[Batch], feature: Feature, _: bool) -> _Measured:
    counts: Any = 0
    areas: list[Tensor] = []
    pictures: dict[str, list[np.ndarray]] = {"images": [], "truth": [], "predicted": []}
    for batch in rows:
        predicted = batch.predicted["predictions"].reshape(batch.truth.shape)
        size = feature.num_classes or int(max(batch.truth.max(), predicted.max())) + 1
        for pair in zip(map(torch.from_numpy, predicted), map(torch.from_numpy, batch.truth), strict=True):
            of_image = pixel_counts(*pair, size)
            counts = counts + of_image
            areas.append(torch.stack([of_image.diagonal(), of_image.sum(dim=1), of_image.sum(dim=0)]).int())
        if len(pictures["truth"]) < PICTURES:
            pictures["truth"] += [*batch.truth]
            pictures["predicted"] += [*predicted]
            pictures["images"] += [] if batch.image is None else [*batch.image]
    names = [*map(str, feature.classes or range(len(counts)))]
    arrays = {key: np.stack(values[:PICTURES]) for key, values in pictures.items() if values}
    found = _numbers(mask_values(counts))
    if found:
        found["smallest_class_iou"] = found[f"iou_{smallest_class(counts)}"]
    return found, {**arrays, "areas": torch.stack(areas).numpy(), "classes": np.array(names)}


def _set(rows: Iterable[Batch], feature: Feature, _: bool) -> _Measured:
    """Symbols that Ludwig adds to the vocabulary are no labels."""
    truth, predicted, probabilities = _joined(rows, "predictions", "probabilities")
    names = [*map(str, feature.classes or range(truth.shape[1]))]
    kept = [index for index, name in enumerate(names) if name not in feature.symbols]
    arrays = {
        "true_labels": truth[:, kept].astype(bool),
        "predicted_labels": predicted[:, kept].astype(bool),
        "label_probabilities": probabilities[:, kept],
        "classes": np.array([names[index] for index in kept]),
    }
    true, said, score = map(torch.from_numpy, [*arrays.values()][:3])
    found = _numbers(label_values(said, true, score))
    occurs = true.any(dim=0).nonzero().flatten().tolist()
    recalls = (said & true).sum(dim=0) / true.sum(dim=0)
    found |= {f"recall[{arrays['classes'][index]}]": float(recalls[index]) for index in occurs}
    for index, value in zip(occurs, average_precisions(score[:, occurs], true[:, occurs]), strict=True):
        found[f"average_precision[{arrays['classes'][index]}]"] = float(value)
    return found, arrays


def _vector(rows: Iterable[Batch], feature: Feature, consecutive_pairs: bool) -> _Measured:
    truth, vectors = _joined(rows, "predictions")
    groups = np.arange(len(truth)) // 2 if consecutive_pairs else np.unique(truth, axis=0, return_inverse=True)[1]
    groups = groups.reshape(-1)
    found = pair_values(pair_sums(torch.from_numpy(vectors).double(), torch.from_numpy(groups)))
    return _numbers(found), {"vectors": vectors, "groups": groups, "truth": truth}


def _sequence(rows: Iterable[Batch], feature: Feature, _: bool) -> _Measured:
    truth: list[list[int]] = []
    predicted: list[list[int]] = []
    zeros: list[float] = []
    cut = _cutter(feature)
    for batch in rows:
        truth += map(cut, batch.truth)
        predicted += map(cut, batch.predicted["predictions"])
        probabilities = batch.predicted.get("probabilities")
        if probabilities is not None and probabilities.ndim == 3:
            for row, true in zip(probabilities, truth[-len(batch.truth) :], strict=True):
                zeros.append(float((row[: max(len(true), 1)] == 0).mean()))
    counts = token_counts(truth, predicted)
    values = token_values(counts.mean(axis=0)) if counts[:, TRUE].any() else {}
    found, arrays = {name: float(value) for name, value in values.items()}, {"tokens": counts}
    labels = _token_labels(feature)
    if 0 < len(labels) <= MOST_CLASSES:
        arrays |= {
            TOKEN_CLASSES: token_class_rows(truth, predicted, [*labels]),
            TOKEN_NAMES: np.array([*labels.values()]),
        }
        found |= {name: float(value) for name, value in token_class_values(arrays).items()}
    if zeros:
        found["zero_probabilities"] = float(np.mean(zeros))
        arrays["zeros"] = np.array(zeros)
    return found, arrays


def _token_labels(feature: Feature) -> dict[int, str]:
    """Return the names of the classes of tokens by their indices, without symbols."""
    names = enumerate(map(str, feature.classes or ()))
    return {index: name for index, name in names if name not in feature.symbols and index != feature.padding}


def token_class_values(kept: Mapping[str, np.ndarray], weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return the F1 of the classes of tokens that a run has kept the counts of; of weights ``[b, N]`` of the rows that
    of each ``b``."""
    rows = kept[TOKEN_CLASSES]
    total = rows.sum(axis=0)
    flat = rows.reshape(len(rows), -1).astype(float)
    counts = total if weights is None else (weights @ flat).reshape(-1, *rows.shape[1:])
    return token_class_f1(counts, total > 0, kept[TOKEN_NAMES].tolist())


def _cutter(feature: Feature) -> Callable[[np.ndarray], list[int]]:
    """Return a function that leaves of a row what stands before its end, without the start symbol."""
    names = list(feature.classes or ())
    ends = {index for index, name in enumerate(names) if name in ("<EOS>", "<PAD>")} | {feature.padding}
    starts = {index for index, name in enumerate(names) if name == "<SOS>"}
    return lambda row: [
        int(token) for token in itertools.takewhile(lambda t: int(t) not in ends, row) if int(token) not in starts
    ]


def _number(rows: Iterable[Batch], feature: Feature, _: bool) -> _Measured:
    rows = [*rows]
    truth, predicted = _joined(rows, "predictions")
    sums = error_sums(truth, predicted)
    values = {name: float(value) for name, value in error_values(sums.sum(axis=0)).items()}
    arrays = {"errors": sums, "truth": truth, "predicted": predicted}
    if rows[0].levels is not None:
        quantiles = [batch.quantiles for batch in rows if batch.quantiles is not None]
        arrays |= {QUANTILES: np.concatenate(quantiles), LEVELS: rows[0].levels}
        values |= {name: float(of_rows.mean()) for name, of_rows in quantile_values(arrays).items()}
    return {name: value for name, value in values.items() if not np.isnan(value)}, arrays


def quantile_values(kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return for each row ``[N]`` how good the quantiles are that a run has kept; of several steps the mean."""
    q, truth, levels = (torch.from_numpy(kept[name]).double() for name in (QUANTILES, "truth", LEVELS))
    found, crps = interval_values(q, truth, levels), crps_values(q, truth, levels.tolist())
    found |= {} if crps is None else {"crps": crps}
    return {name: values.reshape(len(values), -1).mean(dim=1).numpy() for name, values in found.items()}


def with_levels(kept: Mapping[str, np.ndarray], levels: Sequence[float]) -> dict[str, np.ndarray]:
    """Return what a run has kept with some of its quantiles only, without any where no levels are left."""
    if not len(levels):
        return {name: array for name, array in kept.items() if name not in (QUANTILES, LEVELS)}
    places = [int(np.flatnonzero(kept[LEVELS] == level)[0]) for level in levels]
    return {**kept, QUANTILES: kept[QUANTILES][..., places], LEVELS: kept[LEVELS][places]}


def quantile_means(kept: Mapping[str, np.ndarray]) -> Values:
    """Return how good the quantiles are that a run has kept, if it has any."""
    values = quantile_values(kept) if QUANTILES in kept else {}
    return {name: float(of_rows.mean()) for name, of_rows in values.items()}


def common_levels(found: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    """Return the levels that are in all of several lists."""
    first, *others = [*found] or [()]
    return tuple(level for level in first if all(level in levels for levels in others))


def _anomaly(rows: Iterable[Batch], feature: Feature, _: bool) -> _Measured:
    truth, score, flagged = _joined(rows, "anomaly_score", "predictions")
    label = torch.from_numpy(truth)
    ranking, threshold = (
        anomaly_values(torch.from_numpy(score), label),
        threshold_values(torch.from_numpy(flagged), label),
    )
    return _numbers(ranking | threshold), {"truth": truth, "score": score, "flagged": flagged}


def _numbers(values: dict[str, Tensor]) -> Values:
    return {name: float(value) for name, value in values.items()}


def _joined(rows: Iterable[Batch], *names: str) -> list[np.ndarray]:
    """Return the truth, and some of what is predicted, of all rows."""
    parts = [(batch.truth, *(batch.predicted[name] for name in names)) for batch in rows]
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


_MEASURES: dict[str, Callable[[Iterable[Batch], Feature, bool], _Measured]] = {
    "binary": _binary,
    "category": _category,
    "image": _image,
    "set": _set,
    "vector": _vector,
    "text": _sequence,
    "sequence": _sequence,
    "anomaly": _anomaly,
    "number": _number,
    "timeseries": _number,
}
FEATURE_TYPES = tuple(_MEASURES)
