"""PolyLoss, Leng et al., ICLR 2022: cross-entropy plus ``sum_j epsilon_j (1 - p_t)**j``, all times
``(1 - p_t)**gamma``. For a smoothed label, cross-entropy to it and ``p_t = sum(q * p)``, as in the code of the paper."""

from __future__ import annotations

from torch import Tensor

from oracles._rows import per_row, smoothed_label, softmax


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
        label, p, log_p = smoothed_label(z, y, label_smoothing), softmax(z), z - z.logsumexp(0)
        cross_entropy = -sum(q * log_p[c] for c, q in enumerate(label) if q > 0)
        # sum_c (1 - q_c) p_c is 1 - p_t.
        miss = sum((1 - q) * p[c] for c, q in enumerate(label))
        polynomial = sum(e * miss**j for j, e in enumerate(coefficients, start=1))
        return miss**gamma * (cross_entropy + polynomial)

    return per_row(loss, logits, target, class_dim=1, ignore_index=ignore_index)
