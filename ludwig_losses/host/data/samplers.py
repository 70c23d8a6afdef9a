"""Which rows of the data a rank evaluates. Shards for training are Ludwig's own, or those of pairs.py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
from ludwig.data.sampler import DistributedSampler

# Whether the data being batched is evaluated and not trained on.
_evaluating: ContextVar[bool] = ContextVar("ludwig_losses_evaluating", default=False)


@contextlib.contextmanager
def batch_shard(initialize: Callable, dataset: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    """Batch a shard of the data; for evaluation one in which no row is repeated, if the strategy can do with that."""
    alone = getattr(kwargs.get("distributed"), "evaluates_alone", False)
    token = _evaluating.set(alone and not kwargs.get("ignore_last"))  # Ludwig sets it for training only.
    try:
        with initialize(dataset, *args, **kwargs) as batcher:
            yield batcher
    finally:
        _evaluating.reset(token)


def sampler(
    original: type[DistributedSampler], rows_together: int, dataset_size: int, **kwargs: Any
) -> DistributedSampler:
    """Return the sampler for the data being batched."""
    if _evaluating.get():
        return EvaluationSampler(dataset_size, rows_together=rows_together, **kwargs)
    return original(dataset_size, **kwargs)


class EvaluationSampler(DistributedSampler):
    """Yields each row on exactly one rank, whereas shards for training repeat rows until they are equal.

    If there are fewer rows than ranks, every rank evaluates all rows, so the mean over ranks is unchanged.

    Args:
        rows_together: how many consecutive rows stay on one rank.
    """

    def __init__(self, dataset_size: int, *, rows_together: int = 1, **kwargs: Any) -> None:
        super().__init__(dataset_size, **kwargs)
        rows = np.arange(dataset_size)
        if dataset_size > rows_together * (self.num_replicas - 1):
            rows = rows[rows // rows_together % self.num_replicas == self.rank]
        self.rows = rows.tolist()
        self.num_samples = len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)
