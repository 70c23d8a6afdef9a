"""Lovász-Softmax: a convex surrogate of the Jaccard index (IoU)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from ludwig_losses.functional._derivatives import with_gradient
from ludwig_losses.functional._numerics import (
    as_uint8,
    check_class_logits,
    check_range,
    count_true_of_rows,
    full_precision,
    ignored_classes,
    indicator,
    is_counted,
    is_static,
    true_indices,
)

# Classes are sorted together while they have so many candidates at most: few calls, and still in the cache.
_TOGETHER, _MOST_CLASSES = 2**17, 2**7
# How many numbers take less time to sort half by half: torch compares fewer, and from 2**15 on sorts by radix itself.
_BY_HALVES = range(2**12, 2**15)


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
        TypeError: ``logits`` are no floating-point numbers, or ``target``, ``classes`` or ``ignore_index`` no integers.
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension, or ``classes`` is
            something else, empty, or lists a class that is ignored or does not exist.
        IndexError: a target that is not ignored is no class (on an accelerator an error of torch's).

    Source: Berman et al., "The Lovász-Softmax Loss", CVPR 2018, equations 8 and 9.

    Examples:
        >>> import torch
        >>> target = torch.tensor([[[0, 0, 1, 1]]])  # one image of one row
        >>> predicted = torch.tensor([[[0, 0, 0, 1]]])
        >>> logits = 100 * torch.nn.functional.one_hot(predicted, 2).movedim(-1, 1).float()
        >>> lovasz_softmax_loss(logits, target)  # 1 minus the mean of the IoUs, 2/3 and 1/2
        tensor(0.4167)
    """
    check_class_logits(logits, target, class_dim=1)
    chosen = chosen_classes(classes, ignore_index, logits.shape[1])
    z, labels = full_precision(logits).unsqueeze(-1).flatten(2), target.long().unsqueeze(-1).flatten(1)
    counted = is_counted(labels, ignore_index)
    if counted is not None:
        # The logits of a pixel that does not count may be NaN, and so would be the gradient.
        z = torch.where(counted.unsqueeze(1), z, 0)
    probabilities = z.softmax(dim=1)
    # The gradient of the extension is its weights, so neither the sort nor the weights belong to the graph.
    loss_and_slopes = _of_all_classes if is_static(probabilities) else _of_candidates
    loss, slopes = loss_and_slopes(probabilities.detach(), labels, counted, chosen, per_image)
    return with_gradient(loss, probabilities, slopes, linear=True)


