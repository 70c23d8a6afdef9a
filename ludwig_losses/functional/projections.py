"""Entmax, with entmax-1.5 and sparsemax: projections on the simplex with exact zeros.

They are one family: for the Tsallis entropy ``H_a(p) = (1 - sum p**a) / (a (a - 1))`` the projection is
``p* = argmax_p p^T z + H_a(p)``. ``a = 1.5`` is entmax-1.5, ``a = 2`` sparsemax (and ``a = 1`` would be softmax).
"""

from __future__ import annotations

import torch
from torch import Tensor

# Below this alpha nearly all classes have a probability, and the threshold is found in another way.
NEAR_1 = 1.25


def entmax15(logits: Tensor) -> Tensor:
    """Project logits ``[..., C]`` on the simplex with entmax-1.5: ``relu(z / 2 - tau)**2``, most entries exactly 0.

    Returns:
        Probabilities in the shape of ``logits``, float32 (float64 for float64 logits), differentiable once. Train
        with :func:`entmax15_loss`, whose gradient needs no derivative of the projection.

    Source: Peters et al., "Sparse Sequence-to-Sequence Models", ACL 2019.
    """
    return _project(logits, 1.5)


def sparsemax(logits: Tensor) -> Tensor:
    """Project logits ``[..., C]`` on the simplex with sparsemax: ``relu(z - tau)``, the nearest point in it.

    Returns:
        Probabilities in the shape of ``logits``, float32 (float64 for float64 logits), differentiable once. Train
        with :func:`sparsemax_loss`, whose gradient needs no derivative of the projection.

    Source: Martins & Astudillo, "From Softmax to Sparsemax", ICML 2016.
    """
    return _project(logits, 2.0)


def entmax(logits: Tensor, alpha: float = 1.5) -> Tensor:
    """Project logits ``[..., C]`` on the simplex with alpha-entmax: ``relu((alpha - 1) z - tau)**(1 / (alpha - 1))``.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class.
        alpha: in (1, 2]; the larger, the sparser. 1.5 is :func:`entmax15`, 2 :func:`sparsemax`; towards 1 it becomes
            softmax, and the classes with a probability of 0 are those more than ``1 / (alpha - 1)`` below.

    Returns:
        Probabilities in the shape of ``logits``, float32 (float64 for float64 logits), differentiable once. Train
        with :func:`entmax_loss`, whose gradient needs no derivative of the projection.

    Raises:
        ValueError: ``alpha`` is not in (1, 2].

    Source: Peters et al., "Sparse Sequence-to-Sequence Models", ACL 2019.
    """
    check_alpha(alpha)
    return project(logits, alpha)


def check_alpha(alpha: float) -> None:
    if not 1 < alpha <= 2:
        raise ValueError(f"alpha must be in (1, 2]; got {alpha}.")


def project(logits: Tensor, alpha: float) -> Tensor:
    """Return :func:`entmax` with an ``alpha`` that is known to be right; TorchScript can compile it."""
    # NEAR_1, which TorchScript does not see
    return _project(logits, alpha) if alpha >= 1.25 else project_near_1(logits, alpha)


