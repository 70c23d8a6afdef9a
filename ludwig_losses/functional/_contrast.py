"""NT-Xent with a memory of past embeddings, or with anchors instead of pairs weighing equally."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ludwig_losses.functional._derivatives import is_differentiated, with_gradient
from ludwig_losses.functional._numerics import summation_dtype

# Similarities at a time, unless a chunk size says how many: 16 MB of float32.
SIMILARITIES = 2**22


def contrast(
    unit: Tensor, labels: Tensor, others: Tensor, *, temperature: float, chunk_size: int | None, per_anchor: bool
) -> Tensor:
    """Return the mean cost of the positive pairs, or of the anchors that have any.

    Args:
        unit: ``[B, D]``, rows of length 1, which are the anchors.
        labels: ``[B]``, or ``[B + M]`` if the others have labels too.
        others: ``[M, D]``, rows of length 1 without a gradient, to compare the anchors with besides each other.
    """
    if chunk_size is None:
        chunk_size = max(SIMILARITIES // max(len(unit) + len(others), 1), 1)
    wanted = is_differentiated(unit)
    loss, gradient = _contrast(unit.detach(), labels, others.detach(), temperature, chunk_size, per_anchor, wanted)
    return with_gradient(loss, unit, gradient) if wanted else loss


# A custom operator: torch.compile takes its loop whole, and it computes the gradient along with the value.
@torch.library.custom_op("ludwig_losses::contrast", mutates_args=())
def _contrast(
    unit: Tensor,
    labels: Tensor,
    others: Tensor,
    temperature: float,
    chunk_size: int,
    per_anchor: bool,
    wanted: bool,
) -> tuple[Tensor, Tensor]:
    """Loss and its derivative by the anchors (empty unless asked for)."""
    everyone = torch.cat([unit, others])
    gradient = torch.zeros_like(unit if wanted else unit[:0])
    total, counted = unit.new_zeros((), dtype=summation_dtype(unit.device)), labels.new_zeros((), dtype=torch.long)
    # Autocast would take the products in half precision.
    with torch.autocast(unit.device.type, enabled=False):
        for start in range(0, len(unit), chunk_size):
            rows = slice(start, start + chunk_size)
            own = unit[rows] / temperature
            s = own @ everyone.T
            # A lone row has no one to be compared with: its (unused) normaliser must stay finite.
            s.diagonal(start).fill_(torch.finfo(s.dtype).min)
            positive = torch.zeros_like(s)
            positive[:, : len(labels)] = labels[: len(unit)][rows, None] == labels
            positive.diagonal(start).zero_()
            partners = positive.sum(dim=1, keepdim=True)
            counted += (partners > 0).sum() if per_anchor else partners.sum().long()
            if per_anchor:
                positive /= partners.clamp_min(1)
                partners = partners.clamp_max(1)
            normaliser = s.logsumexp(dim=1, keepdim=True)
            total += (partners * normaliser).sum() - torch.dot(s.flatten(), positive.flatten())
            if wanted:
                slope = (s - normaliser).exp_().mul_(partners).sub_(positive)
                gradient[rows] += slope @ everyone / temperature
                gradient.addmm_(slope[:, : len(unit)].T, own)
    counted = counted.clamp_min(1)
    return (total / counted).to(unit.dtype), gradient.div_(counted)


@_contrast.register_fake
def _(
    unit: Tensor, labels: Any, others: Any, temperature: Any, chunk_size: Any, per_anchor: Any, wanted: bool
) -> tuple[Tensor, Tensor]:
    return unit.new_empty(()), torch.empty_like(unit if wanted else unit[:0])
