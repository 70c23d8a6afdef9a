"""Batches that are too small for a loss that compares rows: the loss would be constant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ludwig.constants import COMBINED, LOSS
from ludwig.error import ConfigValidationError

from ludwig_losses.host.config.parsed import with_terms
from ludwig_losses.host.config.sections import place_of
from ludwig_losses.host.registry import declaration_of
from ludwig_losses.parameters import Place


def check_config(config: Any) -> None:
    """Check the batch size of a configuration, for training on one rank.

    A saved model is not checked: several ranks may have trained it, or Ludwig's search may have found its batch size.

    Raises:
        ConfigValidationError: names the batch size, the loss and what to write instead.
    """
    for index, feature in enumerate(config.output_features):
        place = Place(f"output_features[{index}]", feature.name)
        _check_batches(place, feature, config.trainer, getattr(config.trainer, "batch_size", None))


def refuse_small_batches(
    original: Callable, trainer: Any, training_set: Any, validation_set: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Train, unless no batch has enough rows for a loss, or no validation batch, if that loss chooses the best model.

    Raises:
        ConfigValidationError: names the rows, the loss and what to write instead.
    """
    ranks, features = trainer.distributed.size(), trainer.model.output_features
    for name, feature in features.items():
        if not any(_comparing(Place(""), feature)):
            continue
        place = place_of(trainer.model, name)
        _check_batches(place, feature, trainer.config, trainer.batch_size, ranks)
        if ranks > 1:  # the length may be that of a shard
            continue
        _check_rows(place, feature, len(training_set))
        alone = (name, COMBINED) if len(features) == 1 else (name,)
        if trainer.validation_field in alone and trainer.validation_metric in (LOSS, feature.loss.type):
            _check_validation(place, feature, trainer, validation_set)
    return original(trainer, training_set, validation_set, *args, **kwargs)


def tune_with_enough_rows(
    tune: Callable, trainer: Any, *args: Any, tune_for_training: bool = True, **kwargs: Any
) -> int:
    """Search for the fastest batch size as Ludwig does, which may find 1 or 2; a loss that needs more rows has them."""
    accumulated = trainer.config.gradient_accumulation_steps
    found = tune(trainer, *args, tune_for_training=tune_for_training, **kwargs)
    key = "fewest_rows" if tune_for_training else "fewest_rows_in_evaluation"
    needed = [
        getattr(loss, key)
        for feature in trainer.model.output_features.values()
        for _, loss in _comparing(Place(""), feature)
    ]
    size = found
    while size < max(needed, default=0):
        size *= 2  # as the search does
    if tune_for_training and size > found:
        _render(trainer, size, accumulated)
    return size


def _render(trainer: Any, batch_size: int, accumulated: Any) -> None:
    """Give a trainer a batch size and what follows from it, as Ludwig does."""
    trainer.config.batch_size, trainer.config.gradient_accumulation_steps = batch_size, accumulated
    trainer.config.update_batch_size_grad_accum(trainer.distributed.size())
    trainer.batch_size = trainer.config.batch_size
    trainer.gradient_accumulation_steps = trainer.config.gradient_accumulation_steps


def _comparing(place: Place, feature: Any) -> Iterator[tuple[Place, Any]]:
    """Yield the losses of a feature that need several rows in a batch, except for terms that are only reported."""
    losses = () if declaration_of(type(feature.loss)) is None else with_terms(place.at(".loss"), feature.loss)
    for where, loss in losses:
        if loss.weight and loss.fewest_rows_in_evaluation > 1:
            yield where, loss


def _check_batches(place: Place, feature: Any, trainer_config: Any, batch_size: Any, ranks: int = 1) -> None:
    # "auto" is left to the search. Ludwig may increase the batch size on a plateau, and a constant loss is one.
    grows: int = getattr(trainer_config, "increase_batch_size_on_plateau", 0)
    if not isinstance(batch_size, int) or grows:
        return
    for where, loss in _comparing(place, feature):
        if batch_size * ranks < loss.fewest_rows:
            together = f" on {ranks} ranks" if ranks > 1 else ""
            raise ConfigValidationError(
                f"trainer.batch_size: got {batch_size}{together}, but {_needs(where, loss, loss.fewest_rows)} Write a "
                "larger one, for instance batch_size: 64."
            )


def _check_rows(place: Place, feature: Any, rows: int) -> None:
    for where, loss in _comparing(place, feature):
        if rows < loss.fewest_rows:
            raise ConfigValidationError(
                f"The training data has {rows} rows, but {_needs(where, loss, loss.fewest_rows)} Add rows to it."
            )


def _check_validation(place: Place, feature: Any, trainer: Any, validation_set: Any) -> None:
    """Refuse to choose the best model by a constant loss: it would be that of the first evaluation."""
    if validation_set is None or not len(validation_set):
        return
    fewest, batch_size = feature.loss.fewest_rows_in_evaluation, max(trainer.batch_size, trainer.eval_batch_size)
    needs = f"{_needs(place.at('.loss'), feature.loss, fewest)} It could not choose the best model."
    if len(validation_set) < fewest:
        raise ConfigValidationError(f"The validation data has {len(validation_set)} rows, but {needs} Add rows to it.")
    if batch_size < fewest:
        raise ConfigValidationError(
            f"trainer.eval_batch_size: got {batch_size}, but {needs} Write a larger one, for instance 64."
        )


def _needs(where: Place, loss: Any, rows: int) -> str:
    return (
        f"{where}: {loss.type} compares the rows of a batch and needs at least {rows}: with fewer it is the same "
        "number whatever the model is like."
    )
