"""Open-set losses: say which known class an example is of, and say nothing loudly about the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import (
    as_uint8,
    check_class_logits,
    check_floating,
    check_indices,
    check_number,
    full_precision,
    is_counted,
    is_static,
    naming_the_target,
)


def entropic_open_set_loss(
    logits: Tensor,
    target: Tensor,
    *,
    known: Tensor | None = None,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    """Cross-entropy for examples of a known class; cross-entropy to uniform, ``-mean_c log p_c``, for all others.

    The logits of classes that are not known take no part in the softmax. Where a single class is known, its
    probability would always be 1: then nothing is left out, and other examples are drawn to uniform over all classes.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class that is not known.
        target: ``[...]``, class indices of any integer type. With ``known``, any other number (-1, 255) is an unknown
            class, too.
        known: ``[K]``, int64, the indices of the known classes; ``None`` for all, which gives cross-entropy.
        ignore_index: ignored classes, whose loss and gradient are 0, whatever their logits; also numbers that are no
            class. Their logits take part in the softmax unless ``known`` leaves them out.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError: ``logits`` are no floating-point numbers, or ``target`` or ``known`` no integers.
        ValueError: ``target`` does not have the shape of ``logits`` without its last dimension, or ``known`` is empty,
            not ``[K]``, or (on a CPU, where looking costs next to nothing) names a class twice or one that the logits
            do not have.
        IndexError: without ``known``, a target that is not ignored is no class (on an accelerator an error of torch's).

    Source: Dhamija et al., "Reducing Network Agnostophobia", NeurIPS 2018, equation 1.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[4.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        >>> entropic_open_set_loss(logits, torch.tensor([0, 2, 2]), known=torch.tensor([0, 1]))  # 2 is unknown
        tensor([0.0181, 2.0181, 0.6931])
    """
    return loss_and_log_probabilities(logits, target, known, 0.0, 0.0, ignore_index)[0]


def objectosphere_loss(
    logits: Tensor,
    target: Tensor,
    *,
    known: Tensor | None = None,
    xi: float = 10.0,
    zeta: float = 0.1,
    features: Tensor | None = None,
    ignore_index: int | Sequence[int] | None = None,
) -> Tensor:
    """Entropic open-set loss, plus ``zeta`` times a wish for the magnitude of the features.

    The wish is ``max(xi - ||F||, 0)**2`` for examples of a known class and ``||F||**2`` for all others. Its gradient
    grows with the features: in float16 ``2 zeta ||F||`` has to stay below 65,504.

    Args:
        logits, target, known, ignore_index: as for :func:`entropic_open_set_loss`.
        xi: the magnitude that examples of known classes should reach, >= 0.
        zeta: the weight of the wish, >= 0; 0 gives :func:`entropic_open_set_loss`.
        features: ``[..., D]``, the penultimate layer ``F`` of the paper; ``None`` takes the known classes' logits.

    Returns:
        The unreduced loss in the shape of ``target``, float32 (float64 for float64 logits).

    Raises:
        TypeError, ValueError, IndexError: as for :func:`entropic_open_set_loss`, or ``xi`` or ``zeta`` is no number
            >= 0.

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
    if features is None:
        return loss_and_log_probabilities(logits, target, known, xi, zeta, ignore_index)[0]
    check_floating("features", features)
    # The wish has nothing to do with the logits.
    entropic = loss_and_log_probabilities(logits, target, known, xi, 0.0, ignore_index)[0]
    is_known = None if known is None else _place_among_competing(target.long(), known)[1]
    counted, features = is_counted(target, ignore_index), full_precision(features)
    if counted is None:
        return entropic + zeta * _distance_from_wish(features.norm(dim=-1), is_known, xi).square()
    size = features.masked_fill(~counted.unsqueeze(-1), 0.0).norm(dim=-1)
    return entropic + zeta * torch.where(counted, _distance_from_wish(size, is_known, xi), 0).square()


def loss_and_log_probabilities(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None,
    xi: float,
    zeta: float,
    ignore_index: int | Sequence[int] | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the loss and, without a gradient, the logarithms of the probabilities of the classes that compete, as
    :func:`known_logits` gives them, and :func:`magnitude` unless ``zeta`` is 0; neither where classes are ignored."""
    check_class_logits(logits, target, class_dim=-1)
    _check_known(known, logits.shape[-1])
    counted = is_counted(target, ignore_index)
    if counted is None:
        return _loss_and_log_probabilities(logits, target, known, xi, zeta)
    # Whatever ignored logits are: those that compete may all be masked, or no numbers.
    logits = logits.masked_fill(~counted.unsqueeze(-1), 0.0)
    loss, _, _ = _loss_and_log_probabilities(logits, torch.where(counted, target.long(), 0), known, xi, zeta)
    return torch.where(counted, loss, 0), None, None


def _loss_and_log_probabilities(
    logits: Tensor, target: Tensor, known: Tensor | None, xi: float, zeta: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    z = known_logits(logits, known)
    place, is_known = (target.long(), None) if known is None else _place_among_competing(target.long(), known)
    log_p = z.log_softmax(dim=-1)
    of_true = (log_p, -1, place.unsqueeze(-1))
    loss = -naming_the_target(torch.gather, of_true, place, logits.shape[-1]).squeeze(-1)
    if is_known is not None:
        loss = torch.where(is_known, loss, -log_p.mean(dim=-1))
    if not zeta:
        return loss, log_p.detach(), None
    size = _norm_without_masked(z)
    return torch.add(loss, _distance_from_wish(size, is_known, xi).square(), alpha=zeta), log_p.detach(), size.detach()


def _distance_from_wish(size: Tensor, is_known: Tensor | None, xi: float) -> Tensor:
    """Return how far magnitudes are from what is wished for them: at least ``xi`` for known classes, 0 for others."""
    missing = (size - xi).clamp_max(0)
    return missing if is_known is None else torch.where(is_known, missing, size)


def _check_known(known: Tensor | None, classes: int) -> None:
    if known is None:
        return
    check_indices("known", known)
    if known.ndim != 1 or not len(known):
        raise ValueError(f"known must be [K], the indices of one class or more; got the shape {tuple(known.shape)}.")
    if is_static(known):
        return
    indices = known.tolist()
    if len({*indices}) < len(indices):
        raise ValueError(f"known names a class twice; got {indices}.")
    if min(indices) < 0 or max(indices) >= classes:
        raise ValueError(f"known must have indices of the {classes} classes, numbered from 0; got {indices}.")


def known_softmax(logits: Tensor, known: Tensor) -> Tensor:
    """Return probabilities ``[..., C]`` in which the classes that are not known have none (unless one is known).

    Examples:
        >>> import torch
        >>> known_softmax(torch.tensor([1.0, 0.0, 5.0]), known=torch.tensor([0, 1]))
        tensor([0.7311, 0.2689, 0.0000])
    """
    return among_all(known_logits(logits, known).softmax(dim=-1), logits, known)


def among_all(p: Tensor, logits: Tensor, known: Tensor) -> Tensor:
    """Return the probabilities of all classes from those of the classes that compete; others have none."""
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
    return largest_known(known_logits(logits, known).softmax(dim=-1), known)


def largest_known(p: Tensor, known: Tensor) -> Tensor:
    """Return the largest probability of a known class, from those of the classes that compete."""
    return (p.index_select(-1, known) if len(known) == 1 else p).amax(dim=-1)


def magnitude(logits: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the Euclidean norm ``[...]`` of the logits that compete, without masked (``-inf``) ones."""
    return _norm_without_masked(known_logits(logits, known))


def _norm_without_masked(z: Tensor) -> Tensor:
    return torch.linalg.vector_norm(z.masked_fill(z.isneginf(), 0.0), dim=-1)


def known_logits(logits: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the logits that compete, in float32 (or float64): of the known classes, or all if only one is known."""
    z = full_precision(logits)
    if known is None or len(known) == 1:
        return z
    return z.index_select(-1, known)


def _place_among_competing(target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each target among the logits that compete (any where it is none), and whether it is known."""
    match = target.unsqueeze(-1) == known
    # A single known class competes with all others.
    place = known.view(()).expand(target.shape) if len(known) == 1 else as_uint8(match).argmax(dim=-1)
    return place, match.any(dim=-1)
