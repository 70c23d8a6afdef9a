"""Lovász-Softmax: a convex surrogate of the Jaccard index (IoU)."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import check_class_logits, full_precision


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
    probabilities = full_precision(logits).softmax(dim=1).unsqueeze(-1).flatten(2)
    labels = target.long().unsqueeze(-1).flatten(1)
    # The gradient of the extension is its weights, so neither the sort nor the weights belong to the graph.
    loss, _ = _lovasz(probabilities, labels)
    return loss


# A custom operator: torch.compile takes it whole, although its shapes depend on the data.
@torch.library.custom_op("ludwig_losses::lovasz", mutates_args=())
def _lovasz(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and its derivative by the probabilities ``[B, C, P]``, for labels ``[B, P]``."""
    classes = probabilities.shape[1]
    index = labels.unsqueeze(1)
    true_error = 1 - probabilities.gather(1, index)
    errors = probabilities.scatter(1, index, true_error).movedim(1, 0).reshape(classes, -1)
    weights = _weights_class_by_class if errors.device.type == "cpu" else _weights_of_all_classes
    slopes = weights(errors, labels.reshape(-1), true_error.reshape(-1))
    loss = torch.stack([e.dot(w) for e, w in zip(errors, slopes)]).sum() if classes else errors.sum()
    slopes = slopes.reshape(classes, *labels.shape).movedim(0, 1).contiguous()
    slopes.scatter_(1, index, -slopes.gather(1, index))
    present = labels.unique().numel()
    return loss / max(present, 1), slopes.div_(max(present, 1))


@_lovasz.register_fake
def _(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return probabilities.new_empty(()), torch.empty_like(probabilities)


def _save_for_backward(ctx, inputs, output) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def _backward(ctx, grad_loss: Tensor | None, _):
    (slopes,) = ctx.saved_tensors
    return None if grad_loss is None else grad_loss * slopes, None


_lovasz.register_autograd(_backward, setup_context=_save_for_backward)


def _weights_of_all_classes(errors: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    """``J_k - J_(k-1)`` for each error of ``[C, N]``, in the order of the errors given; 0 for absent classes."""
    order = errors.argsort(dim=1)
    foreground = labels[order] == torch.arange(len(errors), device=errors.device).unsqueeze(1)
    steps = _jaccard_steps(foreground, errors.dtype)
    steps = torch.where(foreground.any(dim=1, keepdim=True), steps, 0)
    return torch.zeros_like(errors).scatter_(1, order, steps)


def _weights_class_by_class(errors: Tensor, labels: Tensor, true_error: Tensor) -> Tensor:
    """As :func:`_weights_of_all_classes`, but only of the present classes, each while it is in the cache."""
    classes = len(errors)
    weights = torch.zeros_like(errors)
    present = torch.bincount(labels, minlength=classes).nonzero().flatten().tolist()
    # Below the smallest error of the foreground the Jaccard loss is 1 already: every step is 0.
    lowest = errors.new_full((classes,), 2).scatter_reduce_(0, labels, true_error, "amin").tolist()
    if classes == 2:  # what one class gets wrong, so does the other: one order serves both
        lowest = [min(lowest)] * 2
    counted = None
    for c in present:
        if counted is None or classes > 2:
            # Of two classes either one's errors are those of the true class, up to a rounding that must drop no pixel.
            error = errors[c] if classes > 2 else true_error
            counted = (error >= lowest[c]).nonzero().squeeze(1)
            error = error.index_select(0, counted)
            # The bits of positive numbers are ordered as the numbers, and torch sorts integers by radix.
            keys = error.view(torch.int32) if error.dtype == torch.float32 else error
            counted = counted.index_select(0, keys.sort(stable=True).indices)
        foreground = labels.index_select(0, counted) == c
        weights[c].index_copy_(0, counted, _jaccard_steps(foreground, errors.dtype))
    return weights


def _jaccard_steps(foreground: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``J_k - J_(k-1)`` for indicators ``[..., N]`` of the foreground in the order of *ascending* errors.

    The steps are written out, since a difference of Jaccard values near 1 has no correct digits in float32:
    a foreground pixel adds ``1 / (G + b)``; a background one, ``(G - f) / ((G + b - 1) (G + b))``,
    with ``f`` and ``b`` the foreground and background pixels with errors at least as large, itself included.
    """
    count = foreground.shape[-1]
    missed = foreground.cumsum(dim=-1, dtype=torch.int32) - foreground.to(torch.int32)
    union = (torch.arange(count, 0, -1, dtype=torch.int32, device=foreground.device) + missed).to(dtype)
    background = missed / ((union - 1).clamp_min_(1) * union)
    return torch.where(foreground, 1 / union, background)
