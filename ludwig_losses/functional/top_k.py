"""The mean of the hardest elements: online hard example mining (OHEM)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ludwig_losses.functional._numerics import (
    check_floating,
    check_number,
    count_true,
    full_precision,
    is_small,
    is_static,
    summation_dtype,
    weighted_mean,
)


def top_k_mean(loss: Tensor, weight: Tensor | None = None, *, top_k: float) -> Tensor:
    r"""Return the (weighted) mean of the share ``top_k`` of the elements that cost the most.

    Of ``n`` elements with a weight, the ``k = round(top_k * n)`` with the largest ``weight * loss`` count, at least
    one: ``sum(weight * loss) / sum(weight)`` over them. Elements that cost as much as the last of them share its place,
    so that neither the value nor the gradient depends on their order. The gradient of all others is 0.

    Args:
        loss: any shape, the unreduced loss.
        weight: the same shape, of numbers >= 0 or bool; elements of weight 0 are not counted among the ``n``.
        top_k: in (0, 1]; 1 gives the mean.

    Returns:
        A scalar, float32 (float64 for a float64 loss); 0 with a gradient of 0 where no element has a weight.

    Raises:
        TypeError: the loss is of no floating-point numbers, or ``top_k`` is no number.
        ValueError: the shapes differ, or ``top_k`` is out of range.

    Source: Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining", CVPR 2016; of
    pixels, Wu et al., "Bridging Category-level and Instance-level Semantic Image Segmentation", 2016, and nnU-Net.

    Examples:
        >>> import torch
        >>> loss = torch.tensor([4.0, 1.0, 2.0, 0.5])
        >>> top_k_mean(loss, top_k=0.5)
        tensor(3.)
        >>> top_k_mean(loss, torch.tensor([False, True, True, True]), top_k=0.5)  # 2 of 3
        tensor(1.5000)
    """
    check_number("top_k", top_k, above=0, maximum=1)
    check_floating("loss", loss)
    if weight is not None and weight.shape != loss.shape:
        raise ValueError(
            f"weight must have the shape of loss; got loss {tuple(loss.shape)} and weight {tuple(weight.shape)}."
        )
    loss = full_precision(loss)
    weight = None if weight is None else weight.to(loss)
    if top_k == 1 or not loss.numel():
        return weighted_mean(loss, weight)
    if weight is None and is_small(loss) and not is_static(loss):
        hardest = _hardest(loss.flatten(), top_k)
        if hardest is not None:
            return hardest.mean()
    taken, places = _part_taken(loss.detach(), weight, top_k)
    return (loss * taken).sum() / places if weight is None else weighted_mean(loss, weight * taken)


def _hardest(loss: Tensor, share: float) -> Tensor | None:
    """Return the hardest elements, or ``None`` where others are as hard as the last of them.

    Torch selects few elements in fewer operators than the others of this module need.
    """
    hardest = loss.topk(_places(share, loss.numel()), sorted=False).values
    costs, least = loss.detach().numpy(), hardest.detach().numpy().min()
    return hardest if np.count_nonzero(costs >= least) == len(hardest) else None


def _places(share: float, elements: int) -> int:
    return max(math.floor(share * elements + 0.5), 1)


def _part_taken(loss: Tensor, weight: Tensor | None, share: float) -> tuple[Tensor, int | Tensor]:
    """Return 1 for elements among the hardest, 0 for others, a part for those that are as hard as the last of them;
    and how many the hardest are."""
    counted = None if weight is None else weight > 0
    cost = loss if weight is None or counted is None else (loss * weight).masked_fill(~counted, -torch.inf)
    least, places = (_least_cost_of_any_device if is_static(cost) else _least_cost)(cost.flatten(), counted, share)
    harder, equal = cost > least, cost == least
    left = (places - harder.sum()).to(loss.dtype) / equal.sum()
    return torch.where(equal, left, harder.to(loss.dtype)), places


def _least_cost(cost: Tensor, counted: Tensor | None, share: float) -> tuple[float | Tensor, int]:
    """Return the cost of the last of the hardest elements, and how many they are; NumPy selects it without sorting."""
    elements = cost.numel() if counted is None else count_true(counted)
    places = _places(share, elements)
    return float(np.partition(cost.numpy(), -places)[-places]), places


def _least_cost_of_any_device(cost: Tensor, counted: Tensor | None, share: float) -> tuple[Tensor, int | Tensor]:
    """Return the same with shapes that do not depend on values, none of which is read."""
    falling = cost.sort(descending=True).values
    if counted is None:
        places = _places(share, cost.numel())
        return falling[places - 1], places
    elements = counted.sum().to(summation_dtype(cost.device))
    hardest = torch.floor(share * elements + 0.5).clamp_min(1).long()
    return falling.index_select(0, (hardest - 1).view(1)).view(()), hardest
