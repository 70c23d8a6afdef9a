"""Entmax, with entmax-1.5 and sparsemax: projections on the simplex with exact zeros.

They are one family: for the Tsallis entropy ``H_a(p) = (1 - sum p**a) / (a (a - 1))`` the projection is
``p* = argmax_p p^T z + H_a(p)``. ``a = 1.5`` is entmax-1.5, ``a = 2`` sparsemax (and ``a = 1`` would be softmax).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from ludwig_losses.functional._derivatives import with_escort_derivative
from ludwig_losses.functional._numerics import check_floating, check_number, is_on_accelerator

# Below this alpha nearly all classes have a probability, and the threshold is found in another way.
NEAR_1 = 1.25
# Up to this width a CPU sorts a row in less time than Newton's steps take.
_NARROW = 16


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
        return _project_rows(z, alpha, z.is_cuda)
    else:  # noqa: RET505 - what TorchScript shall not compile stands in an else
        check_floating("logits", logits)
        return with_escort_derivative(_project_rows, z, alpha, 2.0 - alpha)


def _project_rows(z: Tensor, alpha: float, static: bool) -> Tensor:
    """Return ``relu((alpha - 1) z - tau)**(1 / (alpha - 1))`` with the ``tau`` that makes each row sum to 1."""
    if alpha < 1.25:  # NEAR_1, which TorchScript does not see
        return project_near_1(z, alpha, static)
    r = 1.0 / (alpha - 1.0)
    x = (alpha - 1.0) * (z - z.amax(dim=-1, keepdim=True))
    p = (x - threshold(x, r, static)).clamp_min(0.0).pow(r)
    return p / p.sum(dim=-1, keepdim=True)


def project_near_1(z: Tensor, alpha: float, static: bool = False) -> Tensor:
    """As :func:`_project_rows`, with ``tau = (alpha - 1) s - 1`` found in units of the logits.

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

    Rows are sorted where that takes less time and ``r`` allows it. Elsewhere Newton's steps find it:
    ``f(tau) = (sum relu(x - tau)**r)**(1 / r) - 1`` is a norm of convex functions, so convex, decreasing, and nearly
    straight, and steps from the left of its root never pass it. The hardest rows of 100,000 classes that are known
    take 16.

    Args:
        static: take 20 steps, because no value may be read.
    """
    if _sorts(x, r):
        return sorted_threshold(x, r).to(x.dtype)
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


def _sorts(x: Tensor, r: float) -> bool:
    """Whether the threshold is found by sorting, which has a closed form for ``r`` 1 and 2 only."""
    if torch.jit.is_scripting():
        narrow = x.shape[-1] <= 16 and x.device.type != "mps"  # _NARROW
        return (r == 1.0 or r == 2.0) and (x.is_cuda or narrow)  # noqa: PLR1714 - for TorchScript
    else:  # noqa: RET505 - what TorchScript shall not compile stands in an else
        return r in (1.0, 2.0) and (sorts_any_width(x) if is_on_accelerator(x) else x.shape[-1] <= _NARROW)


def sorts_any_width(x: Tensor) -> bool:
    """Whether rows of any width are sorted: on an accelerator, which waits longer for the start of Newton's operators.

    The sums need float64, which Apple's GPUs do not have, and a cumulative sum, which CUDA refuses where deterministic
    algorithms are demanded.
    """
    return is_on_accelerator(x) and x.device.type != "mps" and not torch.are_deterministic_algorithms_enabled()


def sorted_threshold(x: Tensor, r: float) -> Tensor:
    """Return ``tau``, in float64, with ``sum relu(x - tau)**r = 1`` for ``r`` 1 or 2, without steps.

    Let ``tau_k`` be the threshold that the ``k`` largest numbers alone would have. Up to the support, the numbers above
    the threshold, it grows with ``k``; beyond it ``x_k`` is below the threshold already. So the threshold is the
    largest ``min(tau_k, x_k)``. For ``x = [0, -0.4, -2]`` and ``r = 1``:

    ==============================  ====  ====  ====
    k                               1     2     3
    sum of the k largest            0     -0.4  -2.4
    ``tau_k = (sum - 1) / k``       -1    -0.7  -1.13
    ==============================  ====  ====  ====

    The largest is -0.7, and ``relu(x - tau) = [0.7, 0.3, 0]`` sums to 1. (For ``r = 1`` the minimum changes nothing.)

    For ``r = 2`` the sum of ``(x_j - tau)**2`` over the ``k`` largest is a quadratic equation in ``tau``, of which the
    smaller root is taken. Beyond the support it may have none: ``fmin`` then passes over the NaN of its square root.
    Sums of squares cancel, which is why they are in float64.

    Besides the input this holds 20 bytes for each number: the sorted one and two cumulative sums.
    """
    ordered = x.sort(dim=-1, descending=True)[0]
    k = torch.arange(1, x.shape[-1] + 1, dtype=torch.float64, device=x.device)
    if r == 1.0:
        return ordered.cumsum(dim=-1, dtype=torch.float64).sub_(1.0).div_(k).amax(dim=-1, keepdim=True)
    total = ordered.cumsum(dim=-1, dtype=torch.float64)
    squares = ordered.to(torch.float64).square().cumsum_(dim=-1)
    # sqrt(k (1 - squares) + total**2), in the memory of the squares.
    root = torch.addcmul(k, k, squares, value=-1.0, out=squares).addcmul_(total, total).sqrt_()
    tau = total.sub_(root).div_(k)
    return torch.fmin(tau, ordered, out=tau).amax(dim=-1, keepdim=True)


def threshold_in_little_memory(z: Tensor, top: Tensor, r: float) -> Tensor:
    """Return ``tau`` with ``sum relu(z - top - tau)**r = r**r`` for rows ``z`` and ``r`` 1 or 2, by sorting.

    It is found as in :func:`sorted_threshold`, in three times the memory of the rows: so much does sorting take. For
    ``r = 2`` that leaves no room for sums of squares in float64. Instead the mean of the ``k`` largest is kept, and the
    sum of their squared distances from it, to which the next one adds ``(x_k - mean)**2 k / (k - 1)``. In it nothing
    cancels, and ``tau_k = mean - sqrt((r**2 - sum) / k)``.

    Args:
        z: ``[N, C]``.
        top: ``[N, 1]``, the largest of each row.

    Returns:
        ``[N, 1]``, in float64 for ``r = 1``.
    """
    x = z.sort(dim=1, descending=True)[0].sub_(top)
    if r == 1.0:
        total = x.cumsum(dim=1, dtype=torch.float64)
        del x
        return total.sub_(1).div_(_column_numbers(total)).amax(dim=1, keepdim=True)
    k = _column_numbers(x)
    mean = x.cumsum(dim=1).div_(k)
    share = k.reciprocal_()
    spread = mse_loss(x, mean, reduction="none")
    spread[:, 1:].addcmul_(spread[:, 1:], share[:-1])
    spread = spread.cumsum_(dim=1)
    root = torch.addcmul(share, share, spread, value=-1 / (r * r), out=spread).sqrt_()
    del k, share  # the one row beside the three tensors
    tau = torch.sub(mean, root, alpha=r, out=root)
    del mean
    return torch.fmin(tau, x, out=tau).amax(dim=1, keepdim=True)


def _column_numbers(x: Tensor) -> Tensor:
    """Return 1, 2, ..."""
    return torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device)
