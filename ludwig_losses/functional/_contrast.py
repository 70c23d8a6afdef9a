"""The rows of a batch compared with each other and with a memory: the value of NT-Xent and its gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import nll_loss, pad

from ludwig_losses.functional._numerics import at_a_time, full_precision_products, indicator, is_small, summation_dtype

# Similarities at a time, unless a chunk size says how many: 16 MB of float32, or 64 MB on an accelerator.
_SIMILARITIES, _SIMILARITIES_ELSEWHERE = 2**22, 2**24


def loss_and_gradient(
    unit: Tensor,
    labels: Tensor | None,
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
        labels: ``[B]``, or ``[B + M]`` if the others have labels too. ``None`` pairs rows ``2i`` and ``2i + 1``, of an
            even number of rows.
        others: ``[M, D]``, rows of length 1 to compare the anchors with besides each other.
        wanted: whether there is to be a derivative; otherwise it is empty.
    """
    everyone = unit if others is None else torch.cat([unit, others])
    anchors = unit.shape[0]
    costs, counts = [], []
    gradient = unit[:0]
    with full_precision_products(unit.device):
        for rows in _chunks(anchors, everyone, chunk_size):
            own = unit[rows] / temperature
            s = own @ everyone.T
            # Not -inf: a lone row has nobody to compare with, and its unused cost must be finite.
            s.diagonal(rows.start).fill_(torch.finfo(s.dtype).min)
            log_softmax = s.log_softmax(dim=1)
            if labels is None:
                cost, slope = _of_pairs(log_softmax, rows)
            else:
                cost, slope, count = _of_labels(log_softmax, labels, rows, per_anchor)
                counts.append(count)
            costs.append(cost)
            if wanted and slope.shape[0] == slope.shape[1] and is_small(slope):
                gradient = (slope + slope.T) @ own
            elif wanted:
                gradient = gradient if rows.start else torch.zeros_like(unit)
                gradient[rows].addmm_(slope, everyone, alpha=1 / temperature)
                gradient.addmm_(slope[:, :anchors].T, own)
    # float32 is enough within a chunk.
    total = torch.stack(costs).sum(dtype=summation_dtype(unit.device)) if costs[1:] else costs[0]
    counted: Tensor | int = anchors
    if counts:
        counted = (torch.stack(counts).sum() if counts[1:] else counts[0]).clamp_min(1)
    return (total / counted).to(unit.dtype), gradient.div_(counted)


def _chunks(rows: int, everyone: Tensor, chunk_size: int | None) -> list[slice]:
    """Return the rows that are compared at a time; all of them while torch compiles, where their number is a symbol."""
    if not rows or (chunk_size is None and torch.compiler.is_compiling()):
        return [slice(0, rows)]
    similarities = at_a_time(everyone, _SIMILARITIES, _SIMILARITIES_ELSEWHERE)
    size = chunk_size or max(similarities // everyone.shape[0], 1)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _of_pairs(log_softmax: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """Return the summed cost of some anchors, and its derivative by the similarities: each has one partner."""
    partner = torch.arange(rows.start, rows.stop, device=log_softmax.device) ^ 1
    cost = nll_loss(log_softmax, partner, reduction="sum")
    minus_1 = cost.new_full((), -1).expand(len(partner), 1)
    return cost, log_softmax.exp_().scatter_add_(1, partner.unsqueeze(1), minus_1)


def _of_labels(log_softmax: Tensor, labels: Tensor, rows: slice, per_anchor: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the summed cost of some anchors, its derivative by the similarities, and what the cost is divided by."""
    positive = indicator(labels[rows].unsqueeze(1) == labels, log_softmax.dtype)
    positive.diagonal(rows.start).zero_()
    unlabelled = log_softmax.shape[1] - len(labels)
    if unlabelled:  # those without a label are nobody's partners
        positive = pad(positive, (0, unlabelled))
    partners = positive.sum(dim=1, keepdim=True)
    count = (partners > 0).sum() if per_anchor else partners.sum(dtype=torch.long)
    if per_anchor:
        positive /= partners.clamp_min(1)
        partners = partners.clamp_max(1)
    cost = -torch.dot(log_softmax.flatten(), positive.flatten())
    return cost, log_softmax.exp_().mul_(partners).sub_(positive), count
