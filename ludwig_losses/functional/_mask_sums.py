"""Sums over the pixels of a mask, per image and class: what the Dice family is made of.

For each image and class there are the overlap ``sum(p g)``, the predicted mass ``sum(p)`` and the true mass ``sum(g)``,
with ``p`` the probability of a pixel and ``g`` 1 where the class is the true one, else 0. For an image of four pixels
with the true classes 0, 0, 1, 1 and the probabilities 0.9, 0.8, 0.3, 0.6 of class 1,

    class 1: overlap = 0.3 + 0.6 = 0.9, predicted = 0.9 + 0.8 + 0.3 + 0.6 = 2.6, true = 2
    class 0: overlap = 0.1 + 0.2 = 0.3, predicted = 0.1 + 0.2 + 0.7 + 0.4 = 1.4, true = 2

A one-hot ``g`` would need as much memory as the logits. Only one probability of each pixel belongs to its true class,
so it is looked up, and added to the sum of that class (a scatter).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ludwig_losses.functional._elementwise import is_transformed
from ludwig_losses.functional._numerics import (
    check_classes,
    ignored_classes,
    is_static,
    softmax_backward,
    summation_dtype,
)


class ClassSums(NamedTuple):
    """Sums over the pixels that are not ignored, each ``[B, C]``."""

    overlap: Tensor  # sum(p g)
    predicted: Tensor  # sum(p), or sum(p**2)
    true: Tensor  # sum(g), integers


class ClassMistakes(NamedTuple):
    """The overlap and what is missing from it, each ``[B, C]``; ``predicted`` is ``overlap + false_positive``.

    None of them is a difference of two numbers that are nearly equal, so a power of the mistakes keeps its digits.
    """

    overlap: Tensor  # sum(p g)
    false_positive: Tensor  # sum(p (1 - g)), or with p squared
    false_negative: Tensor  # sum((1 - p) g), or with 1 - p squared
    true: Tensor  # sum(g), integers


Sums = ClassSums | ClassMistakes


def saves_operators(logits: Tensor) -> bool:
    """Whether starting operators is what takes the time; a compiler starts few, and transforms need each of them."""
    return is_static(logits) and not torch.compiler.is_compiling() and not is_transformed(logits)


def which_are_ignored(target: Tensor, ignore_index: int | Sequence[int] | None) -> Tensor | None:
    """Return where the target, in int64, is one of the ignored classes; ``None`` if no class is ignored."""
    ignored = None
    for index in ignored_classes(ignore_index):
        ignored = target == index if ignored is None else ignored | (target == index)
    return ignored


def class_sums(logits: Tensor, target: Tensor, ignore_index: int | Sequence[int] | None, squared: bool) -> ClassSums:
    """Return the sums of logits ``[B, C, ...]`` in full precision."""
    target, counted = _only_classes(target, ignore_index)
    of_pixels = None if counted is None else counted.flatten(1).unsqueeze(1)
    if is_transformed(logits):
        sums = _overlap_and_mass
    else:
        two_classes = logits.shape[1] == 2 and not saves_operators(logits)
        sums = _TwoClassSumsFunction.apply if two_classes else _SumsFunction.apply
    overlap, predicted = sums(logits.flatten(2), target, of_pixels, squared)
    return ClassSums(overlap, predicted, _true_mass(target, counted, logits.shape[1]))


def class_mistakes(
    logits: Tensor, target: Tensor, ignore_index: int | Sequence[int] | None, squared: bool
) -> ClassMistakes:
    """Return the sums of logits ``[B, C, ...]`` in full precision; with squares, the mistakes are ``sum((p - g)**2)``.

    No gradient is a difference of numbers near 1, either.
    """
    target, counted = _only_classes(target, ignore_index)
    of_pixels = None if counted is None else counted.flatten(1).unsqueeze(1)
    if logits.shape[1] == 2 and not saves_operators(logits):
        sums = _two_class_mistakes
    else:
        sums = _overlap_and_mistakes if is_transformed(logits) else _MistakesFunction.apply
    of_class = sums(logits.flatten(2), target, of_pixels, squared)
    return ClassMistakes(*of_class, _true_mass(target, counted, logits.shape[1]))


def _two_class_mistakes(
    logits: Tensor, target: Tensor, counted: Tensor | None, squared: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As :class:`_MistakesFunction`: what is missing from one class is too much for the other."""
    logits = _without_ignored(logits, counted)
    first, second = logits.unbind(dim=1)
    of_second = target.flatten(1).to(first.dtype)
    wrong_way = (second - first) * (1 - 2 * of_second)
    hit, missed = (-wrong_way).sigmoid(), wrong_way.sigmoid()
    missed = missed.square() if squared else missed
    of_first = 1 - of_second
    if counted is not None:
        of_first, of_second = (each * counted.squeeze(1) for each in (of_first, of_second))
    overlap, false_negative = (
        torch.stack([(each * of_first).sum(dim=1), (each * of_second).sum(dim=1)], dim=1) for each in (hit, missed)
    )
    return overlap, false_negative.flip(1), false_negative


