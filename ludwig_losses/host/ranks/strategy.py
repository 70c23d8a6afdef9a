"""One model on several ranks: torch's ``DistributedDataParallel`` as a strategy of Ludwig's.

Both generations have one of their own, but no backend uses it, 0.11's needs Ray and 0.17's ``accelerate``, and neither
can broadcast a tensor under all versions of torch. This one needs torch only and is the same on all of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from ludwig.distributed.base import LocalStrategy
from ludwig.modules.optimization_modules import create_optimizer
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torchmetrics.utilities.distributed import gather_all_tensors


class DataParallelStrategy(LocalStrategy):
    """Equal models on all ranks, whose gradients are averaged in each step."""

    # Whether ranks may evaluate different numbers of batches.
    evaluates_alone = True

    def prepare(self, model: nn.Module, trainer_config: Any, base_learning_rate: float) -> tuple[nn.Module, Any]:
        return DistributedDataParallel(model), create_optimizer(model, trainer_config.optimizer, base_learning_rate)

    def to_device(self, model: nn.Module, device: torch.device | None = None) -> nn.Module:
        """Move a model; one that is prepared comes back as it was before, for an evaluation on each rank's own.

        Inside ``DistributedDataParallel`` each forward pass waits for the other ranks to send the buffers, and shards
        for evaluation may differ in length. So the buffers are sent once, here.
        """
        if not isinstance(model, DistributedDataParallel):
            return super().to_device(model, device)
        for buffer in model.module.buffers():
            dist.broadcast(buffer, src=0)
        return model.module

    def size(self) -> int:
        return dist.get_world_size()

    def rank(self) -> int:
        return dist.get_rank()

    def local_size(self) -> int:
        return int(os.environ["LOCAL_WORLD_SIZE"])

    def local_rank(self) -> int:
        return int(os.environ["LOCAL_RANK"])

    def barrier(self) -> None:
        dist.barrier()

    def allreduce(self, t: Tensor) -> Tensor:
        dist.all_reduce(t)
        return t

    def broadcast(self, t: Tensor) -> Tensor:
        dist.broadcast(t, src=0)
        return t

    def broadcast_object(self, v: Any, name: str | None = None) -> Any:
        values = [v]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def prepare_model_update(self, model: DistributedDataParallel, should_step: bool) -> Iterator[None]:
        """Synchronise gradients only in the step that uses them, if they are accumulated."""
        with contextlib.nullcontext() if should_step else model.no_sync():
            yield

    @classmethod
    def is_available(cls) -> bool:
        return dist.is_initialized()

    @classmethod
    def gather_all_tensors_fn(cls) -> Callable:
        return gather_all_tensors
