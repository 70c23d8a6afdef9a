"""What training on several ranks needs of Ludwig: the same data and the same metrics on every rank.

Everything here does nothing unless Ludwig's current strategy has more than one rank. That ``torch.distributed`` is
initialised says nothing: Ray does that for a single worker, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ludwig.distributed import get_current_dist_strategy
from torch import Tensor
from torch import distributed as dist


def ranks() -> int:
    """Return how many ranks train one model together."""
    try:
        return get_current_dist_strategy().size()
    except RuntimeError:  # No model has been made yet.
        return 1


def trains_on_all_ranks(preds: Tensor) -> bool:
    """Whether these are outputs for one rank's shard of a training batch.

    Ranks evaluate on their own, with as many batches as their shard has: a collective operation would wait forever.
    """
    return ranks() > 1 and torch.is_grad_enabled() and preds.requires_grad


def preprocess_first_rank_first(preprocess: Callable, config: Any, *args: Any, **kwargs: Any) -> Any:
    """Preprocess on the first rank before the others, which then find its cache complete or have the same work to do.

    Raises:
        ValueError: the ranks do not have the same rows in the same order, so shards would overlap.
    """
    if ranks() == 1:
        return preprocess(config, *args, **kwargs)
    strategy = get_current_dist_strategy()
    if not strategy.is_coordinator():
        strategy.barrier()
    result = preprocess(config, *args, **kwargs)
    if strategy.is_coordinator():
        strategy.barrier()
    digests: list[Any] = [None] * strategy.size()
    dist.all_gather_object(digests, _digest(result[0]))
    if len({*digests}) > 1:
        others = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        raise ValueError(
            f"The training data of rank(s) {others} differs from that of rank 0. Give every machine the same files "
            f"and the same configuration, and delete what Ludwig has cached beside the data."
        )
    return result


def _digest(dataset: Any) -> str:
    """Return a fingerprint of the rows of a data set and of their order."""
    digest = hashlib.blake2b(str(len(dataset)).encode())
    for name, column in sorted(dataset.dataset.items()):
        if isinstance(column, np.ndarray) and column.dtype != object:
            digest.update(f"{name} {column.dtype} {column.shape}".encode())
            digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def load_in_equal_order(load: Callable, *args: Any, **kwargs: Any) -> Any:
    """Load cached data in its order, which is the same on every rank: Ludwig 0.11 shuffles training data here."""
    if ranks() > 1:
        kwargs["shuffle_training"] = False
    return load(*args, **kwargs)


def record_metrics_of_first_rank(
    append: Callable, model: Any, dataset_name: str, results: dict[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """Record the first rank's metrics on all ranks, so that all save and stop at the same step."""
    if ranks() > 1:
        results = get_current_dist_strategy().broadcast_object(results)
    return append(model, dataset_name, results, *args, **kwargs)


def stop_all_ranks(check: Callable, trainer: Any, model: Any) -> bool:
    """Stop all ranks where the first one stops; Ludwig tells only the first one of each machine."""
    found = check(trainer, model)
    return trainer.distributed.broadcast_object(found) if trainer.distributed.size() > 1 else found
