"""Lovász-Softmax: a convex surrogate of the Jaccard index (IoU).

**What.** Of one class, declare the pixels wrong one after the other, the largest error first. Each one raises the
Jaccard loss, ``1 - IoU``, by a step, and the loss is the sum of the errors times their steps. Four pixels:

    ====================== ========== ========== ========== ==========
    error                  0.7        0.6        0.1        0.05
    foreground             no         yes        yes        no
    ====================== ========== ========== ========== ==========
    IoU, up to this wrong  2 of 3     1 of 3     0 of 3     0 of 4
    step of ``1 - IoU``    1/3        1/3        1/3        0
    error times step       0.233      0.2        0.033      0
    ====================== ========== ========== ========== ==========

The loss is 0.467. Below the smallest error of the foreground (0.1) nothing is left of the IoU: all further steps are 0.

**Why three ways.** The time goes into the sort. A CPU looks which pixels are *candidates*, those with errors at least
as large as the smallest one of the foreground, and sorts only them. Two classes have the same errors, so one sort does
for both. An accelerator would have to be waited for, to say which pixels are candidates: there all are sorted, all
classes in one operator.

The steps are constant between two orders of the errors, so the loss is linear there and the steps are its gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from ludwig_losses.functional._derivatives import with_gradient
from ludwig_losses.functional._mask_sums import saves_operators, which_are_ignored
from ludwig_losses.functional._numerics import (
    as_uint8,
    check_class_logits,
    check_range,
    count_true_of_rows,
    full_precision,
    ignored_classes,
    indicator,
    is_static,
    true_indices,
)
from ludwig_losses.functional._radix import error_keys, errors_of_keys, sort_errors

# Classes are sorted together while they have so many candidates at most: few calls, and still in the cache.
_TOGETHER, _MOST_CLASSES = 2**17, 2**7
# How many sorts there are at most where all classes are sorted: one more operator each, and less memory.
_SORTS = 4


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
    ignored = which_are_ignored(labels, ignore_index)
    if ignored is not None:
        # The logits of an ignored pixel may be NaN, and so would be the gradient.
        z = z.masked_fill(ignored.unsqueeze(1), 0)
    probabilities = z.softmax(dim=1)
    del z  # as large as the logits
    # The gradient of the extension is its weights, so neither the sort nor the weights belong to the graph.
    loss_and_gradient = _loss_by_one_sort if is_static(probabilities) else _loss_of_candidates
    loss, slopes = loss_and_gradient(probabilities.detach(), labels, ignored, chosen, per_image)
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


def _loss_by_one_sort(
    probabilities: Tensor, labels: Tensor, ignored: Tensor | None, classes: list[int] | None, per_image: bool
) -> tuple[Tensor, Tensor]:
    """As :func:`_loss_of_candidates`, with shapes that no number decides; absent classes have the weight 0.

    On an accelerator starting operators takes most of the time, and the tensors as large as the logits most of the
    memory. Both are few: the keys of the sort have the errors and the foreground, and the steps are computed in place.
    """
    images, count, pixels = probabilities.shape
    if labels.numel() == 0:
        return probabilities.sum(), torch.zeros_like(probabilities)
    keys = _keys_of_all_classes(probabilities, labels, ignored)
    if not per_image:
        keys = keys.movedim(1, 0).reshape(1, count, images * pixels)
    keys, order = _sort_in_parts(keys)
    foreground = (keys & 1).to(torch.int8)
    steps, present = _sorted_steps(foreground, probabilities.dtype)
    if classes is not None:  # of an absent class any error is wrong altogether: the largest one has the weight 1
        steps[..., -1].masked_fill_(~present, 1)
    weight = _weights_in_the_mean(present, classes, ignored is not None, per_image, steps.dtype)
    steps.mul_(weight.unsqueeze(2))
    loss = (errors_of_keys(keys, steps.dtype) * steps).sum()
    # The error of the foreground is 1 - p, of all others p.
    slopes = steps.scatter(2, order, steps * (1 - 2 * foreground))
    return loss, slopes if per_image else slopes.view(count, images, pixels).movedim(0, 1)


def _keys_of_all_classes(probabilities: Tensor, labels: Tensor, ignored: Tensor | None) -> Tensor:
    """Return the keys of the errors of every class, ``[B, C, P]``.

    An ignored pixel becomes background with an error of 0: no foreground has a smaller error, so its step is 0, and it
    is in no union, as it has the smallest error.
    """
    index = (labels if ignored is None else labels.masked_fill(ignored, 0)).unsqueeze(1)
    of_foreground = error_keys(1 - probabilities.gather(1, index)) | 1
    keys = error_keys(probabilities).scatter(1, index, of_foreground)
    return keys if ignored is None else keys.masked_fill(ignored.unsqueeze(1), 0)


def _sort_in_parts(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Sort ``[..., P]`` along the last dimension; return the keys and the order.

    Inside itself a sort on a GPU takes about eight times the memory of its keys (indices and rows, twice, and what the
    radix sort needs), but only for the rows that are sorted at a time.
    """
    if not saves_operators(keys):  # no transform and no compiler takes ``out``
        return keys.sort(dim=-1)
    ordered, order = torch.empty_like(keys), torch.empty_like(keys, dtype=torch.long)
    rows = -(-keys[..., 0].numel() // _SORTS)
    parts = [each.flatten(0, -2).split(rows) for each in (keys, ordered, order)]
    for given, *sorted_part in zip(*parts, strict=True):
        torch.sort(given, dim=-1, out=sorted_part)
    return ordered, order


def _sorted_steps(foreground: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return ``J_k - J_(k-1)`` of ``[..., P]`` pixels in the order of ascending errors, and which rows have foreground.

    As in :func:`_step_sizes`, with what is missed *including* the pixel itself. For background that is the same; for
    foreground it makes the union larger by 1, so that one denominator serves both: ``1 / (union - 1)`` for foreground,
    ``missed / union / (union - 1)`` for background.
    """
    missed = foreground.cumsum(dim=-1, dtype=torch.int32)
    later = torch.arange(foreground.shape[-1], 0, -1, dtype=torch.int32, device=foreground.device)
    union = missed + later.to(dtype)
    steps, present = missed / union, missed[..., -1] > 0
    del missed  # as large as the logits
    steps.clamp_min_(foreground)
    return steps.div_(union.sub_(1).clamp_min_(1)), present


def _weights_in_the_mean(
    present: Tensor, classes: list[int] | None, some_ignored: bool, per_image: bool, dtype: torch.dtype
) -> Tensor:
    """Return what each class ``[B, C]`` weighs in the mean over classes, and over images of which anything is left."""
    if classes is None:
        weight = present.to(dtype) / present.sum(dim=1, keepdim=True).clamp_min(1)
    else:
        weight = torch.zeros_like(present[:1], dtype=dtype)
        for c in classes:  # a list of indices would have to be copied to the device
            weight[:, c] = 1 / len(classes)
    if some_ignored and (per_image or classes is not None):
        left = present.any(dim=1, keepdim=True)
        return weight * left / left.sum().clamp_min(1)
    return weight / len(present) if per_image else weight


def _loss_of_candidates(
    probabilities: Tensor, labels: Tensor, ignored: Tensor | None, classes: list[int] | None, per_image: bool
) -> tuple[Tensor, Tensor]:
    """Return the loss and its derivative by the probabilities ``[B, C, P]``.

    Args:
        labels: ``[B, P]``.
        ignored: which pixels are ignored, ``None`` for none.
        classes: those of the mean, ``None`` for those present.
    """
    if ignored is None and not per_image:
        return _loss_of_pixels(probabilities, labels, classes)
    # Each image, or the batch as one, without its ignored pixels.
    loss, slopes, images = probabilities.new_zeros(()), torch.zeros_like(probabilities), 0
    counted = torch.ones_like(labels, dtype=torch.bool) if ignored is None else ~ignored
    for rows in [slice(i, i + 1) for i in range(len(labels))] if per_image else [slice(None)]:
        p, kept = probabilities[rows].movedim(1, 0).flatten(1), counted[rows].flatten().nonzero().squeeze(1)
        if len(kept):
            part, slope = _loss_of_pixels(p[None, :, kept], labels[rows].flatten()[None, kept], classes)
            by_p = torch.zeros_like(p).index_copy_(1, kept, slope[0])
            slopes[rows] = by_p.unflatten(1, (-1, labels.shape[1])).movedim(0, 1)
            loss, images = loss + part, images + 1
    return loss / max(images, 1), slopes.div_(max(images, 1))


def _loss_of_pixels(probabilities: Tensor, labels: Tensor, chosen: list[int] | None) -> tuple[Tensor, Tensor]:
    """:func:`_loss_of_candidates` of the batch as one image without ignored pixels."""
    classes, pixels = probabilities.shape[1:]
    present = _present_classes(labels.flatten(), classes)
    averaged = present if chosen is None else {*chosen}
    of_present = _loss_of_two_classes if classes == 2 else _loss_of_several_classes
    loss, slopes = of_present(probabilities, labels, sorted(averaged & present))
    for c in averaged - present if labels.numel() else ():
        # Any error is wrong altogether: the largest one has the weight 1.
        largest = int(probabilities[:, c].argmax())
        loss += probabilities[largest // pixels, c, largest % pixels]
        slopes[largest // pixels, c, largest % pixels] += 1
    count = max(len(averaged), 1)
    return loss.div_(count), slopes.div_(count)


def _present_classes(labels: Tensor, classes: int) -> set[int]:
    """Return which classes there are among labels ``[N]``."""
    if labels.shape[0] == 0:
        return set()
    low, high = (int(bound) for bound in labels.aminmax())
    check_range(low, high, classes, can_ignore=True)
    if classes == 2:
        return {low, high}
    return {c for c, count in enumerate(torch.bincount(labels, minlength=classes).tolist()) if count}


def _loss_of_two_classes(probabilities: Tensor, labels: Tensor, averaged: list[int]) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses of some classes that are present, and its derivative by the probabilities.

    What one class gets wrong, so does the other: one order serves both. And as their probabilities sum to 1, the
    derivative by that of class 1 is all there is.
    """
    of_class_1, p = labels.flatten() == 1, probabilities[:, 1].flatten()
    target = indicator(of_class_1, p.dtype)
    error, hit, order = sort_errors((target - p).abs_(), of_class_1)
    missed_1 = _foreground_before(hit)
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


def _loss_of_several_classes(probabilities: Tensor, labels: Tensor, averaged: list[int]) -> tuple[Tensor, Tensor]:
    """As :func:`_loss_of_two_classes`, for any number of classes."""
    loss, slopes = probabilities.new_zeros(()), torch.zeros_like(probabilities)
    for ranked in _rank_candidates(probabilities, labels, averaged):
        steps = _jaccard_steps(ranked.foreground, ranked.counts, ranked.error.dtype)
        loss += (ranked.error * steps).sum()
        by_class = steps.new_zeros(len(ranked.counts) * labels.numel())
        sign = torch.rsub(indicator(ranked.foreground, steps.dtype), 1, alpha=2)
        by_class.index_copy_(0, ranked.place, steps.mul_(sign))
        slopes[:, ranked.classes] = by_class.view(len(ranked.counts), *labels.shape).movedim(0, 1)
    return loss, slopes


class _Ranked(NamedTuple):
    """The candidates of consecutive classes, class by class in the order of ascending errors."""

    classes: slice
    error: Tensor
    foreground: Tensor
    place: Tensor  # in [classes, B, P], flattened
    counts: Tensor  # how many candidates each class has


def _rank_candidates(probabilities: Tensor, labels: Tensor, averaged: list[int]) -> Iterator[_Ranked]:
    """Sort the pixels of each class that are foreground, or have an error at least as large as the smallest of those.

    All others have smaller errors than the whole foreground, and steps of 0. With the errors 0.7, 0.6, 0.1 and 0.05 of
    the example above the foreground has 0.6 and 0.1, and the last pixel is left out. Of a network that is mostly right
    few pixels are left. Classes with few candidates are sorted together, which takes fewer calls: by their errors, and
    then, stably, by their class.
    """
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
        error, foreground, order = sort_errors((indicator(foreground, error.dtype) - error).abs_(), foreground)
        if len(counts) > 1:
            again = of_class.to(torch.int8).index_select(0, order).sort(stable=True).indices
            error, foreground, order = error[again], foreground[again], order[again]
        yield _Ranked(group, error, foreground, place.index_select(0, order), number)


def _groups(counts: list[int]) -> Iterator[tuple[slice, list[int]]]:
    """Put consecutive classes together as long as they have few candidates; a class that has more stays alone."""
    first, total = 0, 0
    for c, count in enumerate(counts):
        if c > first and (total + count > _TOGETHER or c - first == _MOST_CLASSES):
            yield slice(first, c), counts[first:c]
            first, total = c, 0
        total += count
    yield slice(first, len(counts)), counts[first:]


def _jaccard_steps(foreground: Tensor, counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``J_k - J_(k-1)`` for classes of ``counts`` pixels, each in the order of *ascending* errors.

    The steps are written out, since a difference of Jaccard values near 1 has no correct digits in float32:
    a foreground pixel adds ``1 / union``; a background one, ``missed / ((union - 1) union)``,
    with ``missed`` the foreground that has smaller errors, and ``union`` that and all pixels from this one on.

    The classes stand one after the other. A running sum over all of them goes on from one class into the next: it is
    taken once, and what it was at the start of each class is subtracted. Two classes of 3 and 2 pixels:

    ======================= === === === === ===
    class                     0   0   0   1   1
    foreground                0   1   1   1   0
    ======================= === === === === ===
    foreground before         0   0   1   2   3
    at the start of a class   0   0   0   2   2
    missed (the difference)   0   0   1   0   1
    pixels from here on       3   2   1   2   1
    union (their sum)         3   2   2   2   2
    step                      0 1/2 1/2 1/2 1/2
    ======================= === === === === ===

    The steps of each class sum to 1, which is the Jaccard loss of an empty overlap.
    """
    total = len(foreground)
    missed = _foreground_before(foreground)
    union = torch.arange(total, 0, -1, dtype=torch.int32, device=foreground.device).add_(missed)
    if len(counts) > 1:
        ends = counts.cumsum(0)
        at_start = torch.nn.functional.pad(missed, (0, 1))[ends - counts]
        missed -= at_start.repeat_interleave(counts, output_size=total)
        of_other_classes = at_start + total - ends  # foreground before the class, and pixels after it
        union -= of_other_classes.int().repeat_interleave(counts, output_size=total)
    return _step_sizes(foreground, missed, union, dtype)


def _foreground_before(foreground: Tensor) -> Tensor:
    """Return how many foreground pixels stand before each one, and so have smaller errors."""
    return foreground.cumsum(0, dtype=torch.int32).sub_(as_uint8(foreground))


def _step_sizes(foreground: Tensor, missed: Tensor, union: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``1 / union`` for the foreground, ``missed / ((union - 1) union)`` for the background."""
    union = union.to(dtype)
    # The share of a background pixel, which is at most 1. Conditions would cost more: no processor can predict them.
    share = missed.to(dtype).div_((union - 1).clamp_min_(1))
    return share.clamp_min_(indicator(foreground, dtype)).div_(union)
