"""The forward pass over a data set, with the model as the trainer has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist


def outputs_and_targets(
    trainer: Any, dataset: Any, batch_size: int
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yield the outputs of the network and the targets of this rank's rows, in batches."""
    model = trainer.model
    training = model.training
    model.eval()
    options = {"batch_size": batch_size, "should_shuffle": False, "distributed": trainer.distributed}
    try:
        with torch.no_grad(), dataset.initialize_batcher(**options) as batcher:
            while not batcher.last_batch():
                batch = batcher.next_batch()
                inputs, targets = (
                    _tensors(batch, f, trainer.device) for f in (model.input_features, model.output_features)
                )
                yield model(inputs), targets
    finally:
        model.train(training)


def _tensors(batch: dict[str, np.ndarray], features: Any, device: torch.device) -> dict[str, Tensor]:
    columns = {feature.feature_name: np.array(batch[feature.proc_column], copy=True) for feature in features.values()}
    return {name: torch.from_numpy(column).to(device) for name, column in columns.items()}


def of_all_ranks(found: Any) -> list[Any]:
    """Return what each rank has found."""
    if not (dist.is_available() and dist.is_initialized()):
        return [found]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, found)
    return gathered
