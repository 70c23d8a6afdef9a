"""``ludwig train`` under ``torchrun``: a backend of Ludwig's with which all ranks train one model."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import ludwig.backend
import ludwig.distributed
import torch
from ludwig.backend.base import LocalBackend
from torch import distributed as dist
from torch import nn

from ludwig_losses.host import contract
from ludwig_losses.host.ranks.strategy import DataParallelStrategy

NAME = "torchrun"
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


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


def use_data_parallel_backend() -> None:
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
