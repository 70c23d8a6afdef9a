"""Run by test_gather.py on each rank: the loss and the gradients of one data-parallel step."""

from __future__ import annotations

import os
import pathlib
import sys

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ludwig_losses.functional import dice_loss, lovasz_softmax_loss, nt_xent_loss, softmax_focal_loss
from ludwig_losses.functional._gather import gather_consecutive_pairs, gather_rows
from ludwig_losses.functional._numerics import weighted_mean

# Rows of each rank: even, uneven, with single rows, and with a rank that has none.
SHARDS = {2: [(4, 4), (6, 4), (5, 3), (4, 0)], 3: [(4, 4, 4), (6, 4, 2), (3, 2, 5), (5, 0, 2)]}
WEIGHTS = (0.2, 1.0, 3.0)


def batch(sizes: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the whole batch: rows, and labels that repeat across the ranks."""
    generator = torch.Generator().manual_seed(sum(sizes))
    rows = torch.randn(sum(sizes), 6, generator=generator, dtype=dtype)
    return rows, torch.randint(3, (sum(sizes),), generator=generator)


def images(count: int) -> tuple[Tensor, Tensor]:
    """Return pictures ``[N, 6, 4]`` for a pixel-wise model, and masks of three classes, one of them rare."""
    generator = torch.Generator().manual_seed(count)
    masks = torch.randint(2, (count, 4), generator=generator)
    masks[0, 0] = 2
    return torch.randn(count, 6, 4, generator=generator, dtype=torch.float64), masks


def encoder(dtype: torch.dtype, width: int = 5) -> nn.Linear:
    generator = torch.Generator().manual_seed(width)
    model = nn.Linear(6, width, dtype=dtype)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=dtype)
    return model


def pixelwise(model: nn.Module, pictures: Tensor) -> Tensor:
    return model(pictures.movedim(1, -1)).movedim(-1, 1)


def own_loss(name: str, logits: Tensor, masks: Tensor) -> Tensor:
    """Losses that are not gathered: each rank has its own."""
    if name == "dice":
        return dice_loss(logits, masks)
    if name == "lovasz":
        return lovasz_softmax_loss(logits, masks)
    loss = softmax_focal_loss(logits, masks, gamma=2.0)
    return weighted_mean(loss, torch.tensor(WEIGHTS, dtype=loss.dtype)[masks] if name == "weighted" else None)


OWN_LOSSES = ("focal", "dice", "lovasz", "weighted")


def result(loss: Tensor, model: nn.Module) -> list[Tensor]:
    """Return the loss and the gradients that it leaves in a model."""
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in model.parameters())]


def shard(values: Tensor, sizes: tuple[int, ...]) -> Tensor:
    return values.split(list(sizes))[dist.get_rank()]


def contrast(sizes: tuple[int, ...], dtype: torch.dtype, pairing: str, gradient: bool) -> list[Tensor]:
    model = DistributedDataParallel(encoder(dtype))
    rows, labels = (shard(values, sizes) for values in batch(sizes, dtype))
    embeddings = model(rows)
    labels = gather_rows(labels) if pairing == "target" else gather_consecutive_pairs(len(rows))
    gathered = gather_rows(embeddings)
    if not gradient:  # What is often written: the own rows put back into a gather that does not differentiate.
        start = sum(sizes[: dist.get_rank()])
        others = gathered.detach()
        gathered = torch.cat([others[:start], embeddings, others[start + len(rows) :]])
    return result(nt_xent_loss(gathered, labels, temperature=0.3), model)


def main(folder: str) -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    results = {
        (sizes, dtype, pairing, gradient): contrast(sizes, dtype, pairing, gradient)
        for sizes in SHARDS[world]
        for dtype in (torch.float32, torch.float64)
        for pairing in ("consecutive", "target")
        for gradient in (True, False)
    }
    pictures, masks = (values.split(2)[rank] for values in images(2 * world))
    for name in OWN_LOSSES:
        model = DistributedDataParallel(encoder(torch.float64, width=3))
        results[name] = result(own_loss(name, pixelwise(model, pictures), masks), model)
    torch.save(results, pathlib.Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
