"""Candidates: the few classes of a wide row that an entmax can give a probability, moved together to compute with them.

*What.* Entmax gives a probability only to logits within ``1 / (alpha - 1)`` of the largest one. Of 32,000 classes that
may be ten. Here they are found, moved into a tensor ``[N, K]`` that is as wide as the row with the most of them, and
the results are moved back among all classes.

*Why.* Newton's steps on ``[N, K]`` instead of ``[N, C]`` take a fraction of the time. Only a CPU does so: the width
``K`` depends on the values.

*Example.* Two rows of five classes with ``alpha = 2``, where candidates are at most 1 behind the largest logit. These
are three logits of the first row and one of the second. What each is behind the largest is moved together, and -2
fills up the second row, since no class that far behind has a probability. ``source`` has their places in the flat
logits and ``position`` those in the flat tensor of candidates:

>>> import torch
>>> logits = torch.tensor([[3.0, 0.0, 2.5, -1.0, 2.75], [0.0, 7.0, 0.0, 1.0, 1.0]])
>>> together, places = gather_candidates(logits, logits.amax(dim=1, keepdim=True), alpha=2.0)
>>> together
tensor([[ 0.0000, -0.5000, -0.2500],
        [ 0.0000, -2.0000, -2.0000]])
>>> places.source, places.position
(tensor([0, 2, 4, 6]), tensor([0, 1, 2, 3]))

Their sparsemax, back among all classes:

>>> p = (together - threshold(together, 1.0)).clamp_min(0)
>>> scatter_candidates(p, places, logits.shape)
tensor([[0.5833, 0.0000, 0.0833, 0.0000, 0.3333],
        [0.0000, 1.0000, 0.0000, 0.0000, 0.0000]])

If rows are wide and many classes are candidates, as in an untrained model, the threshold of every 16th class is found
first. With more classes the threshold can only rise, so what is below the sample's threshold is no candidate either.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import count_true, true_indices
from ludwig_losses.functional.projections import threshold

# Rows wider than this are sampled. In narrower ones a sample of every 16th class has too few classes to say much.
_SAMPLED_FROM = 512
# Rows are sampled if more than one in so many logits is a candidate. Fewer are moved together sooner than sampled.
_ONE_IN = 16
# Every 16th class is in the sample: its threshold costs a sixteenth of that of all classes.
_STRIDE = 16
# What rounding may change about the sample's threshold, which is between -1 and 0: some units in the last digit of
# float32.
_SLACK = 1e-6
# If more than one in two logits is a candidate, all classes are taken. To move them would cost more than it saves.
_WORTH_MOVING = 2


class Places(NamedTuple):
    """Where the candidates are."""

    position: Tensor
    """In the flat tensor ``[N * K]`` of the candidates."""
    source: Tensor
    """In the flat tensor ``[N * C]`` of all classes."""


def gather_candidates(logits: Tensor, top: Tensor, alpha: float) -> tuple[Tensor, Places | None]:
    """Return ``(alpha - 1) (z - top)``, at least -2, of the candidates, and their places.

    Where the candidates are many all logits are returned, and no places.

    Args:
        logits: ``[N, C]``.
        top: ``[N, 1]``, the largest of each row.
    """
    rows, classes = logits.shape
    possible, count = _possible(logits, top, alpha)
    if count * _WORTH_MOVING > logits.numel():
        return behind_top(logits, top, alpha), None
    source = true_indices(possible)
    row = source // classes
    counts = torch.bincount(row, minlength=rows)
    widest = max(int(counts.max()), 1)  # rows of NaN have no candidate, and NaN for a result
    # The k-th candidate overall is number k - (candidates in the rows before) of its row.
    shift = torch.arange(rows, device=logits.device) * widest - (counts.cumsum(0) - counts)
    position = torch.arange(count, device=logits.device).add_(shift.index_select(0, row))
    x = logits.view(-1).index_select(0, source).sub_(top.view(-1).index_select(0, row)).mul_(alpha - 1)
    together = logits.new_full((rows * widest,), -2).index_copy_(0, position, x)
    return together.view(rows, widest), Places(position, source)


def behind_top(logits: Tensor, top: Tensor, alpha: float) -> Tensor:
    """Return ``(alpha - 1) (z - top)`` of all logits, at least -2, which is finite for masked classes, too."""
    return (logits - top).mul_(alpha - 1).clamp_min_(-2)


def scatter_candidates(values: Tensor, places: Places | None, shape: torch.Size) -> Tensor:
    """Return values ``[N, K]`` of candidates at their places among all classes ``[N, C]``, zeros elsewhere."""
    if places is None:
        return values
    everywhere = values.new_zeros(shape)
    everywhere.view(-1).index_copy_(0, places.source, values.view(-1).index_select(0, places.position))
    return everywhere


def _possible(logits: Tensor, top: Tensor, alpha: float) -> tuple[Tensor, int]:
    """Return which classes can have a probability, and how many they are in all rows: those close to the largest, of
    which a sample leaves out some more where they are many."""
    possible = logits >= top - 1 / (alpha - 1)
    count = count_true(possible)
    if logits.shape[1] <= _SAMPLED_FROM or count * _ONE_IN <= logits.numel():
        return possible, count
    sample = (alpha - 1) * (logits[:, ::_STRIDE] - top)
    # It is at least -1, also where no class of the sample can have a probability.
    tau = threshold(sample, 1 / (alpha - 1)).nan_to_num(-1.0)
    possible = logits >= top + (tau - _SLACK) / (alpha - 1)
    return possible, count_true(possible)
