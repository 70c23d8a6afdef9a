"""Poly-1 loss, Leng et al., ICLR 2022: cross-entropy plus ``epsilon (1 - p_t)``."""

from __future__ import annotations

from torch import Tensor

from oracles._rows import per_row, softmax


def poly_loss(logits: Tensor, target: Tensor, *, epsilon: float = 1.0) -> Tensor:
    def loss(z: Tensor, y: int) -> Tensor:
        cross_entropy = z.logsumexp(0) - z[y]
        return cross_entropy + epsilon * (1 - softmax(z)[y])

    return per_row(loss, logits, target, class_dim=1)
