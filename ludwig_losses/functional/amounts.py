"""Means of counts and of amounts, by their logarithms: Poisson and Tweedie."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import (
    check_number,
    each_element_loss,
    full_precision,
    is_static,
    summation_dtype,
)
from ludwig_losses.functional.quantile import check_targets

# From here on exp is continued by its tangent: it, its gradient and their sums stay finite in float32.
_LINEAR_FROM = 60.0


def poisson_nll_loss(logits: Tensor, target: Tensor) -> Tensor:
    r"""Negative log-likelihood of a Poisson distribution, ``m - y log m + log y!`` with the mean ``m = exp(z)``.

    Its gradient by the logit is ``m - y``. A target need not be whole: ``log y!`` is ``lgamma(y + 1)``.

    Args:
        logits: ``[...]``, the logarithms of the means; see :func:`log_link_mean`.
        target: ``[...]``, of any real type, at least 0.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError: the logits are no floating-point numbers.
        ValueError: the shapes differ, or a target is negative (read on a CPU only).

    Source: Cameron & Trivedi, "Regression Analysis of Count Data", 2nd edition 2013, section 3.2.

    Examples:
        >>> import torch
        >>> poisson_nll_loss(torch.zeros(3), torch.tensor([0, 1, 3]))
        tensor([1.0000, 1.0000, 2.7918])
    """
    check_targets(logits, target, outputs=None)
    return each_element_loss(full_precision(logits), _poisson_nll, None, _amounts(target))


def tweedie_loss(logits: Tensor, target: Tensor, *, power: float = 1.5) -> Tensor:
    r"""Half the deviance of a Tweedie distribution, whose variance grows as ``m**p`` with its mean ``m = exp(z)``.

    For ``1 < p < 2`` targets of exactly 0 have a probability, and others are any number above: ``y**(2 - p) / ((1 - p)
    (2 - p)) - y m**(1 - p) / (1 - p) + m**(2 - p) / (2 - p)``. The limits are those of Poisson, ``p = 1``, and of the
    gamma distribution, ``p = 2``, under which no target is 0. The gradient by the logit is ``m**(1 - p) (m - y)``.

    Args:
        logits: ``[...]``, the logarithms of the means; see :func:`log_link_mean`.
        target: ``[...]``, of any real type, at least 0, and above 0 for ``power = 2``.
        power: ``p``, from 1 to 2.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits), at least 0.

    Raises:
        TypeError: the logits are no floating-point numbers, or ``power`` is no number.
        ValueError: the shapes differ, ``power`` is out of range, or a target is (read on a CPU only).

    Source: Jorgensen, "The Theory of Dispersion Models", 1997, chapter 4; for ``m**p`` see Smyth & Jorgensen, "Fitting
    Tweedie's Compound Poisson Model to Insurance Claims Data", ASTIN Bulletin 2002.

    Examples:
        >>> import torch
        >>> tweedie_loss(torch.zeros(3), torch.tensor([0.0, 1.0, 4.0]), power=1.5)
        tensor([2., 0., 2.])
    """
    check_targets(logits, target, outputs=None)
    check_number("power", power, minimum=1, maximum=2)
    power = round(power, 8)  # closer to 1 or 2 the terms of the formula between them would cancel
    return each_element_loss(full_precision(logits), _half_deviance, power, _amounts(target, above=power == 2))


def poisson_deviance(logits: Tensor, target: Tensor) -> Tensor:
    """Return twice by how much the log-likelihood falls short of that of a mean equal to the target.

    Args:
        logits: ``[...]``, the logarithms of the means.
        target: ``[...]``, at least 0.

    Examples:
        >>> import torch
        >>> poisson_deviance(torch.zeros(2), torch.tensor([0.0, 1.0]))
        tensor([2., 0.])
    """
    return 2 * tweedie_loss(logits, target, power=1)


def log_link_mean(logits: Tensor) -> Tensor:
    """Return means by their logarithms: ``exp``, from 60 on continued by its tangent, so that it stays finite.

    Examples:
        >>> import torch
        >>> log_link_mean(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 2.7183])
    """
    return _exp(full_precision(logits))


def _amounts(target: Tensor, *, above: bool = False) -> Tensor:
    """Return targets in the type in which losses are computed. Those below 0, or not ``above`` it, raise
    ``ValueError``, and become NaN where reading them would wait for an accelerator: nothing is trained on them in
    silence."""
    if is_static(target):
        y = target.to(summation_dtype(target.device))
        return y.masked_fill(y <= 0 if above else y < 0, math.nan)
    least = target.min().item() if target.numel() else 1
    if not (least > 0 if above else least >= 0):
        raise ValueError(f"target must be {'>' if above else '>='} 0; got {least:g}.")
    return target.to(summation_dtype(target.device))


def _poisson_nll(z: Tensor, _: None, y: Tensor) -> tuple[Tensor, Tensor]:
    loss, slope = _of_logarithm(z.to(y.dtype), 1, y)
    return (loss + (y + 1).lgamma()).to(z.dtype), slope.to(z.dtype)


def _half_deviance(z: Tensor, power: float, y: Tensor) -> tuple[Tensor, Tensor]:
    loss, slope = _of_logarithm(z.to(y.dtype), power, y)
    # Rounding may leave a loss of 0 a little below it.
    return (loss - _least(y, power)).clamp_min(0).to(z.dtype), slope.to(z.dtype)


def _of_logarithm(z: Tensor, power: float, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return what depends on the mean ``exp(z)``, whose powers are continued by their tangents, and its derivative.

    The terms of large counts cancel, which is why they are in float64: those of a million leave nine digits. Apple's
    GPUs do not have it; there the value of counts from 10,000 on is rough, and the gradient, ``m - y``, is not.
    """
    if power == 1:
        x = z.clamp(max=_LINEAR_FROM)
        mean = x.exp()
        slope = mean - y
        return mean.addcmul(z - x, slope).addcmul(y, x, value=-1), slope
    if power == 2:
        x = z.clamp(min=-_LINEAR_FROM)
        ratio = y * (-x).exp()
        slope = 1 - ratio
        return ratio.addcmul(z - x, slope) + x, slope
    of_mean, of_target = 2 - power, power - 1
    highest, lowest = _LINEAR_FROM / of_mean, -_LINEAR_FROM / of_target
    by_mean, by_target = (of_mean * z.clamp(max=highest)).exp(), y * (-of_target * z.clamp(min=lowest)).exp()
    # Each power divided by its exponent, plus its slope times how far the logit is beyond the bound.
    loss = by_mean * (z - (highest - 1 / of_mean)).clamp_min(1 / of_mean)
    loss = loss.addcmul(by_target, torch.rsub(z, lowest + 1 / of_target).clamp_min(1 / of_target))
    return loss, by_mean - by_target


def _least(y: Tensor, power: float) -> Tensor:
    """Return the first of both for a mean equal to the target."""
    if power == 1:
        return y - torch.xlogy(y, y)
    return 1 + y.log() if power == 2 else y ** (2 - power) / ((2 - power) * (power - 1))


def _exp(x: Tensor, linear_from: float = _LINEAR_FROM) -> Tensor:
    """``exp``; TorchScript knows a default value, and no constant of a module."""
    # masked_fill has a gradient of 1 at the limit, where newer versions of torch give clamp one of 0, as relu has.
    return x.masked_fill(x > linear_from, linear_from).exp() * (1 + (x - linear_from).relu())