def _only_classes(target: Tensor, ignore_index: int | Sequence[int] | None) -> tuple[Tensor, Tensor | None]:
    """Return the target with class 0 for what is ignored, and which pixels count, ``None`` for all."""
    target = target.long()
    ignored = which_are_ignored(target, ignore_index)
    return (target, None) if ignored is None else (target.masked_fill(ignored, 0), ~ignored)


def _true_mass(target: Tensor, counted: Tensor | None, classes: int) -> Tensor:
    if classes == 2 and not is_static(target):
        return _two_true_masses(target.flatten(1), counted)
    ones = target.new_ones(()).expand_as(target) if counted is None else counted.long()
    return _sums_by_class(ones, target, classes)


def _two_true_masses(target: Tensor, counted: Tensor | None) -> Tensor:
    """Count the ones, and so the zeros."""
    if target.numel() > 0:
        check_classes(target, 2, can_ignore=True)
    second = target.sum(dim=1)
    pixels = target.shape[1] if counted is None else counted.flatten(1).sum(dim=1)
    return torch.stack([pixels - second, second], dim=1)


def _overlap_and_mass(logits: Tensor, target: Tensor, counted: Tensor | None, squared: bool) -> tuple[Tensor, Tensor]:
    """As :class:`_SumsFunction`, operator by operator, which torch can transform."""
    p = _probabilities(_without_ignored(logits, counted), counted)
    true_p = p.gather(1, target.flatten(1).unsqueeze(1))
    return _wide_sums_by_class(true_p, target, p), (p.square() if squared else p).sum(dim=2)


