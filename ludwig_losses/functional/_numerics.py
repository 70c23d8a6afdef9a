"""Numerical helpers that every loss shares."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32, or unchanged when it is float64 already."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def summation_dtype(device: torch.device) -> torch.dtype:
    """Return the type for sums that must not lose digits: float64, which Apple's GPUs do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


def class_logits(logits: Tensor) -> Tensor:
    """Return one logit per class, ``[B, C]``: for single logits ``[B]`` the pairs ``[0, z]``, of the same sigmoid."""
    return torch.stack([torch.zeros_like(logits), logits], dim=-1) if logits.dim() == 1 else logits


def check_class_logits(logits: Tensor, target: Tensor, class_dim: int) -> None:
    """Raise ``ValueError`` unless ``target`` has the shape of ``logits`` without its class dimension.

    Shapes are static, so the check costs nothing under ``torch.compile``.
    """
    exists = -logits.ndim <= class_dim < logits.ndim
    shape = list(logits.shape)
    if exists:
        del shape[class_dim]
    if not exists or list(target.shape) != shape:
        raise ValueError(
            f"target must have the shape of logits without its class dimension (dim {class_dim}); "
            f"got logits {tuple(logits.shape)} and target {tuple(target.shape)}."
        )


def true_class_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``-log softmax(logits)[target]`` per element, for logits ``[B, C, ...]`` and target ``[B, ...]``."""
    check_class_logits(logits, target, class_dim=1)
    # No index is ignored here: by default a target of -100 would silently cost nothing.
    return torch.nn.functional.cross_entropy(
        full_precision(logits), target.long(), reduction="none", ignore_index=torch.iinfo(torch.int64).min
    )


def weighted_mean(loss: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of a per-element loss; with weights ``sum(w * l) / sum(w)``, as ``torch.nn.CrossEntropyLoss`` does.

    An empty loss, or weights that are all zero, give 0 with a zero gradient. The result is 0-dimensional.
    """
    if weight is None:
        return loss.sum() / max(loss.numel(), 1)
    total = weight.sum()
    return (weight * loss).sum() / torch.where(total > 0, total, 1)
