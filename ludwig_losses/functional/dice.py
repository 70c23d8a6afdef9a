"""Soft Dice loss and its family: overlap between predicted and true regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ludwig_losses.functional._elementwise import is_transformed
from ludwig_losses.functional._numerics import (
    check_class_logits,
    check_classes,
    check_number,
    check_per_class,
    full_precision,
    ignored_classes,
    is_counted,
    is_static,
    naming_the_target,
    softmax_backward,
    summation_dtype,
    weighted_mean,
)

# A mass that is less counts as none: float32 cannot hold the derivatives of its quotients and logarithm.
_SMALLEST = 1e-30


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 1.0,
    squared_denominator: bool = False,
    include_background: bool = True,
    per_image: bool = True,
    ignore_index: int | Sequence[int] | None = None,
    class_weights: Tensor | None = None,
    jaccard: bool = False,
    tversky_alpha: float = 0.5,
    tversky_beta: float = 0.5,
    focal_tversky_gamma: float = 1.0,
    log_dice: bool = False,
    generalized: bool = False,
) -> Tensor:
    r"""One minus an overlap score, averaged over images and classes; by default the soft Dice coefficient.

    With ``p = softmax(logits)`` and ``g`` the indicator of a class, an image and a class have the overlap
    ``I = sum(p g)``, the predicted mass ``P = sum(p)`` and the true mass ``G = sum(g)``; ``P - I`` is falsely positive
    and ``G - I`` falsely negative. All members of the family are one score of these sums,

        (2 I + smooth) / (2 I + 2 tversky_alpha (P - I) + 2 tversky_beta (G - I) + smooth),

    which is the Dice coefficient ``(2 I + smooth) / (P + G + smooth)`` for alpha = beta = 1/2. A class that an image
    does not have takes part: its loss is the mass predicted for it. With ``smooth = 0`` a class that is neither present
    nor predicted (with a mass below 1e-30) costs 0.

    Args:
        logits: ``[B, C, ...]``, with at least one pixel dimension.
        target: ``[B, ...]``, class indices of any integer type.
        smooth: added to numerator and denominator, >= 0.
        squared_denominator: ``P = sum(p**2)``, as in V-Net; needs ``tversky_alpha = tversky_beta``.
        include_background: whether class 0 counts; its logit takes part in the softmax either way.
        per_image: whether each image has its own sums, or the batch has one sum of each kind per class.
        ignore_index: class or classes whose pixels count neither for the prediction nor for the target. Where such a
            class has a logit, it takes part in the softmax but not in the mean over classes. An image with nothing left
            does not take part in the mean over images.
        class_weights: ``[C]``, >= 0; the mean over classes is ``sum(w loss) / sum(w)``.
        jaccard: the soft Jaccard index (IoU), which is ``tversky_alpha = tversky_beta = 1``.
        tversky_alpha, tversky_beta: weights of what is falsely positive and of what is falsely negative, >= 0. In
            Salehi's form of the index, without the factor 2, ``smooth`` is half of what it is here.
        focal_tversky_gamma: the loss of a class is ``(1 - score)**(1 / gamma)``, > 0; above 1 classes that are nearly
            right are improved more, below 1 those that are mostly wrong.
        log_dice: the loss of a class is ``-log(score)``, in which an overlap of nothing at all counts as one of 1e-30.
        generalized: one score per image, of sums over the classes with weights ``1 / G**2``, normalised to a sum of 1
            so that ``smooth`` keeps its meaning. An absent class weighs as much as the rarest present one.

    Returns:
        A scalar, float32 (float64 for float64 logits). An empty batch, and one with every pixel ignored, gives 0.

    Raises:
        TypeError: the logits are no floating-point numbers, the targets no integers, or a hyperparameter is no number.
        ValueError: ``target`` does not have the shape of ``logits`` without its class dimension, there is no pixel
            dimension, ``class_weights`` does not have an entry per class, a hyperparameter is out of range, the options
            contradict each other, or leave no class.
        IndexError: a target that is not ignored is no class (on an accelerator an error of torch's).

    Source: Milletari et al., "V-Net", 3DV 2016, with the sums (not the squares) of the probabilities below the line;
    Salehi et al., "Tversky loss function", MLMI 2017; Abraham & Khan, "A Novel Focal Tversky Loss Function", ISBI 2019
    (equation 4, with the exponent 1/gamma); Sudre et al., "Generalised Dice overlap", DLMIA 2017.

    Examples:
        >>> import torch
        >>> target = torch.tensor([[[0, 0, 0, 1]]])  # one image of one row
        >>> logits = 4 * torch.nn.functional.one_hot(target, 2).movedim(-1, 1).float()
        >>> dice_loss(logits, target)
        tensor(0.0170)
        >>> dice_loss(-logits, target, tversky_alpha=0.2, tversky_beta=0.8)
        tensor(0.7740)
    """
    check_class_logits(logits, target, class_dim=1)
    if logits.ndim < 3:
        raise ValueError(
            "logits must be [B, C, ...] with at least one pixel dimension; "
            f"got logits {tuple(logits.shape)} and target {tuple(target.shape)}."
        )
    check_per_class("class_weights", class_weights, logits.shape[1])
    for name, value in (("smooth", smooth), ("tversky_alpha", tversky_alpha), ("tversky_beta", tversky_beta)):
        check_number(name, value, minimum=0)
    check_number("focal_tversky_gamma", focal_tversky_gamma, above=0)
    alpha, beta = mistake_weights(jaccard, tversky_alpha, tversky_beta, squared_denominator)
    check_options(log_dice, focal_tversky_gamma, generalized, class_weights)
    classes = counted_classes(logits.shape[1], include_background, ignore_index)
    # A power of what the score lacks needs its digits: then the mistakes are summed, not the predicted mass.
    class_sums = _class_sums if focal_tversky_gamma == 1 else _class_mistakes
    inputs = full_precision(logits), target, ignore_index, squared_denominator
    *sums, true = naming_the_target(class_sums, inputs, target, logits.shape[1], ignore_index)
    if not per_image:
        *sums, true = (each.sum(dim=0, keepdim=True) for each in (*sums, true))
    weight = _weights(true, class_weights, classes, ignore_index)
    *sums, true = (_columns(each, classes) for each in (*sums, true))
    if generalized:
        *sums, true = _merge_classes(*sums, true)
    if focal_tversky_gamma == 1:
        loss = _loss(*_score((*sums, true), smooth, alpha, beta), log_dice)
    else:
        loss = _root(*_mistakes(sums, smooth, alpha, beta), focal_tversky_gamma)
    return weighted_mean(loss, None if weight is None else weight.to(loss).expand_as(loss))


def mistake_weights(
    jaccard: bool, tversky_alpha: float, tversky_beta: float, squared_denominator: bool
) -> tuple[float, float]:
    """Return the weights of what is falsely positive and of what is falsely negative.

    Raises:
        ValueError: the options of :func:`dice_loss` contradict each other; with what to write instead.
    """
    if jaccard and (tversky_alpha != 0.5 or tversky_beta != 0.5):
        raise ValueError(
            f"jaccard: true means tversky_alpha: 1 and tversky_beta: 1; got {tversky_alpha} and {tversky_beta}. Leave "
            "out jaccard, or these two."
        )
    if tversky_alpha == 0 and tversky_beta == 0:
        raise ValueError("tversky_alpha: 0 and tversky_beta: 0 let no mistake count. Make one of them positive.")
    if squared_denominator and tversky_alpha != tversky_beta:
        raise ValueError(
            f"squared_denominator: true needs equal weights of both kinds of mistakes; got tversky_alpha: "
            f"{tversky_alpha} and tversky_beta: {tversky_beta}. Make them equal, or leave out squared_denominator."
        )
    return (1.0, 1.0) if jaccard else (tversky_alpha, tversky_beta)


def check_options(log_dice: bool, focal_tversky_gamma: float, generalized: bool, class_weights: Any) -> None:
    """Refuse further options of :func:`dice_loss` that mean nothing together.

    Raises:
        ValueError: naming the options and what to write instead.
    """
    if log_dice and focal_tversky_gamma != 1:
        raise ValueError(
            f"log_dice: true takes the logarithm of the score, focal_tversky_gamma: {focal_tversky_gamma} a power of "
            "what it lacks. Leave out one of the two."
        )
    if generalized and class_weights is not None:
        raise ValueError("generalized: true weighs the classes by their size. Leave out that, or class_weights.")


def counted_classes(classes: int, include_background: bool, ignore_index: int | Sequence[int] | None) -> list[int]:
    """Return the indices of the classes that take part in the mean.

    Raises:
        ValueError: there is none, of one class or more.
    """
    ignored = ignored_classes(ignore_index)
    counted = [c for c in range(classes) if c not in ignored and (include_background or c > 0)]
    if classes and not counted:
        raise ValueError(
            f"include_background: {str(include_background).lower()} and ignore_index: {ignore_index} leave none of the "
            f"{classes} classes. Leave out one of the two."
        )
    return counted


def _weights(
    true: Tensor, class_weights: Tensor | None, classes: list[int], ignore_index: int | Sequence[int] | None
) -> Tensor | None:
    """Return the weights of images and classes in the mean, or ``None`` for equal ones."""
    weight = None
    if ignore_index is not None:  # an image of which nothing is left does not count
        weight = true.sum(dim=1, keepdim=True) > 0
    if class_weights is not None:
        of_classes = _columns(class_weights.to(true.device).unsqueeze(0), classes)
        weight = of_classes if weight is None else weight * of_classes
    return weight


def _columns(x: Tensor, classes: list[int]) -> Tensor:
    """Return some columns of ``[B, C]``, in ascending order; an accelerator would wait for a list of them."""
    if len(classes) == x.shape[1]:
        return x
    kept = {*classes}
    first, last = [c for c in classes if c - 1 not in kept], [c for c in classes if c + 1 not in kept]
    slices = [x[:, a : b + 1] for a, b in zip(first, last, strict=True)]
    return slices[0] if len(slices) == 1 else torch.cat(slices, dim=1)


def _score(sums: Sequence[Tensor], smooth: float, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    """Return numerator and denominator of the score, both 1 where there is nothing to overlap, or next to nothing."""
    overlap, predicted, true = sums
    numerator = 2 * overlap + smooth
    if alpha == beta == 0.5:
        denominator = predicted + true + smooth
    else:  # the weights of the mistakes collected by sum
        denominator = 2 * (alpha * predicted + beta * true.to(overlap) + (1 - alpha - beta) * overlap) + smooth
    if smooth >= _SMALLEST:
        return numerator, denominator
    empty = denominator < _SMALLEST
    return torch.where(empty, 1, numerator), torch.where(empty, 1, denominator)


def _loss(numerator: Tensor, denominator: Tensor, log: bool) -> Tensor:
    """Return the loss of each score."""
    if log:
        return denominator.clamp_min(_SMALLEST).log() - numerator.clamp_min(_SMALLEST).log()
    return 1 - numerator / denominator


def _mistakes(sums: Sequence[Tensor], smooth: float, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    """Return numerator and denominator of one minus the score: 0 and 1 where there is next to nothing to overlap."""
    overlap, false_positive, false_negative = sums
    mistakes = 2 * (alpha * false_positive + beta * false_negative)
    denominator = 2 * overlap + mistakes + smooth
    empty = denominator < _SMALLEST
    return torch.where(empty, 0, mistakes), torch.where(empty, 1, denominator)


def _root(mistakes: Tensor, denominator: Tensor, gamma: float) -> Tensor:
    """Return ``(mistakes / denominator)**(1 / gamma)``.

    Where hardly a number is left for the mistakes, whose root has an infinite slope at 0, a line takes its place.
    """
    least = 100 * torch.finfo(mistakes.dtype).tiny / denominator.detach().clamp_max(1)
    miss = mistakes / denominator
    return torch.where(miss > least, miss.maximum(least) ** (1 / gamma), miss * least ** (1 / gamma - 1))


def _merge_classes(*sums: Tensor) -> tuple[Tensor, ...]:
    """Sum over the classes, with weights ``1 / true**2`` that are normalised to a sum of 1; ``true`` is the last."""
    true = sums[-1].to(sums[0])
    present = true > 0
    # Relative to the rarest class nothing overflows, and its weight is that of absent ones, too: 1.
    rarest = torch.where(present, true, torch.inf).amin(dim=1, keepdim=True) if true.shape[1] else true
    weight = torch.where(present, rarest / torch.where(present, true, 1), 1).square()
    weight = weight / weight.sum(dim=1, keepdim=True)
    return tuple((weight * each).sum(dim=1, keepdim=True) for each in sums)


def _class_sums(
    logits: Tensor, target: Tensor, ignore_index: int | Sequence[int] | None, squared: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return overlap, predicted and true mass ``[B, C]`` of the pixels that count."""
    target, counted = _only_classes(target, ignore_index)
    of_pixels = None if counted is None else counted.flatten(1).unsqueeze(1)
    if is_transformed(logits):
        sums = _overlap_and_mass
    else:
        sums = _TwoClassSums.apply if logits.shape[1] == 2 else _ClassSums.apply
    overlap, predicted = sums(logits.flatten(2), target, of_pixels, squared)
    return overlap, predicted, _true_mass(target, counted, logits.shape[1])


def _class_mistakes(
    logits: Tensor, target: Tensor, ignore_index: int | Sequence[int] | None, squared: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return overlap, what is falsely positive and falsely negative, and true mass ``[B, C]`` of the pixels that count.

    With squares, the mistakes are ``sum((p - g)**2)``. No mistake, and no gradient, is a difference of numbers near 1.
    """
    target, counted = _only_classes(target, ignore_index)
    of_pixels = None if counted is None else counted.flatten(1).unsqueeze(1)
    if logits.shape[1] == 2:
        sums = _two_class_mistakes
    else:
        sums = _overlap_and_mistakes if is_transformed(logits) else _ClassMistakes.apply
    return *sums(logits.flatten(2), target, of_pixels, squared), _true_mass(target, counted, logits.shape[1])


def _two_class_mistakes(
    logits: Tensor, target: Tensor, counted: Tensor | None, squared: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As :class:`_ClassMistakes`: what is missing from one class is too much for the other."""
    logits = _senseful(logits, counted)
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
    counted = is_counted(target, ignore_index)
    return (target if counted is None else target.where(counted, 0)), counted


def _true_mass(target: Tensor, counted: Tensor | None, classes: int) -> Tensor:
    if classes == 2 and not is_static(target):
        return _two_true_masses(target.flatten(1), counted)
    ones = target.new_ones(()).expand_as(target) if counted is None else counted.long()
    return _sums_by_class(ones, target, classes)


def _two_true_masses(target: Tensor, counted: Tensor | None) -> Tensor:
    """Count the ones, and so the zeros."""
    if target.numel():
        check_classes(target, 2, can_ignore=True)
    second = target.sum(dim=1)
    pixels = target.shape[1] if counted is None else counted.flatten(1).sum(dim=1)
    return torch.stack([pixels - second, second], dim=1)


def _overlap_and_mass(logits: Tensor, target: Tensor, counted: Tensor | None, squared: bool) -> tuple[Tensor, Tensor]:
    """As :class:`_ClassSums`, operator by operator, which torch can transform."""
    p = _probabilities(_senseful(logits, counted), counted)
    true_p = p.gather(1, target.flatten(1).unsqueeze(1))
    return _wide_sums_by_class(true_p, target, p), (p.square() if squared else p).sum(dim=2)


def _overlap_and_mistakes(
    logits: Tensor, target: Tensor, counted: Tensor | None, squared: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As :class:`_ClassMistakes`, operator by operator."""
    p = _probabilities(_senseful(logits, counted), counted)
    index = target.flatten(1).unsqueeze(1)
    others = p.scatter(1, index, 0.0)
    missed = others.sum(dim=1, keepdim=True)
    overlap, false_negative = (
        _wide_sums_by_class(each, target, p) for each in (p.gather(1, index), missed.square() if squared else missed)
    )
    return overlap, (others.square() if squared else others).sum(dim=2), false_negative


def _senseful(logits: Tensor, counted: Tensor | None) -> Tensor:
    """Return the logits without those of pixels that do not count, which may be NaN."""
    return logits if counted is None else logits.where(counted, 0)


def _wide_sums_by_class(values: Tensor, target: Tensor, p: Tensor) -> Tensor:
    """Sum ``[B, 1, P]`` per image and class, in float64, since a scatter adds one by one."""
    return _sums_by_class(values.reshape(target.shape).to(summation_dtype(p.device)), target, p.shape[1]).to(p.dtype)


class _ClassSums(torch.autograd.Function):
    """``sum(p g)`` and ``sum(p)``, or ``sum(p**2)``, per image and class, for logits ``[B, C, P]``.

    Scattered sums need no one-hot tensor; the gradient is built in one tensor of the logits' size. Pixels that do not
    count have probability 0 for every class.
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


class _ClassMistakes(torch.autograd.Function):
    """``sum(p g)``, ``sum(p (1 - g))`` and ``sum((1 - p) g)``, or of the squares of the factors ``p`` and ``1 - p`` of
    the last two, per image and class; as :class:`_ClassSums`."""

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


class _TwoClassSums(torch.autograd.Function):
    """As :class:`_ClassSums`, with sigmoids of the difference of the logits instead of a softmax."""

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


def _sums_by_class(values: Tensor, target: Tensor, classes: int) -> Tensor:
    """Sum ``[B, ...]`` per image and class; column by column first, as additions to one sum wait for each other."""
    columns = target.shape[-1] if target.ndim > 2 else 1
    target = target.flatten(1, -2) if target.ndim > 2 else target.unsqueeze(-1)
    sums = values.new_zeros(len(target), classes, columns)
    return sums.scatter_add(1, target, values.reshape(target.shape)).sum(dim=2)
