"""PolyLoss: cross-entropy or focal loss with the leading coefficients of its expansion changed."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import (
    check_class_logits,
    check_element_logits,
    check_number,
    class_nll,
    each_element_loss,
    false_sign_nll,
    full_precision,
    infinite_where_masked,
    is_small,
    is_static,
    loss_where_counted,
    sigmoid_loss,
    sign_of_negatives,
    true_class_loss,
    true_class_nll,
)


def poly_loss(
    logits: Tensor,
    target: Tensor,
    *,
    epsilon: float | Sequence[float] = 1.0,
    gamma: float = 0.0,
    label_smoothing: float = 0.0,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    r"""Poly-N loss, ``(1 - p_y)**gamma (-log p_y + sum_j epsilon_j (1 - p_y)**j)`` with ``p = softmax(logits)``.

    With a smoothed label ``q``, ``-log p_y`` becomes the cross-entropy to ``q``, and ``p_y`` becomes ``sum_c q_c p_c``.

    Args:
        logits: ``[B, C, ...]``.
        target: ``[B, ...]``, class indices of any integer type.
        epsilon: changes of the coefficients of the expansion of ``-log p_y``, which are ``1 / j``: a number for the
            first one (Poly-1), a list for the first few (Poly-N), each from ``-1 / j`` on; 0 gives cross-entropy.
        gamma: focusing parameter, >= 0; above 0 the loss is poly-focal, and with ``epsilon`` 0 focal loss.
        label_smoothing: the part of each label, in [0, 1], that is spread evenly over all classes but masked ones. The
            loss is infinite where the true class is masked (unless the smoothing is 1), as without smoothing.
        ignore_index: ignored classes, whose loss and gradient are 0, whatever their logits; also numbers that
            are no class.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError: the logits are no floating-point numbers, the targets no integers, or a hyperparameter is no number.
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension, or a hyperparameter is
            out of range.
        IndexError: a target that is not ignored is no class (on an accelerator an error of torch's).

    Source: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", ICLR 2022.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
        >>> poly_loss(logits, target)
        tensor([0.4526, 2.3395])
        >>> poly_loss(logits, target, epsilon=[1.0, 0.5], gamma=2.0)
        tensor([0.0216, 1.6458])
    """
    coefficients = _coefficients(epsilon)
    check_number("gamma", gamma, minimum=0)
    check_number("label_smoothing", label_smoothing, minimum=0, maximum=1)
    check_class_logits(logits, target, class_dim=1)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss per element, as if all of them counted."""
        if label_smoothing:
            return _smoothed_poly_loss(logits, target, coefficients, gamma, label_smoothing)
        if gamma or len(coefficients) != 1:
            return true_class_loss(logits, target, _poly_n_of_nll, (coefficients, gamma))
        if is_small(logits):
            nll = true_class_nll(full_precision(logits), target)
            return torch.sub(nll, torch.expm1(-nll), alpha=coefficients[0])
        return true_class_loss(logits, target, _poly_of_nll, coefficients[0])

    return loss_where_counted(loss, logits, target, ignore_index, class_dim=1)


def _coefficients(epsilon: float | Sequence[float]) -> tuple[float, ...]:
    """Return the changes of the coefficients, none of which may turn its term of the expansion negative."""
    one = isinstance(epsilon, Real)
    given: Any = (epsilon,) if one else epsilon
    coefficients = tuple(given)
    for j, coefficient in enumerate(coefficients):
        check_number("epsilon" if one else f"epsilon[{j}]", coefficient, minimum=-1 / (j + 1))
    return coefficients


def _poly_of_nll(nll: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    minus_miss = torch.expm1(-nll)
    return torch.sub(nll, minus_miss, alpha=epsilon), 1 + epsilon * (1 + minus_miss)


def _poly_n_of_nll(nll: Tensor, parameter: tuple[tuple[float, ...], float]) -> tuple[Tensor, Tensor]:
    coefficients, gamma = parameter
    # The clamp gives nll / miss its limits: 1 where p_t rounds to 1, and a finite number where p_t is 0.
    finite = nll.clamp(torch.finfo(nll.dtype).tiny, torch.finfo(nll.dtype).max)
    miss = -torch.expm1(-finite)
    by_miss = _polynomial(coefficients, miss)
    derivative = _polynomial([j * epsilon for j, epsilon in enumerate(coefficients, 1)], miss)
    slope = 1 + torch.exp(-finite) * (gamma * (finite / miss + by_miss) + derivative)
    return miss**gamma * (nll + miss * by_miss), miss**gamma * slope


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """``c_0 + c_1 x + c_2 x**2 + ...``"""
    total = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def _smoothed_poly_loss(
    logits: Tensor, target: Tensor, coefficients: tuple[float, ...], gamma: float, label_smoothing: float
) -> Tensor:
    # Once, or the parts of the gradient would be added in half precision.
    logits, index = full_precision(logits), target.long().unsqueeze(1)
    nll, masked = class_nll(logits)
    of_true_class = nll.gather(1, index).squeeze(1)
    share = label_smoothing / (~masked).sum(dim=1).to(nll)
    cross_entropy = (1 - label_smoothing) * of_true_class + share * nll.sum(dim=1)
    # The clamp keeps the gradient of its power finite.
    miss = (label_smoothing - share) + (1 - label_smoothing) * _probability_of_others(logits, index)
    miss = miss.clamp_min(torch.finfo(miss.dtype).tiny)
    loss = miss**gamma * (cross_entropy + miss * _polynomial(coefficients, miss))
    return infinite_where_masked(loss, masked, index, label_smoothing)


def _probability_of_others(logits: Tensor, index: Tensor) -> Tensor:
    """``1 - p_y`` without a subtraction of two numbers near 1: neither here nor in its gradient, a factor of which is
    the cross-entropy, however large."""
    p = logits.softmax(dim=1)
    of_class, of_others = p.gather(1, index).squeeze(1), p.scatter(1, index, 0.0).sum(dim=1)
    return torch.where(of_class < 0.5, 1 - of_class, of_others)


def sigmoid_poly_loss(
    logits: Tensor,
    target: Tensor,
    *,
    epsilon: float | Sequence[float] = 1.0,
    gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    r"""Poly-N loss of single logits, with ``p = sigmoid(logits)`` the probability of a positive.

    Equal to :func:`poly_loss` of the two logits ``[0, z]``.

    Args:
        logits: any shape, one logit per element.
        target: the same shape; whole numbers, bool or of any real number type. What is not 0 is positive.
        epsilon, gamma, label_smoothing: as for :func:`poly_loss`.

    Returns:
        The unreduced loss in the shape of ``logits``, float32 (float64 for float64 logits).

    Raises:
        TypeError: the logits are no floating-point numbers, the target is complex, or a hyperparameter is no number.
        ValueError: the shapes differ, a hyperparameter is out of range, or (on a CPU) a floating-point target is no
            whole number.

    Source: Leng et al., "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions", ICLR 2022.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([2.0, -1.0, 0.0]), torch.tensor([True, True, False])
        >>> sigmoid_poly_loss(logits, target)
        tensor([0.2461, 2.0443, 1.1931])
    """
    coefficients = _coefficients(epsilon)
    check_number("gamma", gamma, minimum=0)
    check_number("label_smoothing", label_smoothing, minimum=0, maximum=1)
    check_element_logits(logits, target)
    z = full_precision(logits)
    if label_smoothing:
        positive = sign_of_negatives(target, z.dtype) < 0
        pairs = torch.stack([torch.zeros_like(z), z], dim=-1).reshape(-1, 2)
        loss = _smoothed_poly_loss(pairs, positive.reshape(-1), coefficients, gamma, label_smoothing)
        return loss.reshape(z.shape)
    if gamma or len(coefficients) != 1:
        return sigmoid_loss(z, target, _poly_n_of_nll, (coefficients, gamma))
    if is_small(z) or is_static(z):  # the fewest operators
        return _poly_of_wrong_way(z * sign_of_negatives(target, z.dtype), coefficients[0])
    return each_element_loss(z, _sigmoid_poly, coefficients[0], target)


def _poly_of_wrong_way(z: Tensor, epsilon: float) -> Tensor:
    """Return the loss by the logit of the class that is not the target, whose probability is that of a miss."""
    return torch.add(false_sign_nll(z), z.sigmoid(), alpha=epsilon)


def _sigmoid_poly(z: Tensor, epsilon: float, target: Tensor) -> tuple[Tensor, Tensor]:
    sign = sign_of_negatives(target, z.dtype)
    wrong_way = z * sign
    miss = wrong_way.sigmoid()
    return _poly_of_wrong_way(wrong_way, epsilon), torch.addcmul(miss, miss, 1 - miss, value=epsilon) * sign
