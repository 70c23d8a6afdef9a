"""The rows of a batch compared with each other and with a memory: the value of NT-Xent and its gradient.

*What.* The cost of an anchor ``i`` is the cross-entropy of its similarities ``s_ij = <u_i, u_j> / temperature`` to all
other rows, with its partners as the true class. Value and gradient are computed together, for some anchors at a time.

*Why by hand.* Autograd would keep all ``[B, B + M]`` similarities and their softmax for the backward pass: 1 GB for
16,384 rows. A chunk of anchors needs its own similarities only, which are freed once its part of the gradient is added.

*How.* The derivative of a cross-entropy by its logits is ``softmax - label``. With this ``slope_ij``, an anchor ``u_i``
occurs in its own row of similarities and in its column of all others'::

    d cost / d u_i = sum_j (slope_ij + slope_ji) u_j / temperature

*Example.* Three rows of which 0 and 1 are partners; row 2 has none, so it only stands in the sums of the others. At a
temperature of 1 with ``s_01 = 1, s_02 = 0, s_12 = 0`` the softmax of row 0 over the rows 1 and 2 is ``[0.73, 0.27]``::

    slope   [[ 0.   , -0.27,  0.27],        row 0 is drawn to row 1 and away from row 2,
             [-0.27,  0.   ,  0.27],        row 1 to row 0 and away from row 2;
             [ 0.   ,  0.   ,  0.  ]]       column 2 draws row 2 away from both
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import nll_loss, pad

from ludwig_losses.functional._numerics import (
    elements_per_block,
    full_precision_products,
    indicator,
    is_small,
    summation_dtype,
)

# Similarities at a time, unless a chunk size says how many: 16 MB of float32, or 64 MB on an accelerator.
_SIMILARITIES, _SIMILARITIES_ON_ACCELERATOR = 2**22, 2**24


def loss_and_gradient(
    unit: Tensor,
    labels: Tensor | None,
    others: Tensor | None,
    *,
    temperature: float | Tensor,
    chunk_size: int | None,
    per_anchor: bool,
    wanted: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the mean cost of the positive pairs, or of the anchors that have any, its derivative by the anchors, and
    that by the logarithm of the temperature, if this is a tensor.

    Args:
        unit: ``[B, D]``, rows of length 1, which are the anchors.
        labels: ``[B]``, or ``[B + M]`` if the others have labels too. ``None`` pairs rows ``2i`` and ``2i + 1``, of an
            even number of rows.
        others: ``[M, D]``, rows of length 1 to compare the anchors with besides each other.
        wanted: whether there is to be a derivative; otherwise it is empty.
    """
    everyone = unit if others is None else torch.cat([unit, others])
    anchors = unit.shape[0]
    costs, counts, by_scale = [], [], []
    gradient = unit[:0]
    with full_precision_products(unit.device):
        for rows in _chunks_of_anchors(anchors, everyone, chunk_size):
            own = unit[rows] / temperature
            s = own @ everyone.T
            # Mask the diagonal with a finite number: with -inf the cost of a lone row, though unused, would be NaN.
            s.diagonal(rows.start).fill_(torch.finfo(s.dtype).min)
            log_softmax = s.log_softmax(dim=1)
            kept = s if isinstance(temperature, Tensor) else None
            del s
            if labels is None:
                cost, slope = _cost_and_slope_of_pairs(log_softmax, rows)
            else:
                cost, slope, count = _cost_and_slope_of_labels(log_softmax, labels, rows, per_anchor)
                counts.append(count)
            costs.append(cost)
            if kept is not None:  # the similarities have 1 / temperature as a factor
                by_scale.append(torch.dot(slope.flatten(), kept.flatten()))
            if wanted and slope.shape[0] == slope.shape[1] and is_small(slope):  # one chunk, without a memory
                slope = slope + slope.T
                gradient = slope @ own
            elif wanted:
                gradient = gradient if rows.start else torch.zeros_like(unit)
                _add_by_rows(gradient[rows], slope, everyone, temperature)  # by the rows of similarities
                gradient.addmm_(slope[:, :anchors].T, own)  # by their columns
    # float32 is enough within a chunk.
    total = torch.stack(costs).sum(dtype=summation_dtype(unit.device)) if costs[1:] else costs[0]
    counted: Tensor | int = anchors
    if counts:
        counted = (torch.stack(counts).sum() if counts[1:] else counts[0]).clamp_min(1)
    by_temperature = -torch.stack(by_scale).sum() / counted if by_scale else None
    return (total / counted).to(unit.dtype), gradient.div_(counted) if wanted else gradient, by_temperature


def _add_by_rows(gradient: Tensor, slope: Tensor, everyone: Tensor, temperature: float | Tensor) -> None:
    if isinstance(temperature, Tensor):
        gradient.add_(slope @ everyone / temperature)
    else:
        gradient.addmm_(slope, everyone, alpha=1 / temperature)


def _chunks_of_anchors(rows: int, everyone: Tensor, chunk_size: int | None) -> list[slice]:
    """Return the rows that are compared at a time; all of them while torch compiles, where their number is a symbol."""
    if rows == 0 or (chunk_size is None and torch.compiler.is_compiling()):
        return [slice(0, rows)]
    similarities = elements_per_block(everyone, _SIMILARITIES, _SIMILARITIES_ON_ACCELERATOR)
    size = chunk_size or max(similarities // everyone.shape[0], 1)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _cost_and_slope_of_pairs(log_softmax: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """Return the summed cost of some anchors, and its derivative by the similarities: each has one partner.

    Rows ``2i`` and ``2i + 1`` are partners: numbers that differ in the last bit.
    """
    partner = torch.arange(rows.start, rows.stop, device=log_softmax.device) ^ 1
    cost = nll_loss(log_softmax, partner, reduction="sum")
    minus_1 = cost.new_full((), -1).expand(len(partner), 1)
    return cost, log_softmax.exp_().scatter_add_(1, partner.unsqueeze(1), minus_1)


def _cost_and_slope_of_labels(
    log_softmax: Tensor, labels: Tensor, rows: slice, per_anchor: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the summed cost of some anchors, its derivative by the similarities, and what the cost is divided by.

    An anchor with the labels ``positive`` (1 for each partner) costs ``-sum_j positive_j log_softmax_j``, of which the
    derivative is ``softmax * (number of partners) - positive``.
    """
    positive = indicator(labels[rows].unsqueeze(1) == labels, log_softmax.dtype)
    positive = _without_diagonal(positive, rows.start)
    unlabelled = log_softmax.shape[1] - len(labels)
    if unlabelled:  # rows without a label are not partners of any row
        positive = pad(positive, (0, unlabelled))
    partners = positive.sum(dim=1, keepdim=True)
    count = (partners > 0).sum() if per_anchor else partners.sum(dtype=torch.long)
    if per_anchor:
        positive /= partners.clamp_min(1)
        partners = partners.clamp_max(1)
    cost = -torch.dot(log_softmax.flatten(), positive.flatten())
    return cost, log_softmax.exp_().mul_(partners).sub_(positive), count


def _without_diagonal(x: Tensor, start: int) -> Tensor:
    """Return a matrix with zeros in a diagonal, in its memory.

    Torch 2.4 exports no change in place of what ``to`` returned.
    """
    if torch.compiler.is_compiling():
        return x.diagonal_scatter(torch.zeros_like(x.diagonal(start)), start)
    x.diagonal(start).zero_()
    return x
