"""Predictions of a trained model with their targets, encoded as the network uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ludwig.constants import IMAGE, NUMBER, PREDICTIONS
from ludwig.features.number_feature import get_transformer
from torch import Tensor

from ludwig_losses.declare.loss import Loss
from ludwig_losses.host.data.classes import describe
from ludwig_losses.parameters import Feature, numeric_order


@dataclass(frozen=True)
class Batch:
    """A batch of rows.

    Args:
        truth: the targets.
        predicted: what the network says of them, by Ludwig's names: predictions, probabilities, ... Numbers are in the
            units of the data.
        image: the first input image, ``[B, C, H, W]``, if there is one.
        known_score: the score by which a loss with a background class tells known examples from others.
        quantiles: ``[..., K]`` for targets ``[...]``, in the units of the data, if the loss predicts some.
        levels: ``[K]``, their levels.
    """

    truth: np.ndarray
    predicted: dict[str, np.ndarray]
    image: np.ndarray | None
    known_score: np.ndarray | None = None
    quantiles: np.ndarray | None = None
    levels: np.ndarray | None = None


def describe_output(model: Any, name: str, metadata: dict) -> Feature:
    """Return what preprocessing found out about an output feature of a :class:`ludwig.api.LudwigModel`."""
    feature = next(feature for feature in model.config_obj.output_features if feature.name == name)
    return describe(feature, metadata[name])


def describe_roles(model: Any, name: str, feature: Feature) -> dict[str, list[str] | None]:
    """Return the roles of the classes of an output feature, by their names, as far as they are known.

    Returns:
        ``order``: from low to high, where the loss has an order; ``numbers``: the same where all names are numbers;
        ``background``: those that stand for everything unknown, where the loss has some.
    """
    loss, classes = _loss_of(model, name), [str(entry) for entry in feature.classes or ()]

    def named(indices: list[int] | None) -> list[str] | None:
        return None if indices is None else [classes[index] for index in indices]

    return {
        "order": named(loss.ranked_classes if isinstance(loss, Loss) else None),
        "numbers": numeric_order([entry for entry in classes if entry not in feature.symbols]),
        "background": named(loss.unknown_classes if isinstance(loss, Loss) else None),
    }


def _loss_of(model: Any, name: str) -> Any:
    """Return the loss of an output feature, which may be one of Ludwig's own."""
    return model.model.output_features.get(name).train_loss_function


def batches(model: Any, dataset: Any, name: str) -> Iterator[Batch]:
    """Yield all rows of a prepared data set in their order, as an output feature predicts them."""
    network = model.model
    training, device = network.training, next(network.parameters()).device
    target = network.output_features.get(name)
    images = [feature for feature in network.input_features.values() if feature.type() == IMAGE]
    loss = _loss_of(model, name)
    rejects = isinstance(loss, Loss) and loss.unknown_classes and loss.score is not None
    undo = _without_normalization(model, target)
    network.eval()
    try:
        with (
            torch.no_grad(),
            dataset.initialize_batcher(batch_size=_batch_size(model), should_shuffle=False) as batcher,
        ):
            while not batcher.last_batch():
                batch = batcher.next_batch()
                inputs = {
                    feature.feature_name: torch.from_numpy(np.array(batch[feature.proc_column], copy=True)).to(device)
                    for feature in network.input_features.values()
                }
                predicted = network.predictions(inputs)[name]
                arrays = {key: _array(value) for key, value in predicted.items() if isinstance(value, Tensor)}
                yield Batch(
                    undo(np.array(batch[target.proc_column], copy=True)),
                    {**arrays, PREDICTIONS: undo(arrays[PREDICTIONS])} if PREDICTIONS in arrays else arrays,
                    np.array(batch[images[0].proc_column], copy=True) if images else None,
                    _array(predicted[loss.score_name]) if rejects else None,
                    **_quantiles(loss, arrays, undo),
                )
    finally:
        network.train(training)


def _quantiles(
    loss: Any, arrays: dict[str, np.ndarray], undo: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the quantiles that a loss predicts, if it does, with their levels; rounding leaves their order."""
    levels = loss.quantile_columns if isinstance(loss, Loss) else None
    if not levels:
        return {}
    values = np.stack([undo(arrays[name]) for name in levels], axis=-1)
    return {"quantiles": np.maximum.accumulate(values, axis=-1), "levels": np.array([*levels.values()])}


def _without_normalization(model: Any, target: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return what brings the numbers of an output feature back to the units of the data; others stay as they are."""
    if target.type() != NUMBER:
        return lambda values: values
    metadata = model.training_set_metadata[target.feature_name]
    transformer = get_transformer(metadata, metadata["preprocessing"])
    return transformer.inverse_transform


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy() if tensor.is_floating_point() else tensor.detach().cpu().numpy()


def _batch_size(model: Any) -> int:
    trainer = model.config_obj.trainer
    size = getattr(trainer, "eval_batch_size", None) or trainer.batch_size
    return size if isinstance(size, int) else 128
