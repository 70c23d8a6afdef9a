"""Asymmetric loss: for labels of which a row has few, so that nearly all of them are negatives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ludwig_losses.functional._numerics import (
    LINEAR,
    check_element_logits,
    check_number,
    check_whole_numbers,
    each_element_loss,
    full_precision,
)


def asymmetric_loss(
    logits: Tensor, target: Tensor, *, gamma_pos: float = 1.0, gamma_neg: float = 4.0, clip: float = 0.05
) -> Tensor:
    r"""Binary focal loss with different parameters for positives and negatives, with ``p = sigmoid(logits)``.

    For a positive ``-(1 - p)**gamma_pos log p``, for a negative ``-p_m**gamma_neg log(1 - p_m)`` with
    ``p_m = max(p - clip, 0)``: a negative whose probability is at most ``clip`` costs nothing.

    Args:
        logits: any shape, one logit per element.
        target: the same shape; whole numbers, bool or of any real number type. What is not 0 is positive.
        gamma_pos, gamma_neg: focusing parameters, >= 0.
        clip: in [0, 1). With 0 and equal focusing parameters the loss is focal loss; with all three 0 it is binary
            cross-entropy.

    Returns:
        The unreduced loss in the shape of ``logits``, float32 (float64 for float64 logits). The gradient is that of the
        formula, also through the focusing weights, which the code of the paper can take for constants.

    Raises:
        TypeError: the logits are no floating-point numbers, the target is complex, or a hyperparameter is no number.
        ValueError: the shapes differ, a hyperparameter is out of range, or (on a CPU) a floating-point target is no
            whole number.

    Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", ICCV 2021, equations 5 to 7.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([2.0, -1.0, 2.0, -4.0]), torch.tensor([True, True, False, False])
        >>> asymmetric_loss(logits, target)
        tensor([0.0151, 0.9601, 0.8464, 0.0000])
    """
    check_number("gamma_pos", gamma_pos, minimum=0)
    check_number("gamma_neg", gamma_neg, minimum=0)
    check_number("clip", clip, minimum=0, maximum=1)
    if clip == 1:
        raise ValueError("clip must be a number < 1: with 1 no negative costs anything.")
    check_element_logits(logits, target)
    check_whole_numbers("target", target)
    parameter = gamma_pos, gamma_neg, clip
    return each_element_loss(full_precision(logits), _asymmetric, parameter, target.to(torch.bool))


def _asymmetric(z: Tensor, parameter: tuple[float, float, float], positive: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and its derivative by the logit."""
    gamma_pos, gamma_neg, clip = parameter
    p, rest = z.sigmoid(), (-z).sigmoid()
    of_positive, by_minus_z = _focal(-z, rest, p, gamma_pos)
    of_negative, by_z = _clipped(p, rest, gamma_neg, clip) if clip else _focal(z, p, rest, gamma_neg)
    return torch.where(positive, of_positive, of_negative), torch.where(positive, -by_minus_z, by_z)


def _focal(wrong_way: Tensor, miss: Tensor, hit: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Return focal loss and its derivative by the logit of the class that is not true."""
    nll, weight = softplus(wrong_way, threshold=LINEAR), _power(miss, gamma)
    # Of a masked (-inf) logit nll is infinite, and hit is 0.
    finite = nll.clamp_max(torch.finfo(nll.dtype).max)
    return weight * nll, weight * torch.addcmul(miss, hit, finite, value=gamma)


def _clipped(p: Tensor, rest: Tensor, gamma: float, clip: float) -> tuple[Tensor, Tensor]:
    # In (0, 1), so that nll / p_m has its limit 1 where p_m is 0.
    p_m = (p - clip).clamp_min(torch.finfo(p.dtype).tiny)
    nll, weight = -torch.log1p(-p_m), _power(p_m, gamma) * (p > clip)
    return weight * nll, torch.addcdiv((1 - p_m).reciprocal(), nll, p_m, value=gamma) * weight * p * rest


def _power(base: Tensor, gamma: float) -> Tensor:
    if torch.is_grad_enabled():  # for a second derivative: that of a power is infinite at 0
        base = base.clamp_min(torch.finfo(base.dtype).tiny)
    if gamma == 4:  # the default; torch has a fast way for 2 and 3
        return base.square().square()
    return base if gamma == 1 else base**gamma
