"""One model on several ranks: torch's ``DistributedDataParallel`` as a strategy and a backend of Ludwig's.

Both generations have a strategy of their own, but no backend uses it, 0.11's needs Ray and 0.17's ``accelerate``, and
neither can broadcast a tensor under all versions of torch. This one needs torch only and is the same on all of them.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import ludwig.backend
import ludwig.distributed
import torch
from ludwig.backend.base import LocalBackend
from ludwig.distributed.base import LocalStrategy
from ludwig.modules.optimization_modules import create_optimizer
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torchmetrics.utilities.distributed import gather_all_tensors

from ludwig_losses.host import contract

NAME = "torchrun"
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


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
        """Leave gradients alone until the step that uses them, where they are accumulated."""
        with contextlib.nullcontext() if should_step else model.no_sync():
            yield

    @classmethod
    def is_available(cls) -> bool:
        return dist.is_initialized()

    @classmethod
    def gather_all_tensors_fn(cls) -> Callable:
        return gather_all_tensors


class DataParallelBackend(LocalBackend):
    """Ludwig's local backend on each rank: data in pandas, files from the first rank, training on all of them."""

    def initialize(self) -> None:
        """Join the other ranks.

        Raises:
            RuntimeError: this process was not started by ``torchrun``, or this Ludwig is an unknown one.
        """
        contract.require_group("ranks", "training on several ranks")
        missing = [name for name in VARIABLES if name not in os.environ]
        if missing:
            raise RuntimeError(
                f"{', '.join(missing)} not set: start this with `torchrun --nproc-per-node N ...`, which sets them."
            )
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        ludwig.distributed.STRATEGIES[NAME] = lambda: DataParallelStrategy
        self.strategy = ludwig.distributed.init_dist_strategy(NAME)

    def create_trainer(self, config: Any, model: Any, **kwargs: Any) -> Any:
        return super().create_trainer(config, model, distributed=self.strategy, **kwargs)

    def is_coordinator(self) -> bool:
        return self.strategy.is_coordinator()

    def broadcast_return(self, fn: Callable) -> Any:
        return self.strategy.broadcast_object(fn() if self.is_coordinator() else None)

    def sync_model(self, model: nn.Module) -> None:
        """Give every rank the weights of the first one, which has loaded the best checkpoint."""
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, src=0)

    @property
    def num_nodes(self) -> int:
        return self.strategy.size() // self.strategy.local_size()

    @property
    def num_training_workers(self) -> int:
        return self.strategy.size()

    def supports_batch_size_tuning(self) -> bool:
        """Ranks that measure different speeds would try different sizes, and wait for each other forever."""
        return False


def use() -> None:
    """Make :class:`DataParallelBackend` the local backend of this process."""
    backend = DataParallelBackend()
    registry = ludwig.backend.backend_registry
    registry.update({name: functools.partial(_refuse, name) for name in registry})
    registry[None] = registry[ludwig.backend.LOCAL] = lambda **kwargs: backend


def _refuse(name: str, **kwargs: Any) -> LocalBackend:
    raise ValueError(
        f"backend: {name} does not work under torchrun, which has a local backend on each rank. Remove it, or write "
        f"backend: local if there is none: where a Ray cluster runs, Ludwig takes that."
    )
