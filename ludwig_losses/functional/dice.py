"""Soft Dice loss: overlap between predicted and true regions."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import check_class_logits, full_precision, summation_dtype


def dice_loss(logits: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    r"""One minus the soft Dice coefficient, averaged over images and classes.

    Per image and class ``1 - (2 sum(p g) + smooth) / (sum(p) + sum(g) + smooth)`` with ``p = softmax(logits)`` and
    ``g`` the indicator of the class, summed over the pixels. A class that an image does not have takes part: its
    loss is the mass predicted for it. With ``smooth = 0`` a class that is neither present nor predicted costs 0.

    Args:
        logits: ``[B, C, ...]``, with at least one pixel dimension.
        target: ``[B, ...]``, class indices of any integer type.
        smooth: added to numerator and denominator, >= 0.

    Returns:
        A scalar, float32 (float64 for float64 logits). An empty batch gives 0.

    Raises:
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension, or there is no pixel
            dimension.

    Source: Milletari et al., "V-Net", 3DV 2016, with the sums (not the squares) of the probabilities below the line.
    """
    check_class_logits(logits, target, class_dim=1)
    if logits.ndim < 3:
        raise ValueError(
            "logits must be [B, C, ...] with at least one pixel dimension; "
            f"got logits {tuple(logits.shape)} and target {tuple(target.shape)}."
        )
    probabilities = full_precision(logits).softmax(dim=1).flatten(2)
    labels = target.long().flatten(1)

    # Scattered sums instead of a one-hot tensor of the logits' size; in float64, since a scatter adds one by one.
    true_probability = probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
    # Column by column first: additions to the same few sums would wait for each other.
    columns = (len(target), -1, target.shape[-1]) if target.ndim > 2 and target.numel() else (*labels.shape, 1)
    labels, true_probability = labels.reshape(columns), true_probability.reshape(columns)
    zeros = torch.zeros(
        len(target), logits.shape[1], columns[-1], dtype=summation_dtype(logits.device), device=logits.device
    )
    overlap = zeros.scatter_add(1, labels, true_probability.to(zeros.dtype)).sum(dim=2).to(probabilities.dtype)
    true_size = zeros.long().scatter_add(1, labels, torch.ones_like(labels)).sum(dim=2)
    total = probabilities.sum(dim=2) + true_size

    numerator, denominator = 2 * overlap + smooth, total + smooth
    empty = denominator == 0
    dice = torch.where(empty, 1, numerator / torch.where(empty, 1, denominator))
    return (1 - dice).sum() / max(dice.numel(), 1)
