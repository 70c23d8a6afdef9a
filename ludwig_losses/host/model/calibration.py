"""Calibration of predictions by the validation data, before each evaluation: what it finds is saved with the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ludwig.constants import LOGITS
from torch import Tensor
from torch import distributed as dist

from ludwig_losses.declare.loss import Loss
from ludwig_losses.host.config.sections import place_of
from ludwig_losses.host.model.forward import outputs_and_targets


def refuse_too_few_rows(
    original: Callable, trainer: Any, training_set: Any, validation_set: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Train, unless a loss that calibrates has too few validation rows, or no evaluation before which to do it.

    Raises:
        ValueError: naming the feature, how many rows there are, and how many are needed.
    """
    for feature in _calibrated(trainer.model):
        where = place_of(trainer.model, feature.feature_name).at(".loss.calibrate")
        if getattr(trainer, "skip_all_evaluation", False):
            raise ValueError(f"{where}: true calibrates before each evaluation. Remove trainer.skip_all_evaluation.")
        rows, fewest = 0 if validation_set is None else len(validation_set), feature.train_loss_function.fewest_rows
        if rows < fewest:
            raise ValueError(
                f"{where}: true needs at least {fewest} validation rows for intervals of this level; got {rows}. With "
                f"fewer, no finite interval holds. Add validation rows, choose narrower quantiles, or remove calibrate."
            )
    return original(trainer, training_set, validation_set, *args, **kwargs)


def calibrate_and_evaluate(
    original: Callable,
    trainer: Any,
    training_set: Any,
    validation_set: Any,
    test_set: Any,
    progress_tracker: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Evaluate with the calibration of the present model, which is saved with it if it is the best one."""
    features = _calibrated(trainer.model)
    if features:
        _calibrate(trainer, features, validation_set, progress_tracker.batch_size)
    return original(trainer, training_set, validation_set, test_set, progress_tracker, *args, **kwargs)


def _calibrated(model: Any) -> list[Any]:
    """Return the output features of a model whose loss calibrates their predictions."""
    features = getattr(model, "output_features", None)
    found = [] if features is None else [*features.values()]
    return [f for f in found if isinstance(f.train_loss_function, Loss) and f.train_loss_function.calibrates]


def _calibrate(trainer: Any, features: list[Any], dataset: Any, batch_size: int) -> None:
    kept: dict[str, list[tuple[Tensor, Tensor]]] = {feature.feature_name: [] for feature in features}
    for outputs, targets in outputs_and_targets(trainer, dataset, batch_size):
        for name, rows in kept.items():
            rows.append((outputs[f"{name}::{LOGITS}"].cpu(), targets[name].cpu()))
    for of_rank in (everyone := _of_all_ranks(kept))[1:]:
        for name, rows in of_rank.items():
            everyone[0][name] += rows
    for feature in features:
        logits, target = zip(*everyone[0][feature.feature_name], strict=True)
        loss = feature.train_loss_function
        device = next(loss.buffers()).device
        loss.calibrate(torch.cat(logits).to(device), torch.cat(target).to(device))


def _of_all_ranks(found: Any) -> list[Any]:
    """Return what each rank has found."""
    if not (dist.is_available() and dist.is_initialized()):
        return [found]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, found)
    return gathered