def _overlap_and_mistakes(
    logits: Tensor, target: Tensor, counted: Tensor | None, squared: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As :class:`_MistakesFunction`, operator by operator."""
    p = _probabilities(_without_ignored(logits, counted), counted)
    index = target.flatten(1).unsqueeze(1)
    others = p.scatter(1, index, 0.0)
    missed = others.sum(dim=1, keepdim=True)
    overlap, false_negative = (
        _wide_sums_by_class(each, target, p) for each in (p.gather(1, index), missed.square() if squared else missed)
    )
    return overlap, (others.square() if squared else others).sum(dim=2), false_negative


def _without_ignored(logits: Tensor, counted: Tensor | None) -> Tensor:
    """Return the logits with 0 for ignored pixels, which may be NaN."""
    return logits if counted is None else logits.where(counted, 0)


def _wide_sums_by_class(values: Tensor, target: Tensor, p: Tensor) -> Tensor:
    """Sum ``[B, 1, P]`` per image and class, in float64, since a scatter adds one by one."""
    return _sums_by_class(values.reshape(target.shape).to(summation_dtype(p.device)), target, p.shape[1]).to(p.dtype)


class _SumsFunction(torch.autograd.Function):
    """``sum(p g)`` and ``sum(p)``, or ``sum(p**2)``, per image and class, for logits ``[B, C, P]``.

    Scattered sums need no one-hot tensor; the gradient is built in one tensor of the logits' size. Ignored
    pixels have probability 0 for every class.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, counted: Tensor | None, squared: bool
    ) -> tuple[Tensor, Tensor]:
        """Return ``sum(p g)`` and ``sum(p)`` or ``sum(p**2)``, each ``[B, C]``."""
        p = _probabilities(logits, counted)
        index = target.flatten(1).unsqueeze(1)
        ctx.save_for_backward(logits, index, counted, p)
        ctx.squared = squared
        return _wide_sums_by_class(p.gather(1, index), target, p), (p.square() if squared else p).sum(dim=2)

    @staticmethod
    def backward(ctx: Any, grad_overlap: Tensor, grad_mass: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient by the logits."""
        logits, index, counted, p = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, of what depends on the logits
            p = _probabilities(logits, counted)
        if ctx.squared:
            by_p = 2 * grad_mass.unsqueeze(2) * p
        else:
            by_p = grad_mass.unsqueeze(2).expand_as(p).clone(memory_format=torch.contiguous_format)
        by_p.scatter_add_(1, index, grad_overlap.gather(1, index.squeeze(1)).unsqueeze(1))
        return softmax_backward(by_p, p), None, None, None


class _MistakesFunction(torch.autograd.Function):
    """``sum(p g)``, ``sum(p (1 - g))`` and ``sum((1 - p) g)``, or of the squares of the factors ``p`` and ``1 - p`` of
    the last two, per image and class; as :class:`_SumsFunction`."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, counted: Tensor | None, squared: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the overlap, the false positives and the false negatives, each ``[B, C]``."""
        p = _probabilities(logits, counted)
        index = target.flatten(1).unsqueeze(1)
        hit = p.gather(1, index)
        others = p.scatter_(1, index, 0.0)
        missed = others.sum(dim=1)
        false_positive = others.square().sum(dim=2) if squared else others.sum(dim=2)
        p = others.scatter_(1, index, hit)
        ctx.save_for_backward(logits, index, counted, p, missed)
        ctx.squared = squared
        overlap, false_negative = (
            _wide_sums_by_class(each, target, p) for each in (hit, missed.square() if squared else missed)
        )
        return overlap, false_positive, false_negative

    @staticmethod
    def backward(ctx: Any, grad_overlap: Tensor, by_others: Tensor, by_missed: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient by the logits."""
        logits, index, counted, p, missed = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, of what depends on the logits
            p = _probabilities(logits, counted)
            missed = p.scatter(1, index, 0.0).sum(dim=1)
        of_pixel = index.squeeze(1)
        by_others, by_missed = by_others.unsqueeze(2), by_missed.gather(1, of_pixel)
        if ctx.squared:
            by_others, by_missed = 2 * by_others * p, 2 * by_missed * missed
        by_p = by_others + by_missed.unsqueeze(1)
        by_p = by_p.scatter_(1, index, grad_overlap.gather(1, of_pixel).unsqueeze(1))
        return softmax_backward(by_p, p), None, None, None


class _TwoClassSumsFunction(torch.autograd.Function):
    """As :class:`_SumsFunction`, with sigmoids of the difference of the logits instead of a softmax."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, counted: Tensor | None, squared: bool
    ) -> tuple[Tensor, Tensor]:
        """Return ``sum(p g)`` and ``sum(p)`` or ``sum(p**2)``, each ``[B, 2]``."""
        p = _two_probabilities(logits, counted)
        second = target.flatten(1).to(logits.dtype)
        ctx.save_for_backward(logits, second, counted, *p)
        ctx.squared = squared
        overlap = [(each * true).sum(dim=1) for each, true in zip(p, (1 - second, second), strict=True)]
        mass = [(each.square() if squared else each).sum(dim=1) for each in p]
        return torch.stack(overlap, dim=1), torch.stack(mass, dim=1)

    @staticmethod
    def backward(ctx: Any, grad_overlap: Tensor, grad_mass: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient by the logits."""
        logits, second, counted, first_p, second_p = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative, of what depends on the logits
            first_p, second_p = _two_probabilities(logits, counted)
        (first_overlap, second_overlap), (first_mass, second_mass) = (
            each.unsqueeze(-1).unbind(dim=1) for each in (grad_overlap, grad_mass)
        )
        # By the second probability, of which the first one is what is left: of pixels of the first class and of the
        # second. Large terms must not cancel, as they would in a sum with products by 0 and 1.
        of_first, of_second = -first_overlap, second_overlap
        if ctx.squared:
            by_mass = 2 * second_mass * second_p - 2 * first_mass * first_p
            by_p = torch.lerp(of_first.expand_as(second), of_second.expand_as(second), second) + by_mass
        else:
            by_mass = second_mass - first_mass
            by_p = torch.lerp(of_first + by_mass, of_second + by_mass, second)
        by_margin = by_p * first_p * second_p
        return torch.stack([-by_margin, by_margin], dim=1), None, None, None


def _two_probabilities(logits: Tensor, counted: Tensor | None) -> list[Tensor]:
    first, second = logits.unbind(dim=1)
    margin = second - first
    p = [(-margin).sigmoid(), margin.sigmoid()]
    return p if counted is None else [each.where(counted.squeeze(1), 0) for each in p]


def _probabilities(logits: Tensor, counted: Tensor | None) -> Tensor:
    p = logits.softmax(dim=1)
    return p if counted is None else p.where(counted, 0)


def by_columns(target: Tensor) -> Tensor:
    """Return a target ``[B, ...]`` as ``[B, rows, columns]``, with one column if it is ``[B, P]``.

    Sums are taken of each column first: additions to one and the same number would wait for each other.
    """
    return target.flatten(1, -2) if target.ndim > 2 else target.unsqueeze(-1)


def _sums_by_class(values: Tensor, target: Tensor, classes: int) -> Tensor:
    """Sum ``[B, ...]`` per image and class."""
    target = by_columns(target)
    sums = values.new_zeros(len(target), classes, target.shape[2])
    return sums.scatter_add(1, target, values.reshape(target.shape)).sum(dim=2)
