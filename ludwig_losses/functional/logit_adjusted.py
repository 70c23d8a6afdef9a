"""Logit-adjusted cross-entropy: for rare classes, by their shares in the training data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import (
    check_class_logits,
    check_element_logits,
    check_number,
    check_per_class,
    full_precision,
    loss_where_counted,
    sigmoid_nll,
    true_class_nll,
)


def logit_adjusted_loss(
    logits: Tensor,
    target: Tensor,
    *,
    priors: Tensor | None = None,
    tau: float = 1.0,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    r"""Cross-entropy of adjusted logits, ``-log softmax(z + tau log priors)_y``.

    With ``tau = 1`` and the shares of the classes in the training data as ``priors`` (the balanced softmax), the logits
    that are learned suit data in which all classes are equally frequent: ``softmax(z)`` is for the balanced error, and
    ``softmax(z + tau log priors)`` gives probabilities for the shares of the training data. For one logit per example
    ``z`` take the pair ``[0, z]``.

    Args:
        logits: ``[B, C, ...]``; ``-inf`` masks a class.
        target: ``[B, ...]``, class indices of any integer type.
        priors: ``[C]``, a positive number for each class: its share or its count; only ratios matter. ``None`` stands
            for equally frequent classes, which gives cross-entropy.
        tau: how much is adjusted, >= 0; 0 gives cross-entropy.
        ignore_index: classes that are ignored, whose loss and gradient are 0; also numbers that are no class.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError: the logits are no floating-point numbers, the targets no integers, ``priors`` is no tensor of real
            numbers, or ``tau`` is no number.
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension, ``priors`` has more or
            fewer numbers than there are classes, or ``tau`` is out of range.
        IndexError: a target that is not ignored is no class (on an accelerator an error of torch's).

    Source: Menon et al., "Long-tail Learning via Logit Adjustment", ICLR 2021; ``tau = 1``: Ren et al., "Balanced
    Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
        >>> logit_adjusted_loss(logits, target, priors=torch.tensor([0.9, 0.1]))
        tensor([0.0149, 4.2122])
    """
    check_number("tau", tau, minimum=0)
    check_class_logits(logits, target, class_dim=1)
    check_per_class("priors", priors, logits.shape[1])

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss per element, as if all of them counted."""
        logits = full_precision(logits)
        return true_class_nll(logits if priors is None else adjusted(logits, priors, tau, class_dim=1), target)

    return loss_where_counted(loss, logits, target, ignore_index, class_dim=1)


def adjusted(logits: Tensor, priors: Tensor, tau: float, class_dim: int) -> Tensor:
    """Return ``z + tau log priors`` less the largest ``z``, beside which small offsets would lose digits.

    TorchScript can compile it.
    """
    logarithms = priors.to(logits).log().view([-1] + [1] * (logits.dim() - 1 - class_dim % logits.dim()))
    behind = logits - logits.detach().amax(dim=class_dim, keepdim=True)
    return behind.add_(logarithms, alpha=tau)


def adjusted_softmax(logits: Tensor, priors: Tensor, tau: float) -> Tensor:
    """Return ``softmax(z + tau log priors)`` over the last dimension: probabilities for the shares ``priors``."""
    return torch.softmax(adjusted(full_precision(logits), priors, tau, class_dim=-1), dim=-1)


def sigmoid_logit_adjusted_loss(
    logits: Tensor, target: Tensor, *, priors: Tensor | None = None, tau: float = 1.0
) -> Tensor:
    r"""Binary cross-entropy of ``z + tau log(pi / (1 - pi))`` for each of several labels, ``pi`` the label's share.

    Equal to :func:`logit_adjusted_loss` of the two logits ``[0, z]`` with the priors ``[1 - pi, pi]``.

    Args:
        logits: ``[..., L]``, one logit per label.
        target: the same shape; whole numbers, bool or of any real number type. What is not 0 is positive.
        priors: ``[L]``, the share of the rows that have each label, between 0 and 1. ``None`` stands for one half,
            which gives binary cross-entropy.
        tau: how much is adjusted, >= 0; 0 gives binary cross-entropy.

    Returns:
        The unreduced loss in the shape of ``logits``, float32 (float64 for float64 logits).

    Raises:
        TypeError: the logits are no floating-point numbers, the target is complex, ``priors`` is no tensor of real
            numbers, or ``tau`` is no number.
        ValueError: the shapes differ, ``priors`` has more or fewer numbers than there are labels, or ``tau`` is out of
            range; also (on a CPU) a floating-point target that is no whole number.

    Source: Menon et al., "Long-tail Learning via Logit Adjustment", ICLR 2021, for the two classes of each label.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([[0, 1], [1, 0]])
        >>> sigmoid_logit_adjusted_loss(logits, target, priors=torch.tensor([0.5, 0.1]))
        tensor([[2.1269, 2.3026],
                [0.1269, 0.1054]])
    """
    check_number("tau", tau, minimum=0)
    check_element_logits(logits, target)
    if priors is not None:
        check_per_class("priors", priors, logits.shape[-1] if logits.dim() else 1)
    z = full_precision(logits)
    return sigmoid_nll(z if priors is None else adjusted_labels(z, priors, tau), target)


def adjusted_labels(logits: Tensor, priors: Tensor, tau: float) -> Tensor:
    """Return ``z + tau log(pi / (1 - pi))`` for labels in the last dimension; TorchScript can compile it."""
    return logits.add(torch.logit(priors.to(logits)), alpha=tau)
