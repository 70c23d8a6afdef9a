"""How the oracles walk through a tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def per_row(loss: Callable[[Tensor, int], Tensor], logits: Tensor, target: Tensor, class_dim: int) -> Tensor:
    """Return ``loss(z, y)`` for every vector ``z`` of class logits and its class ``y``, in the shape of ``target``."""
    rows = logits.movedim(class_dim, -1).reshape(-1, logits.shape[class_dim])
    losses = [loss(z, y) for z, y in zip(rows, target.flatten().tolist(), strict=True)]
    return torch.stack(losses).reshape(target.shape)


def softmax(z: Tensor) -> Tensor:
    """Softmax of one vector of logits."""
    exponentials = (z - z.detach().max()).exp()
    return exponentials / exponentials.sum()
