"""Lovász-Softmax: a convex surrogate of the Jaccard index (IoU)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import List, Optional

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import check_class_logits, full_precision, ignored_classes, is_counted


def lovasz_softmax_loss(
    logits: Tensor,
    target: Tensor,
    *,
    classes: str | Sequence[int] = "present",
    per_image: bool = False,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    r"""Lovász extension of ``1 - IoU``, averaged over the classes that are present in the batch.

    For class ``c`` the errors are ``m_i = 1 - p_i(c)`` where the label is ``c``, else ``p_i(c)``, with
    ``p = softmax(logits)``; the class loss is ``sum_k m_(k) (J_k - J_(k-1))`` over the errors in descending order,
    where ``J_k`` is the Jaccard loss of declaring the first ``k`` pixels wrong. For errors that are 0 or 1 it is
    exactly ``1 - IoU``.

    Args:
        logits: ``[B, C, ...]``.
        target: ``[B, ...]``, class indices of any integer type.
        classes: over which classes the mean is: ``"present"``; ``"all"`` that are not ignored; or a list of indices.
            Of an absent class any error is wrong altogether, so its loss is its largest error.
        per_image: whether the loss is the mean of the losses of the images instead of that of the batch as one image.
        ignore_index: class or classes whose pixels do not count; they are no part of ``"all"``. An image with nothing
            left does not take part in the mean over images.

    Returns:
        A scalar, float32 (float64 for float64 logits). An empty batch, and one with every pixel ignored, gives 0.

    Raises:
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension, or ``classes`` is
            something else, empty, or lists a class that is ignored or does not exist.

    Source: Berman et al., "The Lovász-Softmax Loss", CVPR 2018, equations 8 and 9.
    """
    check_class_logits(logits, target, class_dim=1)
    chosen = chosen_classes(classes, ignore_index, logits.shape[1])
    probabilities = full_precision(logits).softmax(dim=1).unsqueeze(-1).flatten(2)
    labels = target.long().unsqueeze(-1).flatten(1)
    counted = is_counted(labels, ignore_index)
    # The gradient of the extension is its weights, so neither the sort nor the weights belong to the graph.
    loss, _ = _lovasz(probabilities, labels, counted, chosen, per_image)
    return loss


def chosen_classes(
    classes: str | Sequence[int], ignore_index: int | Sequence[int] | None, count: int | None
) -> list[int] | None:
    """Return the indices of the classes that are averaged, or ``None`` for those present.

    Raises:
        ValueError: as :func:`lovasz_softmax_loss`.
    """
    ignored = ignored_classes(ignore_index)
    if isinstance(classes, str):
        if classes not in ("present", "all"):
            raise ValueError(f"classes must be present, all, or a list of indices; got {classes!r}.")
        return None if classes == "present" else [c for c in range(count) if c not in ignored]
    if not classes:
        raise ValueError("classes is an empty list. Name a class, or write present.")
    wrong = [c for c in classes if c in ignored]
    if wrong:
        raise ValueError(f"classes: {list(classes)} and ignore_index: {ignore_index} have {wrong[0]} in common.")
    wrong = [c for c in classes if not 0 <= c < count]
    if wrong:
        raise ValueError(f"classes: {list(classes)}, but there is no class {wrong[0]}; there are {count}.")
    return sorted(set(classes))


# A custom operator: torch.compile takes it whole, although its shapes depend on the data.
@torch.library.custom_op("ludwig_losses::lovasz", mutates_args=())
def _lovasz(
    probabilities: Tensor, labels: Tensor, counted: Optional[Tensor], classes: Optional[List[int]], per_image: bool
) -> tuple[Tensor, Tensor]:
    """Loss and its derivative by the probabilities ``[B, C, P]``, for labels ``[B, P]``; ``None`` for all pixels, and
    for the classes present."""
    if counted is None and not per_image:
        return _loss_and_slopes(probabilities, labels, classes)
    # Each image, or the batch as one, without the pixels that do not count.
    loss, slopes, images = probabilities.new_zeros(()), torch.zeros_like(probabilities), 0
    counted = torch.ones_like(labels, dtype=torch.bool) if counted is None else counted
    for rows in [slice(i, i + 1) for i in range(len(labels))] if per_image else [slice(None)]:
        p, kept = probabilities[rows].movedim(1, 0).flatten(1), counted[rows].flatten().nonzero().squeeze(1)
        if len(kept):
            part, slope = _loss_and_slopes(p[None, :, kept], labels[rows].flatten()[None, kept], classes)
            by_p = torch.zeros_like(p).index_copy_(1, kept, slope[0])
            slopes[rows] = by_p.unflatten(1, (-1, labels.shape[1])).movedim(0, 1)
            loss, images = loss + part, images + 1
    return loss / max(images, 1), slopes.div_(max(images, 1))


def _loss_and_slopes(probabilities: Tensor, labels: Tensor, chosen: list[int] | None) -> tuple[Tensor, Tensor]:
    """:func:`_lovasz` of the batch as one image in which every pixel counts."""
    classes = probabilities.shape[1]
    index = labels.unsqueeze(1)
    true_error = 1 - probabilities.gather(1, index)
    errors = probabilities.scatter(1, index, true_error).movedim(1, 0).reshape(classes, -1)
    weights = _weights_class_by_class if errors.device.type == "cpu" else _weights_of_all_classes
    slopes = weights(errors, labels.reshape(-1), true_error.reshape(-1))
    if chosen is not None:
        slopes = _weights_of_chosen_classes(slopes, errors, labels.reshape(-1), chosen)
    loss = torch.stack([e.dot(w) for e, w in zip(errors, slopes)]).sum() if classes else errors.sum()
    slopes = slopes.reshape(classes, *labels.shape).movedim(0, 1).contiguous()
    slopes.scatter_(1, index, -slopes.gather(1, index))
    averaged = max(labels.unique().numel() if chosen is None else len(chosen), 1)
    return loss / averaged, slopes.div_(averaged)


@_lovasz.register_fake
def _(probabilities: Tensor, labels: Tensor, counted, classes, per_image) -> tuple[Tensor, Tensor]:
    return probabilities.new_empty(()), torch.empty_like(probabilities)


def _save_for_backward(ctx, inputs, output) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def _backward(ctx, grad_loss: Tensor | None, _):
    (slopes,) = ctx.saved_tensors
    return None if grad_loss is None else grad_loss * slopes, None, None, None, None


_lovasz.register_autograd(_backward, setup_context=_save_for_backward)


def _weights_of_chosen_classes(weights: Tensor, errors: Tensor, labels: Tensor, chosen: list[int]) -> Tensor:
    """Keep the weights of the chosen classes; an absent one has the weight 1 for its largest error."""
    kept = torch.zeros_like(weights)
    present = set(labels.unique().tolist())
    for c in chosen:
        if c in present:
            kept[c] = weights[c]
        elif errors.shape[1]:
            kept[c, errors[c].argmax()] = 1
    return kept


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
