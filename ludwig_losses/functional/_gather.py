"""The rows of all ranks, for a loss that compares rows across the whole batch while each rank holds a shard of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from ludwig_losses.functional.nt_xent import consecutive_pairs

# Far more than any rank has pairs, so that the labels of two ranks never meet.
_PAIRS_OF_A_RANK = 2**32


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of all ranks in the order of the ranks, with gradient for a loss of the whole batch.

    Made for data-parallel training that *averages* the gradients of the parameters over the ranks, as
    ``DistributedDataParallel`` does. All ranks compute the same ``L(z_1, ..., z_W)`` from the gathered rows, but rank
    ``r`` differentiates only through the rows ``z_r`` that it made itself. The gradient of one process with the whole
    batch is ``sum_r dL/dz_r dz_r/dw``; an average over the ranks would give ``1/W`` of it. So the gradient of the own
    rows is multiplied by ``W``, and the average is right: ``1/W sum_r W dL/dz_r dz_r/dw``. Since every rank knows the
    whole of ``dL/dz``, nothing is communicated on the way back.

    Args:
        rows: ``[B_r, ...]`` on each rank, alike but for their number, which may be 0. All ranks must call this.

    Returns:
        ``[sum B_r, ...]``, the same on each rank, differentiable once.

    Raises:
        ValueError: ``torch.distributed`` is not initialised.
    """
    return _GatherRows.apply(rows)


def gather_consecutive_pairs(rows: int, device: torch.device | None = None) -> Tensor:
    """Return the labels that pair rows ``2i`` and ``2i + 1`` of each rank, for :func:`gather_rows` of ``rows`` rows."""
    return gather_rows(consecutive_pairs(rows, device) + dist.get_rank() * _PAIRS_OF_A_RANK)


class _GatherRows(torch.autograd.Function):
    """The rows of all ranks; on the way back the gradient of the own ones, times the number of ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """Return the rows of all ranks, and keep which ones are the own."""
        shards = _shards(rows)
        ctx.ranks, ctx.rows = len(shards), len(rows)
        ctx.start = sum(map(len, shards[: dist.get_rank()]))
        return torch.cat(shards)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of the own rows, times the number of ranks."""
        return gradient.narrow(0, ctx.start, ctx.rows) * ctx.ranks


def _shards(rows: Tensor) -> list[Tensor]:
    """Return the rows of each rank; they travel padded to the longest shard, since a collective needs equal shapes."""
    own = torch.tensor(len(rows), device=rows.device)
    sizes = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, own)
    longest = max(int(size) for size in sizes)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    shards = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(shards, padded)
    return [shard[:size] for shard, size in zip(shards, sizes, strict=True)]
