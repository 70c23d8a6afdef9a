"""Means of counts and of amounts, by their logarithms: Poisson and Tweedie."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import check_number, full_precision, is_static
from ludwig_losses.functional.quantile import check_targets

# From here on exp is continued by its tangent: it, its gradient and their sums stay finite in float32.
_LINEAR_FROM = 60.0
# From here on four terms of Stirling's series are exact to 1e-13.
_SERIES_FROM = 16.0


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
    z = full_precision(logits)
    y = _amounts(target, z)
    return _half_deviance(z, y, power=1) + _least_poisson_nll(y)


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
    z = full_precision(logits)
    return _half_deviance(z, _amounts(target, z, above=power == 2), power)


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


def _amounts(target: Tensor, z: Tensor, *, above: bool = False) -> Tensor:
    """Return targets in the type of the logits. Those below 0, or not ``above`` it, raise ``ValueError``, and become
    NaN where reading them would wait for an accelerator: nothing is trained on them in silence."""
    if is_static(target):
        y = target.to(z)
        return y.where(y > 0 if above else y >= 0, math.nan)
    least = target.min().item() if target.numel() else 1
    if not (least > 0 if above else least >= 0):
        raise ValueError(f"target must be {'>' if above else '>='} 0; got {least:g}.")
    return target.to(z)


def _half_deviance(z: Tensor, y: Tensor, power: float) -> Tensor:
    log_y = y.where(y > 0, 1).log()
    least = _box_cox(log_y, 2 - power) - y * _box_cox(log_y, 1 - power)
    of_zero = -math.inf if power == 2 else 1 / (power - 2)
    loss = _box_cox(z, 2 - power) - y * _box_cox(z, 1 - power) - least.where(y > 0, of_zero)
    # Near the target these terms are large and cancel; by the distance of the logarithms they are small.
    distance = (z - log_y).clamp(-1, 1)
    near = y ** (2 - power) * (_box_cox(distance, 2 - power) - _box_cox(distance, 1 - power))
    return near.where((y > 0) & ((z - log_y).abs() < 1), loss)


def _least_poisson_nll(y: Tensor) -> Tensor:
    """Return the loss of a mean equal to the target, ``y - y log y + log y!``; of large ones by Stirling's series."""
    large = y.clamp_min(_SERIES_FROM)
    square = large.square()
    series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / large
    small = y.clamp_max(_SERIES_FROM)
    return torch.where(
        y > _SERIES_FROM,
        (2 * math.pi * large).log() / 2 + series,
        small - torch.xlogy(small, small) + (small + 1).lgamma(),
    )


def _exp(x: Tensor, linear_from: float = _LINEAR_FROM) -> Tensor:
    """``exp``; TorchScript knows a default value, and no constant of a module."""
    return _below(x, linear_from).exp() * (1 + (x - linear_from).relu())


def _box_cox(x: Tensor, power: float) -> Tensor:
    """Return ``(exp(x)**power - 1) / power``, whose limit for 0 is ``x``."""
    if power == 0:
        return x
    x = x * power
    return (_below(x, _LINEAR_FROM).expm1() + math.exp(_LINEAR_FROM) * (x - _LINEAR_FROM).relu()) / power


def _below(x: Tensor, most: float) -> Tensor:
    """Return ``x``, or ``most`` where it is larger, with a gradient of 1 at ``most``: newer versions of torch give
    ``clamp`` one of 0 there, as ``relu`` has at 0, and an ``exp`` that goes on as a line would have none."""
    return x.masked_fill(x > most, most)
