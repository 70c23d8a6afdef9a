"""Calibration of predictions by the validation data, before each evaluation: what it finds is saved with the model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from ludwig.constants import LOGITS, VALIDATION
from ludwig.data.dataset.pandas import PandasDataset
from torch import Tensor

from ludwig_losses.declare.loss import Loss
from ludwig_losses.host.config.sections import place_of
from ludwig_losses.host.data.rows import rows_of
from ludwig_losses.host.model.forward import of_all_ranks, outputs_and_targets

# Of each trainer, the rows that calibrate by the share of the validation rows that they are, all of them under `None`.
_rows_to_calibrate: WeakKeyDictionary[Any, dict[float | None, Any]] = WeakKeyDictionary()


def train_with_rows_to_calibrate(
    original: Callable, trainer: Any, training_set: Any, validation_set: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Train without the validation rows that are to calibrate and do nothing else: what follows metrics, as early
    stopping and the best model, does not depend on them.

    Raises:
        ValueError: a loss that calibrates has too few validation rows, or no evaluation before which to do it; naming
            the feature, how many rows there are, and how many are needed.
    """
    features = _calibrated(trainer.model)
    if features:
        shares = {feature.train_loss_function.calibration_share for feature in features}
        parts, validation_set = _parts(trainer.model, validation_set, shares)
        _rows_to_calibrate[trainer] = parts
        for feature in features:
            _check_rows(trainer, feature, parts, 0 if validation_set is None else len(validation_set))
    return original(trainer, training_set, validation_set, *args, **kwargs)


def _parts(model: Any, validation_set: Any, shares: set[float | None]) -> tuple[dict[float | None, Any], Any]:
    """Return the rows that calibrate by their share, and the validation rows that are left for metrics."""
    parts: dict[float | None, Any] = {None: validation_set}
    largest = max((share for share in shares if share is not None), default=None)
    if largest is None or validation_set is None:
        return {**dict.fromkeys(shares, validation_set), **parts}, validation_set
    if not isinstance(validation_set, PandasDataset):
        raise ValueError(
            f"calibration_share: {largest:g} divides the validation rows, which needs backend: local. Write that, or "
            f"remove calibration_share."
        )
    losses = [feature.loss for feature in model.output_features.values()]
    together = 2 if any(getattr(loss, "keeps_pairs", False) for loss in losses) else 1
    order = rows_to_calibrate(len(validation_set), together)
    counts = {share: round(share * len(order) / together) * together for share in shares if share is not None}
    parts |= {share: rows_of(validation_set, np.sort(order[:count])) for share, count in counts.items()}
    return parts, rows_of(validation_set, np.sort(order[counts[largest] :]))


def rows_to_calibrate(count: int, together: int = 1) -> np.ndarray:
    """Return all rows in the order in which they calibrate, which is random, and the same for each rank and resumption.

    Args:
        count: how many validation rows there are.
        together: so many consecutive rows stay together, as a loss that pairs them needs.
    """
    order = np.random.default_rng(count).permutation(count // together)
    rows = (order[:, None] * together + np.arange(together)).ravel()
    return np.append(rows, np.arange(len(rows), count))  # a row without a partner stays the last one


def _check_rows(trainer: Any, feature: Any, parts: dict[float | None, Any], left: int) -> None:
    where = place_of(trainer.model, feature.feature_name).at(".loss.calibrate")
    if getattr(trainer, "skip_all_evaluation", False):
        raise ValueError(f"{where}: true calibrates before each evaluation. Remove trainer.skip_all_evaluation.")
    loss = feature.train_loss_function
    part = parts[loss.calibration_share]
    rows = 0 if part is None else len(part)
    if rows < loss.fewest_rows:
        share = "" if loss.calibration_share is None else f", calibration_share: {loss.calibration_share:g} of them"
        raise ValueError(
            f"{where}: true needs at least {loss.fewest_rows} validation rows for intervals of this level; got "
            f"{rows}{share}. With fewer, no finite interval holds. Add validation rows, choose narrower quantiles, or "
            f"remove calibrate."
        )
    if loss.calibration_share is not None and left < loss.fewest_rows:
        raise ValueError(
            f"{where}: calibration_share: {loss.calibration_share:g} leaves {left} validation rows that choose the "
            f"best epoch; got {rows + left} rows, and both parts need at least {loss.fewest_rows}."
        )


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
    for share in dict.fromkeys(feature.train_loss_function.calibration_share for feature in features):
        some = [feature for feature in features if feature.train_loss_function.calibration_share == share]
        _calibrate(trainer, some, _rows_to_calibrate[trainer][share], progress_tracker.batch_size)
    return original(trainer, training_set, validation_set, test_set, progress_tracker, *args, **kwargs)


def evaluate_without_rows_to_calibrate(
    original: Callable, trainer: Any, dataset: Any, dataset_name: str, *args: Any, **kwargs: Any
) -> Any:
    """Evaluate a split, the validation rows by what they calibrate themselves: calibrated metrics may choose the model,
    which must not depend on the rows that only calibrate."""
    features = [f for f in _calibrated(trainer.model) if f.train_loss_function.calibration_share is not None]
    if dataset_name != VALIDATION or not features:
        return original(trainer, dataset, dataset_name, *args, **kwargs)
    kept = [copy.deepcopy(feature.train_loss_function.state_dict()) for feature in features]
    _calibrate(trainer, features, dataset, trainer.eval_batch_size)
    try:
        return original(trainer, dataset, dataset_name, *args, **kwargs)
    finally:
        for feature, state in zip(features, kept, strict=True):
            feature.train_loss_function.load_state_dict(state)


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
    for of_rank in (everyone := of_all_ranks(kept))[1:]:
        for name, rows in of_rank.items():
            everyone[0][name] += rows
    for feature in features:
        logits, target = zip(*everyone[0][feature.feature_name], strict=True)
        loss = feature.train_loss_function
        device = next(loss.buffers()).device
        loss.calibrate(torch.cat(logits).to(device), torch.cat(target).to(device))
