"""Quantile regression: the pinball loss, quantiles that do not cross, and intervals that hold (conformal)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ludwig_losses.functional._numerics import check_floating, full_precision


def quantile_loss(predictions: Tensor, target: Tensor, *, quantiles: Tensor) -> Tensor:
    r"""Pinball loss, the mean over the quantiles ``t`` of ``max(t u, (t - 1) u)`` with ``u = y - q_t``.

    A prediction that is too low costs ``t`` per unit, one that is too high ``1 - t``; ``t = 0.5`` gives half the
    absolute error.

    Args:
        predictions: ``[..., K]``, the quantiles that are predicted.
        target: ``[...]``, of any real type.
        quantiles: ``[K]``, numbers between 0 and 1.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 predictions).

    Raises:
        TypeError: the predictions are no floating-point numbers.
        ValueError: ``target`` or ``quantiles`` do not have the shapes that go with ``predictions``.

    Source: Koenker & Bassett, "Regression Quantiles", Econometrica 1978.

    Examples:
        >>> import torch
        >>> quantile_loss(torch.tensor([[1.0, 3.0]]), torch.tensor([4.0]), quantiles=torch.tensor([0.1, 0.9]))
        tensor([0.6000])
    """
    check_targets(predictions, target, outputs=len(quantiles), name="predictions")
    q = full_precision(predictions)
    t, below = quantiles.to(q), target.to(q).unsqueeze(-1) - q
    # The factor is a constant of the gradient: fewer operators are differentiated than with a choice of products.
    return (torch.where(below.detach() >= 0, t, t - 1) * below).mean(dim=-1)


def check_targets(logits: Tensor, target: Tensor, *, outputs: int | None, name: str = "logits") -> None:
    """Check that there is a target for each vector of so many outputs, or for each logit if ``None``.

    Raises:
        TypeError: the logits are no floating-point numbers.
        ValueError: the shapes do not go together.
    """
    check_floating(name, logits)
    if target.is_complex():
        raise TypeError(f"target must be bool or of a real number type; got {target.dtype}")
    shape = tuple(target.shape) if outputs is None else (*target.shape, outputs)
    if tuple(logits.shape) != shape:
        what = "the shape of target" if outputs is None else f"the shape of target and {outputs} numbers for each"
        raise ValueError(f"{name} must have {what}; got {tuple(logits.shape)} and target {tuple(target.shape)}")


def ordered_quantiles(logits: Tensor) -> Tensor:
    """Return numbers in ascending order: the one in the middle as it is, the others by positive steps away from it.

    Args:
        logits: ``[..., K]``; number ``K // 2`` is its logit, from there each further one is a ``softplus`` away.

    Returns:
        ``[..., K]``, float32 (float64 for float64 logits).

    Examples:
        >>> import torch
        >>> ordered_quantiles(torch.tensor([0.0, 2.0, 0.0]))
        tensor([1.3069, 2.0000, 2.6931])
    """
    z = full_precision(logits)
    # Not the lowest one first: many quantiles have a higher loss then, few the same (benchmarks/results/heads.md).
    start = z.shape[-1] // 2
    steps = (-logsigmoid(-z)).unbind(dim=-1)  # softplus, which torch's own is not from 20 on
    found = [z[..., start]]
    for k in range(start + 1, z.shape[-1]):
        found.append(found[-1] + steps[k])
    lower = found[0]
    for k in range(start - 1, -1, -1):
        lower = lower - steps[k]
        found.insert(0, lower)
    return torch.stack(found, dim=-1)


def conformal_rank(rows: int, level: float) -> int:
    """Return which of the scores of some rows, the smallest being 1, makes an interval hold: ``ceil((n + 1) level)``.

    It is larger than the number of rows where no finite interval holds.

    Examples:
        >>> conformal_rank(9, 0.9), conformal_rank(8, 0.9)
        (9, 9)
    """
    # 10 * 0.9 is 9 for people; a rounding error must not make it 10.
    return math.ceil(round((rows + 1) * level, 9))


def conformal_offset(lower: Tensor, upper: Tensor, target: Tensor, *, level: float) -> Tensor:
    """Return by how much intervals have to be widened at both ends so that a share ``level`` of new targets is inside.

    The score of a row is by how much its target is outside of its interval, ``max(lower - y, y - upper)``; the offset
    is the :func:`conformal_rank`-th smallest score, no interpolation. It is negative where intervals are too wide. Rows
    have to be exchangeable with the new ones, and not trained on: then a share of at least ``level`` is inside, on
    average over data sets, whatever the model.

    Args:
        lower, upper: ``[N, ...]``, intervals that a model predicts.
        target: ``[N, ...]``.
        level: the share that should be inside, between 0 and 1.

    Returns:
        ``[...]``; infinite where there are too few rows for the level.

    Source: Romano, Patterson & Candes, "Conformalized Quantile Regression", NeurIPS 2019, equation 8.

    Examples:
        >>> import torch
        >>> y = torch.arange(9.0)
        >>> conformal_offset(torch.zeros(9), torch.ones(9), y, level=0.8)
        tensor(6.)
    """
    rank = conformal_rank(len(target), level)
    score = torch.maximum(lower - target, target - upper)
    if rank > len(target):
        return torch.full(score.shape[1:], torch.inf, dtype=score.dtype, device=score.device)
    return score.sort(dim=0).values[rank - 1]
