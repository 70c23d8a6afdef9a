"""Open-set losses: say which known class an example is of, and say nothing loudly about the others."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import (
    check_class_logits,
    check_floating,
    check_indices,
    check_number,
    full_precision,
)


def entropic_open_set_loss(logits: Tensor, target: Tensor, *, known: Tensor | None = None) -> Tensor:
    """Cross-entropy for examples of a known class; cross-entropy to uniform, ``-mean_c log p_c``, for all others.

    The logits of classes that are not known take no part in the softmax. Where a single class is known, its
    probability would always be 1: then nothing is left out, and other examples are drawn to uniform over all classes.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class that is not known.
        target: ``[...]``, class indices of any integer type.
        known: ``[K]``, int64, the indices of the known classes; ``None`` for all, which gives cross-entropy.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError: ``logits`` are no floating-point numbers, or ``target`` or ``known`` no integers.
        ValueError: ``target`` does not have the shape of ``logits`` without its last dimension, or ``known`` is empty,
            not ``[K]``, or (on a CPU, where looking costs next to nothing) names a class twice.

    Source: Dhamija et al., "Reducing Network Agnostophobia", NeurIPS 2018, equation 1.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[4.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> entropic_open_set_loss(logits, torch.tensor([0, 2, 2]), known=torch.tensor([0, 1]))  # 2 is unknown
        tensor([0.0181, 2.0181, 0.6931])
    """
    check_class_logits(logits, target, class_dim=-1)
    _check_known(known)
    log_p = known_logits(logits, known).log_softmax(dim=-1)
    if known is None:
        return -_pick(log_p, target.long())
    is_known, place = _find(target.long(), known)
    nll = -_pick(log_p, known[place] if len(known) == 1 else place)
    return torch.where(is_known, nll, -log_p.mean(dim=-1))


def objectosphere_loss(
    logits: Tensor,
    target: Tensor,
    *,
    known: Tensor | None = None,
    xi: float = 10.0,
    zeta: float = 0.1,
    features: Tensor | None = None,
) -> Tensor:
    """Entropic open-set loss, plus ``zeta`` times a wish for the magnitude of the features.

    The wish is ``max(xi - ||F||, 0)**2`` for examples of a known class and ``||F||**2`` for all others. Its gradient
    grows with the features: in float16 ``2 zeta ||F||`` has to stay below 65,504.

    Args:
        logits, target, known: as for :func:`entropic_open_set_loss`.
        xi: the magnitude that examples of known classes should reach, >= 0.
        zeta: the weight of the wish, >= 0; 0 gives :func:`entropic_open_set_loss`.
        features: ``[..., D]``, the penultimate layer ``F`` of the paper; ``None`` takes the known classes' logits.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError, ValueError: as for :func:`entropic_open_set_loss`, or ``xi`` or ``zeta`` is no number >= 0.

    Source: Dhamija et al., "Reducing Network Agnostophobia", NeurIPS 2018, equation 2 (``xi`` and lambda, here
    ``zeta``).

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[4.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> objectosphere_loss(logits, torch.tensor([0, 2, 2]), known=torch.tensor([0, 1]), xi=5.0, zeta=0.1)
        tensor([0.1181, 3.6181, 0.6931])
    """
    check_number("xi", xi, minimum=0)
    check_number("zeta", zeta, minimum=0)
    if features is not None:
        check_floating("features", features)
    check_floating("logits", logits)
    logits = full_precision(logits)
    loss = entropic_open_set_loss(logits, target, known=known)
    size = magnitude(logits, known) if features is None else full_precision(features).norm(dim=-1)
    wish = (xi - size).clamp_min(0).square()
    if known is not None:
        is_known, _ = _find(target.long(), known)
        wish = torch.where(is_known, wish, size.square())
    return loss + zeta * wish


def _check_known(known: Tensor | None) -> None:
    if known is None:
        return
    check_indices("known", known)
    if known.ndim != 1 or not len(known):
        raise ValueError(f"known must be [K], the indices of one class or more; got the shape {tuple(known.shape)}.")
    if known.device.type == "cpu" and not torch.compiler.is_compiling() and len({*known.tolist()}) < len(known):
        raise ValueError(f"known names a class twice; got {known.tolist()}.")


def known_softmax(logits: Tensor, known: Tensor) -> Tensor:
    """Return probabilities ``[..., C]`` in which the classes that are not known have none (unless one is known).

    Examples:
        >>> import torch
        >>> known_softmax(torch.tensor([1.0, 0.0, 5.0]), known=torch.tensor([0, 1]))
        tensor([0.7311, 0.2689, 0.0000])
    """
    p = known_logits(logits, known).softmax(dim=-1)
    if len(known) == 1:
        return p
    return torch.zeros(logits.shape, dtype=p.dtype, device=p.device).index_copy(-1, known, p)


def known_score(logits: Tensor, known: Tensor) -> Tensor:
    """Return ``max_c p_c`` over the known classes: the lower, the more likely an example is of none of them.

    Where a single class is known it is the probability of that class.

    Examples:
        >>> import torch
        >>> known_score(torch.tensor([[1.0, 0.0, 5.0], [0.0, 0.0, 5.0]]), known=torch.tensor([0, 1]))
        tensor([0.7311, 0.5000])
    """
    p = known_softmax(logits, known)
    return p.index_select(-1, known).amax(dim=-1)


def magnitude(logits: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the Euclidean norm ``[...]`` of the logits that compete, without masked (``-inf``) ones."""
    z = known_logits(logits, known)
    return torch.linalg.vector_norm(z.masked_fill(z.isneginf(), 0.0), dim=-1)


def known_logits(logits: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the logits that compete, in float32 (or float64): of the known classes, or all if only one is known."""
    z = full_precision(logits)
    if known is None or len(known) == 1:
        return z
    return z.index_select(-1, known)


def known_classes(logits: Tensor, background: list[int]) -> Tensor:
    """Return the indices ``[K]`` of the classes of ``logits`` ``[..., C]`` that are not in ``background``."""
    known: list[int] = []
    for index in range(logits.shape[-1]):
        if index not in background:
            known.append(index)
    return torch.tensor(known, dtype=torch.long, device=logits.device)


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _find(target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether each target is a known class, and its place among them (0 where it is none)."""
    match = target.unsqueeze(-1) == known
    return match.any(dim=-1), match.int().argmax(dim=-1)
