"""CORN: ordinal regression, in which each class boundary is a binary question to those examples that reach it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ludwig_losses.functional._numerics import (
    check_class_logits,
    false_sign_nll,
    full_precision,
    loss_where_counted,
    minus_where,
    naming_the_target,
)


def corn_loss(logits: Tensor, target: Tensor, *, ignore_index: int | Sequence[int] | None = None) -> Tensor:
    r"""Conditional ordinal regression loss, ``-sum_{k < y} log sigmoid(z_k) - [y < K - 1] log sigmoid(-z_y)``.

    The logit ``z_k`` is that of ``P(y > k | y > k - 1)``. An element takes part in the tasks ``k = 0, ..., y`` (of
    which there are at most ``K - 1``), and its loss is the sum over them, ``-log P(y)``. The loss of the paper is the
    sum over all elements divided by the number of all (element, task) pairs, which :func:`corn_tasks` counts.

    Args:
        logits: ``[..., K - 1]`` for ``K`` ordered classes.
        target: ``[...]``, ranks from 0 to ``K - 1`` of any integer type.
        ignore_index: ignored ranks, whose loss and gradient are 0, whatever their logits; also numbers that are no
            rank. They take part in no task.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError: the logits are no floating-point numbers, or the targets no integers.
        ValueError: ``target`` does not have the shape of ``logits`` without its last dimension.
        IndexError: a target that is not ignored is no rank (on an accelerator an error of torch's).

    Source: Shi, Cao & Raschka, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On Conditional
    Probabilities", Pattern Analysis and Applications 2023 (arXiv 2021), equation 8.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, -2.0], [2.0, -2.0]])  # the second of three ranks
        >>> corn_loss(logits, torch.tensor([1, 2]))
        tensor([0.2539, 2.2539])
    """
    check_class_logits(logits, target, class_dim=-1)
    return loss_where_counted(_loss_of_any_ranks, logits, target, ignore_index, class_dim=-1, further=1)


def _loss_of_any_ranks(logits: Tensor, target: Tensor) -> Tensor:
    classes = logits.shape[-1] + 1
    # Looked up among all ranks, since a comparison would take any number for one.
    of_targets = torch.arange(classes, device=logits.device), 0, target.long().flatten()
    rank = naming_the_target(torch.index_select, of_targets, target, classes)
    return loss_of_ranks(logits, rank.view(target.shape))


def loss_of_ranks(logits: Tensor, target: Tensor) -> Tensor:
    """Return :func:`corn_loss` of ranks that are known to be right, and 0 for a rank of -1."""
    z, rank = full_precision(logits), target.long().unsqueeze(-1)
    task = torch.arange(logits.shape[-1], device=logits.device)
    # The logit of the wrong answer, with a minus where "higher" is right; -inf where there is no question.
    sign = minus_where(task < rank, z.dtype)
    return false_sign_nll((z * sign).masked_fill(task > rank, -torch.inf)).sum(dim=-1)


def corn_tasks(target: Tensor, num_tasks: int) -> Tensor:
    """Return in how many of the ``K - 1`` tasks each rank takes part: ``min(y + 1, K - 1)``, int64."""
    return (target.long() + 1).clamp_max(num_tasks)


def corn_probabilities(logits: Tensor) -> Tensor:
    """Return the probability of each rank, ``P(y = k) = sigmoid(-z_k) prod_{j < k} sigmoid(z_j)``.

    Args:
        logits: ``[..., K - 1]``; logit ``k`` is that of ``P(y > k | y > k - 1)``.

    Returns:
        ``[..., K]``, float32 (float64 for float64 logits).

    Examples:
        >>> import torch
        >>> corn_probabilities(torch.tensor([2.0, -2.0]))
        tensor([0.1192, 0.7758, 0.1050])
    """
    z = full_precision(logits)
    # P(y > k - 1) and P(y <= k | y > k - 1), in logarithms: no difference of two numbers near 1 is taken.
    zero = torch.zeros_like(z.sum(dim=-1, keepdim=True))
    reached = torch.cat([zero, logsigmoid(z).cumsum(dim=-1)], dim=-1)
    stays = torch.cat([logsigmoid(-z), zero], dim=-1)
    return (reached + stays).exp()


def corn_rank(logits: Tensor) -> Tensor:
    """Return the predicted rank, int64: the number of ``k`` with ``P(y > k) > 0.5``, the median of the ranks.

    Args:
        logits: ``[..., K - 1]``; logit ``k`` is that of ``P(y > k | y > k - 1)``.

    Examples:
        >>> import torch
        >>> corn_rank(torch.tensor([[-1.0, 0.0], [2.0, -2.0], [2.0, 2.0]]))
        tensor([0, 1, 2])
    """
    return (full_precision(logits).sigmoid().cumprod(dim=-1) > 0.5).sum(dim=-1)
