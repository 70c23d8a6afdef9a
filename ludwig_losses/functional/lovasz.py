"""Lovász-Softmax: a convex surrogate of the Jaccard index (IoU)."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import check_class_logits, full_precision, summation_dtype


def lovasz_softmax_loss(logits: Tensor, target: Tensor) -> Tensor:
    r"""Lovász extension of ``1 - IoU``, averaged over the classes that are present in the batch.

    For class ``c`` the errors are ``m_i = 1 - p_i(c)`` where the label is ``c``, else ``p_i(c)``, with
    ``p = softmax(logits)``; the class loss is ``sum_k m_(k) (J_k - J_(k-1))`` over the errors in descending order,
    where ``J_k`` is the Jaccard loss of declaring the first ``k`` pixels wrong. For errors that are 0 or 1 it is
    exactly ``1 - IoU``.

    Args:
        logits: ``[B, C, ...]``.
        target: ``[B, ...]``, class indices of any integer type.

    Returns:
        A scalar, float32 (float64 for float64 logits). An empty batch gives 0.

    Raises:
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension.

    Source: Berman et al., "The Lovász-Softmax Loss", CVPR 2018, equations 8 and 9.
    """
    check_class_logits(logits, target, class_dim=1)
    classes = logits.shape[1]
    probabilities = full_precision(logits).softmax(dim=1).movedim(1, 0).reshape(classes, -1)
    foreground = torch.zeros_like(probabilities, dtype=torch.bool).scatter(0, target.long().reshape(1, -1), True)
    errors = torch.where(foreground, 1 - probabilities, probabilities)

    # The gradient of the extension is its weights, so neither the sort nor the weights belong to the graph.
    weights = _jaccard_steps(errors.detach(), foreground)
    class_loss = (errors * weights).sum(dim=1)
    present = foreground.any(dim=1)
    return torch.where(present, class_loss, 0).sum() / present.sum().clamp_min(1)


def _jaccard_steps(errors: Tensor, foreground: Tensor) -> Tensor:
    """Return ``J_k - J_(k-1)`` for each error of ``[C, N]``, in the order of the errors given.

    The steps are written out, since a difference of Jaccard values near 1 has no correct digits in float32:
    a foreground pixel adds ``1 / (G + b)``; a background one, ``(G - f) / ((G + b - 1) (G + b))``,
    with ``f`` and ``b`` the foreground and background pixels so far, itself included.
    """
    order = errors.argsort(dim=1, descending=True)
    sorted_foreground = foreground.gather(1, order)
    hits = sorted_foreground.long().cumsum(dim=1)
    size = sorted_foreground.sum(dim=1, keepdim=True)
    exact = summation_dtype(errors.device)
    union = (size + torch.arange(1, errors.shape[1] + 1, device=errors.device) - hits).to(exact)
    missed = (size - hits).to(exact)
    steps = torch.where(sorted_foreground, 1 / union, missed / ((union - 1).clamp_min(1) * union))
    return torch.zeros_like(errors).scatter(1, order, steps.to(errors.dtype))