def project_near_1(logits: Tensor, alpha: float) -> Tensor:
    """As :func:`_project`, with ``tau = (alpha - 1) s - 1`` found in units of the logits.

    Near ``alpha`` 1 the power is large and its base close to 1, where ``s`` keeps the digits that ``tau`` loses. Where
    the base is close to 0 it is the other way round.

    ``S(s) = sum [1 - (alpha - 1) (s - z)]_+ ** (1 / (alpha - 1))`` has to be 1. ``S**(alpha - 1)`` is a norm of a
    convex function, so convex, and decreasing; nearly straight, too: Newton's steps from the left never pass the
    root, and there are about 8 at most.
    """
    z = logits if logits.dtype == torch.float64 else logits.float()
    attached = z - z.detach().amax(dim=-1, keepdim=True)
    x = attached.detach()
    shift = torch.zeros_like(x[..., :1])
    tolerance = 1e-14 if x.dtype == torch.float64 else 1e-6
    steps = 0
    searching = x.numel() > 0
    while searching and steps < 64:
        p = _tsallis_exp(x - shift, alpha)
        total = p.sum(dim=-1, keepdim=True)
        slope = (alpha - 1.0) * p.pow(2.0 - alpha).sum(dim=-1, keepdim=True)
        step = total.pow(2.0 - alpha) * ((alpha - 1.0) * total.log()).expm1() / slope
        shift = shift + step.clamp_min(0.0)
        searching = bool((step > tolerance * (1.0 + shift)).any())
        steps += 1
    # One more step with the logits attached: its derivative is that of the implicit function s(z).
    p = _tsallis_exp(attached - shift, alpha)
    shift = shift + (p.sum(dim=-1, keepdim=True) - 1.0) / p.detach().pow(2.0 - alpha).sum(dim=-1, keepdim=True)
    p = _tsallis_exp(attached - shift, alpha)
    return p / p.sum(dim=-1, keepdim=True)


def _tsallis_exp(x: Tensor, alpha: float) -> Tensor:
    """``[1 + (alpha - 1) x]_+ ** (1 / (alpha - 1))``, which becomes ``exp(x)`` as ``alpha`` becomes 1."""
    scaled = (alpha - 1.0) * x
    outside = scaled <= -1.0
    return (scaled.masked_fill(outside, 0.0).log1p() / (alpha - 1.0)).exp().masked_fill(outside, 0.0)


def _project(logits: Tensor, alpha: float) -> Tensor:
    """Return ``relu((alpha - 1) z - tau)**(1 / (alpha - 1))`` with the ``tau`` that makes each row sum to 1.

    ``f(tau) = sum relu(x - tau)**r - 1`` is convex and decreasing, so Newton's steps from the left of its root never
    pass it; each shrinks ``f |f'|`` at least fourfold. TorchScript compiles this function into exported models.
    """
    r = 1.0 / (alpha - 1.0)
    z = logits if logits.dtype == torch.float64 else logits.float()
    attached = (alpha - 1.0) * (z - z.detach().amax(dim=-1, keepdim=True))
    tau, slope = threshold(attached.detach(), r)
    # One more step with the logits attached: its derivative is that of the implicit function tau(z).
    tau = tau + ((attached - tau).clamp_min(0.0).pow(r).sum(dim=-1, keepdim=True) - 1.0) / slope
    p = (attached - tau).clamp_min(0.0).pow(r)
    return p / p.sum(dim=-1, keepdim=True)


def threshold(x: Tensor, r: float) -> tuple[Tensor, Tensor]:
    """Return ``tau`` and ``-f'(tau)`` for rows ``x <= 0``; where ``f(-1) < 0``, -1 (without those that it misses)."""
    tolerance = 1e-15 if x.dtype == torch.float64 else 4e-7
    tau = torch.full_like(x[..., :1], -1.0)
    slope = torch.ones_like(tau)
    excess = torch.empty_like(x)
    steps = 0
    searching = True
    while searching and steps < 64:
        torch.sub(x, tau, out=excess).clamp_min_(0.0)
        if r == 1.0:
            above = excess.sum(dim=-1, keepdim=True)
            slope = excess.sign_().sum(dim=-1, keepdim=True)
        elif r == 2.0:
            slope = 2.0 * excess.sum(dim=-1, keepdim=True)
            above = excess.square_().sum(dim=-1, keepdim=True)
        else:
            power = excess.pow(r - 1.0)
            slope = r * power.sum(dim=-1, keepdim=True)
            above = excess.mul_(power).sum(dim=-1, keepdim=True)
        step = (above - 1.0) / slope
        tau = tau + step.clamp_min(0.0)
        steps += 1
        # It has rarely converged before, so only then it is worth to look.
        searching = steps < 4 or bool((step > tolerance).any())
    return tau, slope