def chosen_classes(
    classes: str | Sequence[int], ignore_index: int | Sequence[int] | None, count: int
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
    if not all(isinstance(c, Integral) for c in classes):
        raise TypeError(f"classes must be present, all, or a list of whole numbers; got {classes!r}.")
    classes = list(map(int, classes))
    if not classes:
        raise ValueError("classes is an empty list. Name a class, or write present.")
    wrong = [c for c in classes if c in ignored]
    if wrong:
        raise ValueError(f"classes: {list(classes)} and ignore_index: {ignore_index} have {wrong[0]} in common.")
    wrong = [c for c in classes if not 0 <= c < count]
    if wrong:
        raise ValueError(f"classes: {list(classes)}, but there is no class {wrong[0]}; there are {count}.")
    return sorted(set(classes))


def _of_all_classes(
    probabilities: Tensor, labels: Tensor, counted: Tensor | None, classes: list[int] | None, per_image: bool
) -> tuple[Tensor, Tensor]:
    """As :func:`_of_candidates`, with shapes that no number decides: every class is sorted, and absent ones weigh 0.

    Pixels that do not count come before all others in the order of ascending errors, where they change nothing.
    """
    images, count, pixels = probabilities.shape
    counted = torch.ones_like(labels, dtype=torch.bool) if counted is None else counted
    labels = labels.where(counted, 0)
    foreground = torch.zeros_like(probabilities, dtype=torch.bool).scatter(1, labels.unsqueeze(1), counted.unsqueeze(1))
    p, valid = probabilities, counted.unsqueeze(1)
    if not per_image:
        p, foreground, valid = (x.movedim(1, 0).flatten(1).unsqueeze(0) for x in (p, foreground, valid))
    weight = _weights(foreground, valid, classes, p.dtype)
    loss, slopes = _sorted_classes(p, foreground, valid)
    slopes = weight.unsqueeze(2) * slopes
    if not per_image:
        slopes = slopes.view(count, images, pixels).movedim(0, 1)
    return (weight * loss).sum(), slopes


def _weights(foreground: Tensor, counted: Tensor, classes: list[int] | None, dtype: torch.dtype) -> Tensor:
    """Return what each class ``[B, C]`` weighs in the mean over classes, and over images of which anything is left."""
    averaged = foreground.any(dim=2)
    if classes is not None:
        averaged = torch.zeros_like(averaged)
        for c in classes:  # a list of indices would have to be copied to the device
            averaged[:, c] = True
    left = counted.any(dim=2)
    return (averaged & left).to(dtype) / (averaged.sum(dim=1, keepdim=True).clamp_min(1) * left.sum().clamp_min(1))


def _sorted_classes(p: Tensor, foreground: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss ``[B, C]`` of each class of each image, and its derivative by ``p`` ``[B, C, P]``."""
    sign = torch.rsub(indicator(foreground, p.dtype), 1, alpha=2)
    error = (indicator(foreground, p.dtype) - p).abs()
    keys = _keys(error, foreground).masked_fill(~counted, -1)
    keys, order = keys.sort(dim=2)
    hit = (keys & 1).bool() & (keys >= 0)
    missed = hit.cumsum(dim=2, dtype=torch.int32) - as_uint8(hit)
    union = torch.arange(p.shape[2], 0, -1, dtype=torch.int32, device=p.device) + missed
    steps = _step_sizes(hit, missed, union, p.dtype)
    # Of an absent class any error is wrong altogether: the largest one has the weight 1.
    last = torch.arange(p.shape[2], device=p.device) == p.shape[2] - 1
    steps = torch.where(last & ~foreground.any(dim=2, keepdim=True), 1, steps) * (keys >= 0)
    steps = torch.zeros_like(p).scatter(2, order, steps)
    return (error * steps).sum(dim=2), steps * sign


def _of_candidates(
    probabilities: Tensor, labels: Tensor, counted: Tensor | None, classes: list[int] | None, per_image: bool
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
    """:func:`_of_candidates` of the batch as one image in which every pixel counts."""
    classes, pixels = probabilities.shape[1:]
    present = _present(labels.flatten(), classes)
    averaged = present if chosen is None else {*chosen}
    of_present = _of_two_classes if classes == 2 else _of_several_classes
    loss, slopes = of_present(probabilities, labels, sorted(averaged & present))
    for c in averaged - present if labels.numel() else ():
        # Any error is wrong altogether: the largest one has the weight 1.
        largest = int(probabilities[:, c].argmax())
        loss += probabilities[largest // pixels, c, largest % pixels]
        slopes[largest // pixels, c, largest % pixels] += 1
    count = max(len(averaged), 1)
    return loss.div_(count), slopes.div_(count)


def _present(labels: Tensor, classes: int) -> set[int]:
    """Return which classes there are among labels ``[N]``."""
    if not len(labels):
        return set()
    low, high = (int(bound) for bound in labels.aminmax())
    check_range(low, high, classes, can_ignore=True)
    if classes == 2:
        return {low, high}
    return {c for c, count in enumerate(torch.bincount(labels, minlength=classes).tolist()) if count}


def _of_two_classes(probabilities: Tensor, labels: Tensor, averaged: list[int]) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses of some classes that are present, and its derivative by the probabilities.

    What one class gets wrong, so does the other: one order serves both. And as their probabilities sum to 1, the
    derivative by that of class 1 is all there is.
    """
    of_class_1, p = labels.flatten() == 1, probabilities[:, 1].flatten()
    target = indicator(of_class_1, p.dtype)
    error, hit, order = _ascending((target - p).abs_(), of_class_1)
    missed_1 = _missed(hit)
    missed_0 = torch.arange(len(hit), dtype=torch.int32, device=hit.device).sub_(missed_1)
    steps = torch.zeros_like(error)
    for c in averaged:
        foreground, missed, others = (hit, missed_1, missed_0) if c else (~hit, missed_0, missed_1)
        # The union of a class is all pixels without those of the other class that have smaller errors.
        steps += _step_sizes(foreground, missed, len(hit) - others, error.dtype)
    by_p = torch.empty_like(error).scatter_(0, order, steps).mul_(torch.rsub(target, 1, alpha=2))
    slopes = torch.zeros_like(probabilities)
    slopes[:, 1] = by_p.view(labels.shape)
    return error.mul_(steps).sum(), slopes


def _of_several_classes(probabilities: Tensor, labels: Tensor, averaged: list[int]) -> tuple[Tensor, Tensor]:
    """As :func:`_of_two_classes`, for any number of classes."""
    loss, slopes = probabilities.new_zeros(()), torch.zeros_like(probabilities)
    for group, error, foreground, place, counts in _rank_candidates(probabilities, labels, averaged):
        steps = _jaccard_steps(foreground, counts, error.dtype)
        loss += (error * steps).sum()
        by_class = error.new_zeros(len(counts) * labels.numel())
        sign = torch.rsub(indicator(foreground, steps.dtype), 1, alpha=2)
        by_class.index_copy_(0, place, steps.mul_(sign))
        slopes[:, group] = by_class.view(len(counts), *labels.shape).movedim(0, 1)
    return loss, slopes


# The pixels of some classes, class by class in the order of ascending errors: which classes, the errors, which pixels
# are foreground, their places in ``[classes, B, P]``, and how many each class has.
_Ranked = tuple[slice, Tensor, Tensor, Tensor, Tensor]


def _rank_candidates(probabilities: Tensor, labels: Tensor, averaged: list[int]) -> Iterator[_Ranked]:
    """Below the smallest error of the foreground the Jaccard loss is 1 already: every step is 0, and is left out."""
    by_class, flat = probabilities.movedim(1, 0), labels.flatten()
    classes, pixels = len(by_class), len(flat)
    true_error = 1 - probabilities.gather(1, labels.unsqueeze(1)).flatten()
    lowest = true_error.new_full((classes,), torch.inf).scatter_reduce_(0, flat, true_error, "amin")
    wanted = torch.zeros_like(lowest, dtype=torch.bool)
    wanted[averaged] = True
    lowest.masked_fill_(~wanted, torch.inf)
    candidates = torch.empty_like(by_class, dtype=torch.bool, memory_format=torch.contiguous_format)
    torch.ge(by_class, lowest.view(-1, 1, 1), out=candidates)
    candidates.scatter_(0, labels.unsqueeze(0), wanted[labels].unsqueeze(0))
    for group, counts in _groups(count_true_of_rows(candidates.flatten(1))):
        place, number = true_indices(candidates[group]), flat.new_tensor(counts)
        of_class = torch.arange(len(counts), device=place.device).repeat_interleave(number, output_size=len(place))
        error = by_class[group].reshape(-1).index_select(0, place)
        foreground = flat.index_select(0, place - of_class * pixels) == of_class + group.start
        error, foreground, order = _ascending((indicator(foreground, error.dtype) - error).abs_(), foreground)
        if len(counts) > 1:
            again = of_class.to(torch.int8).index_select(0, order).sort(stable=True).indices
            error, foreground, order = error[again], foreground[again], order[again]
        yield group, error, foreground, place.index_select(0, order), number


def _groups(counts: list[int]) -> Iterator[tuple[slice, list[int]]]:
    """Put consecutive classes together as long as they have few candidates; a class that has more stays alone."""
    first, total = 0, 0
    for c, count in enumerate(counts):
        if c > first and (total + count > _TOGETHER or c - first == _MOST_CLASSES):
            yield slice(first, c), counts[first:c]
            first, total = c, 0
        total += count
    yield slice(first, len(counts)), counts[first:]


def _ascending(error: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sort errors >= 0, and with them the foreground; return both and the order."""
    keys, order = _sort(_keys(error, foreground))
    foreground = (keys & 1).bool()
    return keys.bitwise_right_shift_(1).view(error.dtype), foreground, order


def _sort(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys >= 0 on a CPU in ascending order, and the order."""
    if keys.dtype != torch.int32 or len(keys) not in _BY_HALVES:
        return keys.sort()
    # By their lower halves, then by their upper ones: numpy sorts numbers of 16 bits by radix.
    numbers = keys.numpy()
    order = numbers.astype(np.uint16).argsort(kind="stable")
    order = order[(numbers >> 16).astype(np.uint16)[order].argsort(kind="stable")]
    return torch.from_numpy(numbers[order]), torch.from_numpy(order)


def _keys(error: Tensor, foreground: Tensor) -> Tensor:
    """Return integers >= 0 in the order of errors >= 0, with the foreground in the last bit; torch sorts integers by
    radix."""
    # The bits of positive numbers are ordered as the numbers, which leaves the first one free.
    bits = torch.int32 if error.dtype == torch.float32 else torch.int64
    return (error.view(bits) << 1).bitwise_or_(as_uint8(foreground))


def _jaccard_steps(foreground: Tensor, counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``J_k - J_(k-1)`` for classes of ``counts`` pixels, each in the order of *ascending* errors.

    The steps are written out, since a difference of Jaccard values near 1 has no correct digits in float32:
    a foreground pixel adds ``1 / (G + b)``; a background one, ``(G - f) / ((G + b - 1) (G + b))``,
    with ``f`` and ``b`` the foreground and background pixels with errors at least as large, itself included.
    """
    total = len(foreground)
    missed = _missed(foreground)
    union = torch.arange(total, 0, -1, dtype=torch.int32, device=foreground.device).add_(missed)
    if len(counts) > 1:  # as if each class were alone
        ends = counts.cumsum(0)
        before = torch.nn.functional.pad(missed, (0, 1))[ends - counts]
        missed -= before.repeat_interleave(counts, output_size=total)
        union -= (before + total - ends).int().repeat_interleave(counts, output_size=total)
    return _step_sizes(foreground, missed, union, dtype)


def _missed(foreground: Tensor) -> Tensor:
    """Return how much foreground has smaller errors, in their ascending order: ``G - f`` without the pixel itself."""
    return foreground.cumsum(0, dtype=torch.int32).sub_(as_uint8(foreground))


def _step_sizes(foreground: Tensor, missed: Tensor, union: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``1 / union`` for the foreground, ``missed / ((union - 1) union)`` for the background."""
    union = union.to(dtype)
    # The share of a background pixel, which is at most 1. Conditions would cost more: no processor can predict them.
    share = missed.to(dtype).div_((union - 1).clamp_min_(1))
    return share.clamp_min_(indicator(foreground, dtype)).div_(union)
