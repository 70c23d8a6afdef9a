"""PolyLoss, Leng et al., ICLR 2022: cross-entropy plus ``sum_j epsilon_j (1 - p_t)**j``, all times
``(1 - p_t)**gamma``. For a smoothed label, cross-entropy to it and ``p_t = sum(q * p)``, as in the code of the paper."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from oracles._rows import per_row, smoothed_label


def poly_loss(
    logits: Tensor,
    target: Tensor,
    *,
    epsilon: float | list[float] = 1.0,
    gamma: float = 0.0,
    label_smoothing: float = 0.0,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    coefficients = epsilon if isinstance(epsilon, list) else [epsilon]

    def loss(z: Tensor, y: int) -> Tensor:
        label = smoothed_label(z, y, label_smoothing)
        # From the largest logit on, so that a large constant in all of them does not cost digits.
        z = z - z.detach().max()
        log_p = z - z.logsumexp(0)
        cross_entropy = -sum(q * log_p[c] for c, q in enumerate(label) if q > 0)
        # sum_c (1 - q_c) p_c is 1 - p_t; as a power of e, whose derivative is finite at 0.
        not_c = [math.fsum(label[:c] + label[c + 1 :]) for c in range(len(z))]
        missed = [log_p[c] + math.log(q) for c, q in enumerate(not_c) if q > 0 and z[c] > -torch.inf]
        if not missed:
            return 0 * z[y]
        log_miss = torch.stack(missed).logsumexp(0)
        polynomial = sum(e * (j * log_miss).exp() for j, e in enumerate(coefficients, start=1))
        return (gamma * log_miss).exp() * (cross_entropy + polynomial)

    return per_row(loss, logits, target, class_dim=1, ignore_index=ignore_index)
