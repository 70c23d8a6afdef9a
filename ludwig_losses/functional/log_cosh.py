"""The logarithm of the hyperbolic cosine of an error."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import softplus

from ludwig_losses.functional._numerics import LINEAR, full_precision
from ludwig_losses.functional.quantile import check_targets


def log_cosh_loss(predictions: Tensor, target: Tensor) -> Tensor:
    """``log cosh(u)`` with ``u = y - prediction``: half the squared error where it is small, else the absolute error.

    It is the absolute error less ``log 2`` from an error of about 2 on, as Huber's loss, and smooth everywhere. The
    gradient is ``tanh``.

    Args:
        predictions: ``[...]``.
        target: ``[...]``, of any real type.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 predictions).

    Raises:
        TypeError: the predictions are no floating-point numbers.
        ValueError: the shapes differ.

    Source: Green, "Bayesian Reconstructions from Emission Tomography Data Using a Modified EM Algorithm", IEEE
    Transactions on Medical Imaging 1990.

    Examples:
        >>> import torch
        >>> log_cosh_loss(torch.tensor([0.0, 1.0, 10.0]), torch.zeros(3))
        tensor([0.0000, 0.4338, 9.3069])
    """
    check_targets(predictions, target, outputs=None, name="predictions")
    z = full_precision(predictions)
    u = z - target.to(z)
    return u + softplus(-2 * u, threshold=LINEAR) - math.log(2)
