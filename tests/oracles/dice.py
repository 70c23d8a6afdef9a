"""Soft Dice loss and its family, with a one-hot target and a loop over images, classes and pixels that count.

Milletari et al., 3DV 2016 (Dice); Salehi et al., MLMI 2017 (Tversky); Abraham & Khan, ISBI 2019 (focal Tversky);
Sudre et al., DLMIA 2017 (generalized).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Tensor | None = None,
    focal_tversky_gamma: float = 1.0,
    log_dice: bool = False,
    **options: Any,
) -> Tensor:
    losses = []
    for scores in dice_scores(logits, target, **options):
        each = [_shaped(*score, focal_tversky_gamma, log_dice) for score in scores]
        weights = [1.0] * len(each)
        if class_weights is not None:
            weights = class_weights[_classes(logits.shape[1], **options)].tolist()
        total = sum(weights) or 1.0  # no class counts: nothing to lose
        losses.append(sum(w * loss for w, loss in zip(weights, each, strict=True)) / total)
    return torch.stack(losses).mean() if losses else 0 * logits.nan_to_num(0, 0, 0).sum()


def dice_scores(
    logits: Tensor,
    target: Tensor,
    *,
    smooth: float = 1.0,
    squared_denominator: bool = False,
    include_background: bool = True,
    per_image: bool = True,
    ignore_index: int | list[int] | None = None,
    jaccard: bool = False,
    tversky_alpha: float = 0.5,
    tversky_beta: float = 0.5,
    generalized: bool = False,
) -> list[list[tuple[Tensor, Tensor]]]:
    """Numerator of the score and what the denominator has besides, the mistakes: for each image with something left in
    it, and in that for each class that counts."""
    alpha, beta = (1.0, 1.0) if jaccard else (tversky_alpha, tversky_beta)
    # Pixels as rows [N, C], for each image or for all of them.
    pixels = [(z.flatten(1).T, y.flatten()) for z, y in zip(logits, target, strict=True)]
    if not per_image:
        pixels = [tuple(torch.cat(parts) for parts in zip(*pixels, strict=True))]

    images = []
    for z, y in pixels:
        kept = torch.tensor([label not in _ignored(ignore_index) for label in y.tolist()])
        if not kept.any():
            continue
        p = z[kept].softmax(dim=1)
        sums = [
            _sums(p, c, (y[kept] == c).to(p), squared_denominator)
            for c in _classes(logits.shape[1], include_background=include_background, ignore_index=ignore_index)
        ]
        if generalized:
            sums = [_weighted_by_size(sums)]
        images.append([(2 * i + smooth, 2 * alpha * fp + 2 * beta * fn) for i, fp, fn, _ in sums])
    return images


def _ignored(ignore_index: int | list[int] | None) -> list[int]:
    return [ignore_index] if isinstance(ignore_index, int) else ignore_index or []


def _classes(
    count: int, include_background: bool = True, ignore_index: int | list[int] | None = None, **_
) -> list[int]:
    return [c for c in range(count) if c not in _ignored(ignore_index) and (c > 0 or include_background)]


def _sums(p: Tensor, c: int, g: Tensor, squared: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Overlap, what is falsely positive and falsely negative, and true mass. With squares ``sum(p**2 - p g)`` and
    ``sum(g - p g)`` have equal weights, and together they are ``sum((p - g)**2)``."""
    others = torch.cat([p[:, :c], p[:, c + 1 :]], dim=1).sum(dim=1)  # 1 - p, with all its digits
    power = 2 if squared else 1
    return (p[:, c] * g).sum(), (p[:, c] ** power * (1 - g)).sum(), (others**power * g).sum(), g.sum()


def _weighted_by_size(sums: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Each kind of sum over the classes, each class with one over its squared size."""
    sizes = [g.item() for *_, g in sums if g > 0] or [1.0]
    weights = [1 / g.item() ** 2 if g > 0 else 1 / min(sizes) ** 2 for *_, g in sums]
    return tuple(
        sum(w * s for w, s in zip(weights, kind, strict=True)) / sum(weights) for kind in zip(*sums, strict=True)
    )


def _shaped(numerator: Tensor, mistakes: Tensor, gamma: float, log: bool) -> Tensor:
    denominator = numerator + mistakes
    if denominator == 0:  # neither predicted nor present, and no smoothing: nothing to lose
        return 0 * denominator
    if log:
        # What float32 can hold: an overlap of nothing at all costs no more than one of 1e-30.
        return denominator.clamp_min(1e-30).log() - numerator.clamp_min(1e-30).log()
    miss = mistakes / denominator
    return miss if gamma == 1 else miss ** (1 / gamma)
