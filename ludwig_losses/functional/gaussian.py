"""A normal distribution for each target: its mean, its standard deviation, and the likelihood of the target."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ludwig_losses.functional._elementwise import is_transformed
from ludwig_losses.functional._numerics import as_output, check_number, full_precision
from ludwig_losses.functional.quantile import check_targets


def gaussian_nll_loss(logits: Tensor, target: Tensor, *, beta: float = 0.5) -> Tensor:
    r"""Negative log-likelihood of a normal distribution, ``log s + (y - m)**2 / (2 s**2) + log(2 pi) / 2``.

    The value is the negative log-likelihood whatever ``beta`` is. The gradient is that of the beta-NLL: the one of each
    target times ``s**(2 beta)``, which is taken for a constant. With ``beta = 0`` it is the plain one, in which a
    target counts the less for the mean the larger its standard deviation is, so that a mean that begins badly stays
    bad; with ``beta = 1`` the mean is trained as by the squared error.

    Args:
        logits: ``[..., 2]``, for each target what :func:`mean_and_std` makes its mean and standard deviation of.
        target: ``[...]``, of any real type.
        beta: from 0 to 1.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError: the logits are no floating-point numbers, or ``beta`` is no number.
        ValueError: the shapes do not go together, or ``beta`` is out of range.

    Source: Seitzer, Tavakoli, Antic & Martius, "On the Pitfalls of Heteroscedastic Uncertainty Estimation with
    Probabilistic Neural Networks", ICLR 2022, equation 5.

    Examples:
        >>> import torch
        >>> gaussian_nll_loss(torch.tensor([[1.0, 0.5413]]), torch.tensor([3.0]))
        tensor([2.9160])
    """
    check_targets(logits, target, outputs=2)
    check_number("beta", beta, minimum=0, maximum=1)
    z = full_precision(logits)
    if not is_transformed(z):
        return _GaussianNLL.apply(z, target, beta)
    nll, std, _ = _nll(z, target)
    weighted = std.detach() ** (2 * beta) * nll
    # The difference is 0, and has the gradient.
    return nll.detach() + (weighted - weighted.detach())


class _GaussianNLL(torch.autograd.Function):
    """Computes the gradient along with the loss, and keeps it in place of all temporaries."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, target: Tensor, beta: float) -> Tensor:
        """Return the loss, and keep its gradient by the logits."""
        nll, std, distance = _nll(z, target)
        ctx.save_for_backward(z, target, *_slopes(z, std, distance, beta))
        ctx.beta = beta
        return as_output(nll)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply with the gradient by the logits."""
        z, target, *slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative
            _, std, distance = _nll(z, target)
            slopes = _slopes(z, std, distance, ctx.beta)
        return torch.stack([grad * slope for slope in slopes], dim=-1), None, None


def _nll(z: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the negative log-likelihood, the standard deviation, and how many of them the target is above the mean."""
    mean, std = z[..., 0], _std(z)
    distance = (target.to(z) - mean) / std
    nll = torch.addcmul(std.log(), distance, distance, value=0.5) + math.log(2 * math.pi) / 2
    return nll, std, distance


def _slopes(z: Tensor, std: Tensor, distance: Tensor, beta: float) -> list[Tensor]:
    """Return the derivatives by the two logits, in which the weight of a target is a constant."""
    factor = std.detach() ** (2 * beta) / std
    return [-distance * factor, torch.rsub(distance.square(), 1) * z[..., 1].sigmoid() * factor]


def mean_and_std(logits: Tensor) -> Tensor:
    """Return the mean, the first logit as it is, and the standard deviation, ``softplus`` of the second and 0.001.

    Args:
        logits: ``[..., 2]``.

    Returns:
        ``[..., 2]``, float32 (float64 for float64 logits).

    Examples:
        >>> import torch
        >>> mean_and_std(torch.tensor([2.0, 0.0]))
        tensor([2.0000, 0.6941])
    """
    z = full_precision(logits)
    return torch.stack([z[..., 0], _std(z)], dim=-1)


def _std(z: Tensor) -> Tensor:
    """Return standard deviations of at least 0.001: no target may outweigh a million others."""
    return softplus(z[..., 1], threshold=40.0) + 1e-3  # LINEAR, which TorchScript does not see
