"""Entmax, with entmax-1.5 and sparsemax: projections on the simplex with exact zeros.

They are one family: for the Tsallis entropy ``H_a(p) = (1 - sum p**a) / (a (a - 1))`` the projection is
``p* = argmax_p p^T z + H_a(p)``. ``a = 1.5`` is entmax-1.5, ``a = 2`` sparsemax (and ``a = 1`` would be softmax).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._derivatives import with_escort_derivative
from ludwig_losses.functional._numerics import check_floating, check_number

# Below this alpha nearly all classes have a probability, and the threshold is found in another way.
NEAR_1 = 1.25


def entmax15(logits: Tensor) -> Tensor:
    """Project logits ``[..., C]`` on the simplex with entmax-1.5: ``relu(z / 2 - tau)**2``, most entries exactly 0.

    Returns:
        Probabilities in the shape of ``logits``, float32 (float64 for float64 logits), differentiable any
        number of times. Train with :func:`entmax15_loss`, whose gradient needs no derivative of the projection.

    Source: Peters et al., "Sparse Sequence-to-Sequence Models", ACL 2019.

    Examples:
        >>> import torch
        >>> entmax15(torch.tensor([2.0, 1.0, -1.0]))
        tensor([0.8307, 0.1693, 0.0000])
    """
    return project(logits, 1.5)


def sparsemax(logits: Tensor) -> Tensor:
    """Project logits ``[..., C]`` on the simplex with sparsemax: ``relu(z - tau)``, the nearest point in it.

    Returns:
        Probabilities in the shape of ``logits``, float32 (float64 for float64 logits), differentiable any
        number of times. Train with :func:`sparsemax_loss`, whose gradient needs no derivative of the projection.

    Source: Martins & Astudillo, "From Softmax to Sparsemax", ICML 2016.

    Examples:
        >>> import torch
        >>> sparsemax(torch.tensor([1.5, 1.0, -1.0]))
        tensor([0.7500, 0.2500, 0.0000])
    """
    return project(logits, 2.0)


def entmax(logits: Tensor, alpha: float = 1.5) -> Tensor:
    """Project logits ``[..., C]`` on the simplex with alpha-entmax: ``relu((alpha - 1) z - tau)**(1 / (alpha - 1))``.

    Args:
        logits: ``[..., C]``; ``-inf`` masks a class.
        alpha: in (1, 2]; the larger, the sparser. 1.5 is :func:`entmax15`, 2 :func:`sparsemax`; towards 1 it becomes
            softmax, and the classes with a probability of 0 are those more than ``1 / (alpha - 1)`` below.

    Returns:
        Probabilities in the shape of ``logits``, float32 (float64 for float64 logits), differentiable any
        number of times. Train with :func:`entmax_loss`, whose gradient needs no derivative of the projection.

    Raises:
        TypeError: ``logits`` are no floating-point numbers, or ``alpha`` is no number.
        ValueError: ``alpha`` is not in (1, 2].

    Source: Peters et al., "Sparse Sequence-to-Sequence Models", ACL 2019.

    Examples:
        >>> import torch
        >>> entmax(torch.tensor([2.0, 1.0, -1.0]), alpha=1.2)
        tensor([0.7622, 0.2328, 0.0050])
    """
    check_alpha(alpha)
    return project(logits, alpha)


def check_alpha(alpha: float) -> None:
    """Raise unless ``alpha`` is a number in (1, 2]."""
    check_number("alpha", alpha, above=1, maximum=2)


def project(logits: Tensor, alpha: float) -> Tensor:
    """Return :func:`entmax` with an ``alpha`` that is known to be right; TorchScript can compile it."""
    z = logits if logits.dtype == torch.float64 else logits.float()
    if torch.jit.is_scripting():
        return _search(z, alpha, z.is_cuda)
    else:  # noqa: RET505 - what TorchScript shall not compile stands in an else
        check_floating("logits", logits)
        return with_escort_derivative(_search, z, alpha, 2.0 - alpha)


def _search(z: Tensor, alpha: float, static: bool) -> Tensor:
    """Return ``relu((alpha - 1) z - tau)**(1 / (alpha - 1))`` with the ``tau`` that makes each row sum to 1."""
    if alpha < 1.25:  # NEAR_1, which TorchScript does not see
        return project_near_1(z, alpha, static)
    r = 1.0 / (alpha - 1.0)
    x = (alpha - 1.0) * (z - z.amax(dim=-1, keepdim=True))
    p = (x - threshold(x, r, static)).clamp_min(0.0).pow(r)
    return p / p.sum(dim=-1, keepdim=True)


def project_near_1(z: Tensor, alpha: float, static: bool = False) -> Tensor:
    """As :func:`_search`, with ``tau = (alpha - 1) s - 1`` found in units of the logits.

    Near ``alpha`` 1 the power is large and its base close to 1, where ``s`` keeps the digits that ``tau`` loses. Where
    the base is close to 0 it is the other way round.

    ``S(s) = sum [1 - (alpha - 1) (s - z)]_+ ** (1 / (alpha - 1))`` has to be 1. ``S**(alpha - 1)`` is a norm of a
    convex function, so convex, and decreasing; nearly straight, too: Newton's steps from the left never pass the
    root, and there are about 8 at most.
    """
    x = z - z.amax(dim=-1, keepdim=True)
    shift = torch.zeros_like(x[..., :1])
    tolerance = 1e-14 if x.dtype == torch.float64 else 1e-6
    steps = 0
    searching = True
    while searching:
        p = _tsallis_exp(x - shift, alpha)
        total = p.sum(dim=-1, keepdim=True)
        slope = (alpha - 1.0) * p.pow(2.0 - alpha).sum(dim=-1, keepdim=True)
        step = total.pow(2.0 - alpha) * ((alpha - 1.0) * total.log()).expm1() / slope
        shift = shift + step.clamp_min(0.0)
        steps += 1
        searching = steps < 12 if static else steps < 64 and bool((step > tolerance * (1.0 + shift)).any())
    p = _tsallis_exp(x - shift, alpha)
    return p / p.sum(dim=-1, keepdim=True)


def _tsallis_exp(x: Tensor, alpha: float) -> Tensor:
    """``[1 + (alpha - 1) x]_+ ** (1 / (alpha - 1))``, which becomes ``exp(x)`` as ``alpha`` becomes 1."""
    scaled = (alpha - 1.0) * x
    outside = scaled <= -1.0
    return (scaled.masked_fill(outside, 0.0).log1p() / (alpha - 1.0)).exp().masked_fill(outside, 0.0)


def threshold(x: Tensor, r: float, static: bool = False) -> Tensor:
    """Return ``tau`` with ``sum relu(x - tau)**r = 1`` for rows ``x <= 0``; -1 where nothing less is enough.

    ``f(tau) = (sum relu(x - tau)**r)**(1 / r) - 1`` is a norm of convex functions, so convex, decreasing, and nearly
    straight: Newton's steps from the left of its root never pass it. The hardest rows of 100,000 classes that are known
    take 16.

    Args:
        static: take 20 steps, whatever the numbers are: nobody may look at them.
    """
    narrow = x.shape[-1] <= (4096 if x.is_cuda else 16)  # a GPU sorts many numbers in less time than it takes 20 steps
    if narrow and (r == 1.0 or r == 2.0) and x.device.type != "mps":  # noqa: PLR1714 - for TorchScript
        return _sorted_threshold(x, r)
    tolerance = 1e-15 if x.dtype == torch.float64 else 4e-7
    tau = torch.full_like(x[..., :1], -1.0)
    excess = torch.empty_like(x)
    steps = 0
    searching = True
    while searching:
        torch.sub(x, tau, out=excess).clamp_min_(0.0)
        if r == 1.0:
            total = excess.sum(dim=-1, keepdim=True)
            step = (total - 1.0) / excess.sign_().sum(dim=-1, keepdim=True)
        elif r == 2.0:
            slope = excess.sum(dim=-1, keepdim=True)
            total = excess.square_().sum(dim=-1, keepdim=True)
            step = (total - total.sqrt()) / slope
        else:
            power = excess.pow(r - 1.0)
            slope = power.sum(dim=-1, keepdim=True)
            total = excess.mul_(power).sum(dim=-1, keepdim=True)
            step = (total - total.pow(1.0 - 1.0 / r)) / slope
        tau = tau + step.clamp_min(0.0)
        steps += 1
        # It has rarely converged before four steps, so only then it is worth to look.
        searching = steps < 20 if static else steps < 4 or (steps < 64 and bool((step > tolerance).any()))
    return tau


def _sorted_threshold(x: Tensor, r: float) -> Tensor:
    """The same for ``r`` 1 or 2, without steps: few numbers are sorted in less time than Newton takes.

    With ``tau_k`` the root for the ``k`` largest numbers alone, it is the largest ``min(tau_k, x_k)``: up to the
    support ``tau_k`` grows, and beyond it ``x_k`` is below the root. The differences need float64.
    """
    ordered = x.double().clamp_min(-2.0).sort(dim=-1, descending=True)[0]
    share = 1.0 / torch.arange(1, x.shape[-1] + 1, dtype=torch.float64, device=x.device)
    mean = ordered.cumsum(dim=-1) * share
    if r == 1.0:
        return (mean - share).amax(dim=-1, keepdim=True).to(x.dtype)
    squares = (ordered * ordered).cumsum(dim=-1)
    below = torch.addcmul(torch.addcmul(share, squares, share, value=-1), mean, mean).clamp_min(0.0).sqrt()
    return torch.minimum(mean - below, ordered).amax(dim=-1, keepdim=True).to(x.dtype)
