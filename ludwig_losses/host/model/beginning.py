"""What some losses need to know of the targets before the first step: whether they are amounts, mean and deviation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ludwig_losses.declare.loss import Loss
from ludwig_losses.host.config.sections import place_of
from ludwig_losses.host.model.forward import of_all_ranks
from ludwig_losses.host.model.targets import before_training, targets_by_split
from ludwig_losses.host.registry import declaration_of
from ludwig_losses.parameters import Place

_ROWS = 4096


@before_training
def begin_and_train(trainer: Any, sets: Mapping[str, Any]) -> None:
    """Tell losses the mean and the standard deviation of the targets, unless a target is no amount.

    Raises:
        ValueError: names the feature, the row and its value.
    """
    for feature in _features(trainer.model):
        _check_rows(trainer.model, feature, sets)
        feature.train_loss_function.begin(*_mean_and_std(trainer, sets["training"], feature.proc_column))


def check_and_evaluate(original: Callable, predictor: Any, dataset: Any, *args: Any, **kwargs: Any) -> Any:
    """Evaluate a data set, unless a target is no amount.

    Raises:
        ValueError: names the feature, the row and its value.
    """
    for feature in _features(predictor.model):
        _check_rows(predictor.model, feature, {"evaluated": dataset})
    return original(predictor, dataset, *args, **kwargs)


def _features(model: Any) -> list[Any]:
    """Return the output features of a model whose loss begins with its targets."""
    features = getattr(model, "output_features", None)
    found = [] if features is None else [*features.values()]
    return [
        feature
        for feature in found
        if isinstance(getattr(feature, "train_loss_function", None), Loss)
        and declaration_of(type(feature.loss)) is not None
        and feature.loss.begins
    ]


def _check_rows(model: Any, feature: Any, sets: Mapping[str, Any]) -> None:
    if feature.loss.of_amounts:
        for split, amounts in targets_by_split(sets, feature):
            _check(amounts, feature.loss, place_of(model, feature.feature_name), split)


def _check(amounts: np.ndarray, loss: Any, where: Place, split: str) -> None:
    wrong = np.flatnonzero(~(amounts > 0 if loss.needs_positive else amounts >= 0))
    if len(wrong):
        above = ">" if loss.needs_positive else ">="
        remedy = "loss: {type: mean_squared_error} for numbers that may be below 0"
        if amounts.min() == 0:
            remedy = "a power below 2, under which a target may be 0"
        raise ValueError(
            f"{where.at('.loss')}: {loss.type} takes targets {above} 0, but row {wrong[0]} of the {split} data has the "
            f"value {amounts[wrong[0]]:g}; {len(wrong)} of {len(amounts)} rows have no such target. "
            f"Correct the data, or write {remedy}."
        )


def _mean_and_std(trainer: Any, dataset: Any, column: str) -> tuple[float, float]:
    """Return the mean and the standard deviation of the targets of all ranks' training rows."""
    batches = [batch.astype(np.float64) for batch in _batches(trainer, dataset, column)]
    parts = [[batch.size, batch.sum(), np.square(batch).sum()] for batch in batches]
    count, total, squares = np.sum([part for of_rank in of_all_ranks(parts) for part in of_rank], axis=0)
    mean = total / count
    return float(mean), float(np.sqrt(max(squares / count - mean**2, 0)))


def _batches(trainer: Any, dataset: Any, column: str) -> Iterator[np.ndarray]:
    rows = getattr(dataset, "dataset", None)
    if isinstance(rows, dict):
        yield np.asarray(rows[column])
        return
    options = {"batch_size": _ROWS, "should_shuffle": False, "distributed": trainer.distributed}
    with dataset.initialize_batcher(**options) as batcher:
        while not batcher.last_batch():
            yield np.asarray(batcher.next_batch()[column])
