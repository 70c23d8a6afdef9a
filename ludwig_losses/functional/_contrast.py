"""The rows of a batch compared with each other and with a memory: the value of NT-Xent and its gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ludwig_losses.functional._numerics import full_precision_products, indicator, is_small, summation_dtype

# Similarities at a time, unless a chunk size says how many: 16 MB of float32.
_SIMILARITIES = 2**22


def loss_and_gradient(
    unit: Tensor,
    labels: Tensor,
    others: Tensor | None,
    *,
    temperature: float,
    chunk_size: int | None,
    per_anchor: bool,
    wanted: bool,
) -> tuple[Tensor, Tensor]:
    """Return the mean cost of the positive pairs, or of the anchors that have any, and its derivative by the anchors.

    Args:
        unit: ``[B, D]``, rows of length 1, which are the anchors.
        labels: ``[B]``, or ``[B + M]`` if the others have labels too.
        others: ``[M, D]``, rows of length 1 to compare the anchors with besides each other.
        wanted: whether there is to be a derivative; otherwise it is empty.
    """
    everyone = unit if others is None else torch.cat([unit, others])
    anchors = unit.shape[0]
    costs, counts = [], []
    gradient = unit[:0]
    with full_precision_products(unit.device):
        for rows in _chunks(anchors, everyone.shape[0], chunk_size):
            own = unit[rows] / temperature
            cost, count, slope = _chunk(own, everyone, labels[rows], labels, rows.start, per_anchor)
            costs.append(cost)
            counts.append(count)
            if wanted and slope.shape[0] == slope.shape[1] and is_small(slope):
                gradient = (slope + slope.T) @ own
            elif wanted:
                gradient = gradient if rows.start else torch.zeros_like(unit)
                gradient[rows].addmm_(slope, everyone, alpha=1 / temperature)
                gradient.addmm_(slope[:, :anchors].T, own)
    # float32 is enough within a chunk.
    total = torch.stack(costs).sum(dtype=summation_dtype(unit.device)) if costs[1:] else costs[0]
    counted = (torch.stack(counts).sum() if counts[1:] else counts[0]).clamp_min(1)
    return (total / counted).to(unit.dtype), gradient.div_(counted)


def _chunks(rows: int, columns: int, chunk_size: int | None) -> list[slice]:
    """Return the rows that are compared at a time; all of them while torch compiles, where their number is a symbol."""
    if not rows or (chunk_size is None and torch.compiler.is_compiling()):
        return [slice(0, rows)]
    size = chunk_size or max(_SIMILARITIES // columns, 1)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _chunk(
    own: Tensor, everyone: Tensor, own_labels: Tensor, labels: Tensor, start: int, per_anchor: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the summed cost of some anchors, what it is divided by, and its derivative by the similarities."""
    s = own @ everyone.T
    # Half of the lowest number: a lone row has no one to be compared with, and its (unused) cost must stay finite.
    s.diagonal(start).fill_(torch.finfo(s.dtype).min / 2)
    positive = indicator(own_labels.unsqueeze(1) == labels, s.dtype)
    positive.diagonal(start).zero_()
    if len(labels) < len(everyone):  # those without a label are nobody's partners
        positive = pad(positive, (0, len(everyone) - len(labels)))
    partners = positive.sum(dim=1, keepdim=True)
    count = (partners > 0).sum() if per_anchor else partners.sum(dtype=torch.long)
    if per_anchor:
        positive /= partners.clamp_min(1)
        partners = partners.clamp_max(1)
    log_softmax = s.log_softmax(dim=1)
    cost = -torch.dot(log_softmax.flatten(), positive.flatten())
    return cost, count, log_softmax.exp_().mul_(partners).sub_(positive)
