"""How the oracles walk through a tensor, and what a smoothed label is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def per_row(
    loss: Callable[[Tensor, int], Tensor],
    logits: Tensor,
    target: Tensor,
    class_dim: int,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    """Return ``loss(z, y)`` for every vector ``z`` of class logits and its class ``y``, in the shape of ``target``;
    0 where ``y`` is to be ignored."""
    ignored = ignore_index if isinstance(ignore_index, list) else [ignore_index]
    rows = logits.movedim(class_dim, -1).reshape(-1, logits.shape[class_dim])
    losses = [
        0 * z.nan_to_num(0, 0, 0).sum() if y in ignored else loss(z, y)
        for z, y in zip(rows, target.flatten().tolist(), strict=True)
    ]
    return torch.stack(losses).reshape(target.shape)


def smoothed_label(z: Tensor, y: int, label_smoothing: float) -> list[float]:
    """The label of each class: a part is spread evenly over the classes that are not masked."""
    competing = [c for c in range(len(z)) if z[c] > -torch.inf]
    label = [label_smoothing / len(competing) if c in competing else 0.0 for c in range(len(z))]
    label[y] += 1 - label_smoothing
    return label
