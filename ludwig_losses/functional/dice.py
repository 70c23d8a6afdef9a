"""Soft Dice loss and its family: overlap between predicted and true regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ludwig_losses.functional._dice_on_accelerators import (
    SMALLEST,
    DiceForm,
    dice_in_few_operators,
)
from ludwig_losses.functional._mask_sums import (
    ClassMistakes,
    ClassSums,
    Sums,
    class_mistakes,
    class_sums,
    saves_operators,
)
from ludwig_losses.functional._numerics import (
    check_class_logits,
    check_number,
    check_per_class,
    full_precision,
    ignored_classes,
    naming_the_target,
    weighted_mean,
)


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
    form = DiceForm(smooth, alpha, beta, squared_denominator, per_image, classes, ignore_index)
    score = _Score(log_dice, focal_tversky_gamma, generalized)
    logits = full_precision(logits)
    constant_weights = class_weights is None or not class_weights.requires_grad
    if score == _PLAIN and constant_weights and saves_operators(logits):
        by_operators = partial(_mean_loss, target=target, class_weights=class_weights, form=form, score=score)
        return dice_in_few_operators(logits, target, class_weights, form, by_operators)
    return _mean_loss(logits, target, class_weights, form, score)


class _Score(NamedTuple):
    """What a loss makes of its score."""

    log: bool = False
    gamma: float = 1.0
    generalized: bool = False


_PLAIN = _Score()


def _mean_loss(logits: Tensor, target: Tensor, class_weights: Tensor | None, form: DiceForm, score: _Score) -> Tensor:
    """Return the mean loss for logits in full precision, from the sums over the pixels of each class."""
    # A power of what the score lacks needs its digits: then the mistakes are summed, not the predicted mass.
    sum_by_class: Callable[..., Sums] = class_sums if score.gamma == 1 else class_mistakes
    inputs = logits, target, form.ignore_index, form.squared
    sums = naming_the_target(sum_by_class, inputs, target, logits.shape[1], form.ignore_index)
    if not form.per_image:
        sums = _of_each_sum(lambda each: each.sum(dim=0, keepdim=True), sums)
    weight = _weights(sums.true, class_weights, form)
    if len(form.classes) < logits.shape[1]:
        sums = _of_each_sum(lambda each: _chosen_columns(each, form.classes), sums)
    if score.generalized:
        sums = _merge_classes(sums)
    if isinstance(sums, ClassSums):
        loss = _loss_of_score(*_score(sums, form), score.log)
    else:
        loss = _root(*_missing_from_score(sums, form), score.gamma)
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


def _weights(true: Tensor, class_weights: Tensor | None, form: DiceForm) -> Tensor | None:
    """Return the weights of images and classes in the mean, or ``None`` for equal ones."""
    weight = None
    if form.ignore_index is not None:  # an image of which nothing is left does not count
        weight = true.sum(dim=1, keepdim=True) > 0
    if class_weights is not None:
        of_classes = _chosen_columns(class_weights.to(true.device).unsqueeze(0), form.classes)
        weight = of_classes if weight is None else weight * of_classes
    return weight


def _chosen_columns(x: Tensor, classes: list[int]) -> Tensor:
    """Return some columns of ``[B, C]``, in ascending order; an accelerator would wait for a list of them."""
    if len(classes) == x.shape[1]:
        return x
    kept = {*classes}
    first, last = [c for c in classes if c - 1 not in kept], [c for c in classes if c + 1 not in kept]
    slices = [x[:, a : b + 1] for a, b in zip(first, last, strict=True)]
    return slices[0] if len(slices) == 1 else torch.cat(slices, dim=1)


def _score(sums: ClassSums, form: DiceForm) -> tuple[Tensor, Tensor]:
    """Return numerator and denominator of the score, both 1 where there is nothing to overlap, or next to nothing."""
    overlap, predicted, true = sums
    alpha, beta = form.alpha, form.beta
    numerator = 2 * overlap + form.smooth
    if alpha == beta == 0.5:
        denominator = predicted + true + form.smooth
    else:  # the weights of the mistakes collected by sum
        mass = alpha * predicted + beta * true.to(overlap) + (1 - alpha - beta) * overlap
        denominator = 2 * mass + form.smooth
    if form.smooth >= SMALLEST:
        return numerator, denominator
    empty = denominator < SMALLEST
    return torch.where(empty, 1, numerator), torch.where(empty, 1, denominator)


def _loss_of_score(numerator: Tensor, denominator: Tensor, log: bool) -> Tensor:
    """Return one minus each score, or minus its logarithm."""
    if log:
        return denominator.clamp_min(SMALLEST).log() - numerator.clamp_min(SMALLEST).log()
    return 1 - numerator / denominator


def _missing_from_score(sums: ClassMistakes, form: DiceForm) -> tuple[Tensor, Tensor]:
    """Return numerator and denominator of one minus the score: 0 and 1 where there is next to nothing to overlap."""
    mistakes = 2 * (form.alpha * sums.false_positive + form.beta * sums.false_negative)
    denominator = 2 * sums.overlap + mistakes + form.smooth
    empty = denominator < SMALLEST
    return torch.where(empty, 0, mistakes), torch.where(empty, 1, denominator)


def _root(mistakes: Tensor, denominator: Tensor, gamma: float) -> Tensor:
    """Return ``(mistakes / denominator)**(1 / gamma)``.

    Where hardly a number is left for the mistakes, whose root has an infinite slope at 0, a line takes its place.
    """
    least = 100 * torch.finfo(mistakes.dtype).tiny / denominator.detach().clamp_max(1)
    miss = mistakes / denominator
    return torch.where(miss > least, miss.maximum(least) ** (1 / gamma), miss * least ** (1 / gamma - 1))


def _of_each_sum(function: Callable[[Tensor], Tensor], sums: Sums) -> Sums:
    return type(sums)(*map(function, sums))


def _merge_classes(sums: Sums) -> Sums:
    """Sum over the classes, with weights ``1 / true**2`` that are normalised to a sum of 1."""
    true = sums.true.to(sums.overlap)
    present = true > 0
    # Relative to the rarest class nothing overflows, and its weight is that of absent ones, too: 1.
    rarest = torch.where(present, true, torch.inf).amin(dim=1, keepdim=True) if true.shape[1] else true
    weight = torch.where(present, rarest / torch.where(present, true, 1), 1).square()
    weight = weight / weight.sum(dim=1, keepdim=True)
    return _of_each_sum(lambda each: (weight * each).sum(dim=1, keepdim=True), sums)
