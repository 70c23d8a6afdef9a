"""One-class losses: learn what is normal, from examples of it and the few anomalies that are known, if any."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ludwig_losses.functional._numerics import (
    check_floating,
    check_number,
    check_whole_numbers,
    full_precision,
    unit_rows,
)

_LOWEST = -sys.float_info.max


def squared_distance(hidden: Tensor, center: Tensor) -> Tensor:
    """Return ``||z - c||**2`` of each row, the anomaly score of Deep SVDD and Deep SAD.

    Its gradient, ``2 (z - c)``, has to fit the type of ``hidden``: in float16 differences up to 32,752.

    Args:
        hidden: ``[B, D]``, the embeddings ``z``.
        center: ``[D]``, the centre ``c``; no gradient flows into it.

    Returns:
        ``[B]``, float32 (float64 for float64 embeddings).

    Raises:
        TypeError: ``hidden`` is not floating point.
        ValueError: the shapes are others.

    Examples:
        >>> import torch
        >>> squared_distance(torch.tensor([[1.0, 2.0], [0.0, 0.5]]), torch.tensor([0.0, 0.5]))
        tensor([3.2500, 0.0000])
    """
    if hidden.dim() != 2 or hidden.shape[1:] != center.shape:
        raise ValueError(
            f"hidden must be [B, D] and center [D]; got hidden {tuple(hidden.shape)} and center {tuple(center.shape)}."
        )
    check_floating("hidden", hidden)
    hidden = full_precision(hidden)
    return (hidden - center.detach().to(hidden)).square().sum(dim=1)


def initial_center(mean: Tensor, *, margin: float = 0.1) -> Tensor:
    """Return the centre for embeddings with this mean: coordinates nearer to 0 than ``margin`` move to ``+-margin``.

    A network whose weights are all 0 reaches a centre of 0, where every distance is 0 and nothing is learned. A
    coordinate of exactly 0, as units that are off for every row have, moves to ``+margin``; the authors' code keeps it.

    Args:
        mean: ``[D]``, the mean of the embeddings of the untrained network.
        margin: >= 0.

    Raises:
        TypeError: ``mean`` is not floating point.
        ValueError: ``margin`` is negative.

    Source: Ruff et al., "Deep One-Class Classification", ICML 2018, section 3.3 and the authors' code.

    Examples:
        >>> import torch
        >>> initial_center(torch.tensor([0.7, -0.02, 0.0]))
        tensor([ 0.7000, -0.1000,  0.1000])
    """
    check_number("margin", margin, minimum=0)
    check_floating("mean", mean)
    return torch.where(mean.abs() < margin, torch.where(mean < 0, -1, 1).to(mean) * margin, mean)


def deep_svdd_loss(
    distance: Tensor, *, nu: float = 0.1, radius2: float | Tensor | None = None, cutoff: float | Tensor | None = None
) -> Tensor:
    """Deep SVDD: ``R2 + max(d - R2, 0) / nu`` with a soft boundary, ``d`` with a hard one.

    Args:
        distance: ``[B]``, the squared distances ``d`` to the centre.
        nu: the share of the training rows that may lie outside of the sphere, in [0, 1]; 0 is the hard boundary.
        radius2: the squared radius ``R2`` of the soft boundary, the ``1 - nu`` quantile of the training distances, as a
            number or a 0-dimensional tensor; no gradient flows into it.
        cutoff: the largest ``d`` that counts, >= 0: a row beyond it has the loss of the cutoff, and no gradient, so
            that anomalies among the training rows are not pulled in. Usually a quantile of the training distances; one
            number or ``[B]``, infinite for a row that is known to be normal. ``None``, or NaN in a tensor: all count.

    Returns:
        The unreduced loss ``[B]``, float32 (float64 for float64 distances).

    Raises:
        TypeError: ``distance`` is not floating point, or an option is no number.
        ValueError: ``distance`` is not ``[B]``, ``nu`` is not in [0, 1], ``nu`` is above 0 and ``radius2`` is
            ``None``, negative or more than one number, or ``cutoff`` is a negative number or not ``[B]``.

    Source: Ruff et al., "Deep One-Class Classification", ICML 2018, equations 3 (soft) and 4 (hard). ``cutoff``: with
    the ``1 - a`` quantile the sum is, but for a constant, that over all but the share ``a`` of the farthest rows, which
    Qiu et al., "Latent Outlier Exposure for Anomaly Detection with Contaminated Data", ICML 2022, call refinement.

    Examples:
        >>> import torch
        >>> deep_svdd_loss(torch.tensor([0.5, 2.0]), nu=0.1, radius2=1.0)
        tensor([ 1., 11.])
        >>> deep_svdd_loss(torch.tensor([0.5, 2.0]), nu=0.0)
        tensor([0.5000, 2.0000])
        >>> deep_svdd_loss(torch.tensor([0.5, 2.0, 70.0]), nu=0.0, cutoff=4.0)
        tensor([0.5000, 2.0000, 4.0000])
    """
    _check_rows("distance", distance)
    check_number("nu", nu, minimum=0, maximum=1)
    distance = _cut_off(cutoff, full_precision(distance))
    if nu == 0:
        return distance
    radius2 = _squared_radius(radius2, distance)
    return radius2 + F.relu(distance - radius2) / nu


def deep_sad_loss(
    distance: Tensor,
    target: Tensor,
    *,
    eta: float = 1.0,
    eps: float = 1e-6,
    cutoff: float | Tensor | None = None,
) -> Tensor:
    """Deep SAD: unlabelled rows ``d``, normal ones ``eta (d + eps)``, anomalies ``eta / (d + eps)``.

    The gradient by the distance of an anomaly, ``-eta / (d + eps)**2``, has to fit the type of ``distance``, which
    :func:`squared_distance` gives in float32.

    Args:
        distance: ``[B]``, the squared distances ``d`` to the centre.
        target: ``[B]``, 0 for normal rows, 1 for anomalies and -1 (or any other whole number, or NaN) for rows without
            a label; bool or of any real number type.
        eta: the weight of labelled rows against those without a label, > 0.
        eps: > 0, bounds the loss of an anomaly in the centre.
        cutoff: the largest ``d`` of a row without a label that counts, see :func:`deep_svdd_loss`.

    Returns:
        The unreduced loss ``[B]``, float32 (float64 for float64 distances).

    Raises:
        TypeError: ``distance`` is not floating point, or an option is no number.
        ValueError: ``distance`` and ``target`` are not both ``[B]``, ``eta`` or ``eps`` is not above 0, ``cutoff`` is a
            negative number or not ``[B]``, or (on a CPU) a floating-point target is neither a whole number nor NaN.

    Source: Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, equation 7. The labels are Ludwig's: the
    paper writes +1 for normal, -1 for anomalous, and the authors' code 0 for unlabelled. ``eps`` is the code's, which
    adds it for both labels.

    Examples:
        >>> import torch
        >>> deep_sad_loss(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([-1, 0, 1]), eta=2.0)
        tensor([0.5000, 1.0000, 4.0000])
    """
    _check_rows("distance", distance, "target", target)
    check_whole_numbers("target", target, missing=True)
    check_number("eta", eta, above=0)
    check_number("eps", eps, above=0)
    distance, anomalous = full_precision(distance), target == 1
    shifted = distance + eps
    # Rows that are no anomalies divide by 1: their gradient here is 0 times that of the quotient, which must be finite.
    attraction = torch.where(target == 0, eta * shifted, _cut_off(cutoff, distance))
    return torch.where(anomalous, eta / torch.where(anomalous, shifted, 1), attraction)


def drocc_loss(
    score: Tensor, adversarial_score: Tensor, *, mu: float = 1.0, cutoff: float | Tensor | None = None
) -> Tensor:
    """DROCC: ``log(1 + exp(-f(x))) + mu log(1 + exp(f(x + h)))``, a normal row is to score high and its adversary low.

    Args:
        score: ``[B]``, the scores ``f(x)`` of normal rows: the higher, the more normal.
        adversarial_score: ``[B]``, the scores ``f(x + h)``, with ``h`` from :func:`drocc_adversary`.
        mu: the weight of the adversaries, >= 0.
        cutoff: rows that score lower, the least normal ones, are taken for anomalies: their loss is
            ``log(1 + exp(f(x)))``, without an adversary. One number or ``[B]``. ``None``, or NaN in a tensor: none is.

    Returns:
        The unreduced loss ``[B]``, float32 (float64 for float64 scores).

    Raises:
        TypeError: the scores are not floating point, or an option is no number.
        ValueError: the scores are not both ``[B]``, ``mu`` is negative, or ``cutoff`` is not ``[B]``.

    Source: Goyal et al., "DROCC: Deep Robust One-Class Classification", ICML 2020, equation 2 (without weight decay);
    ``cutoff`` is the hard version (equation 4) of Qiu et al., "Latent Outlier Exposure for Anomaly Detection with
    Contaminated Data", ICML 2022.

    Examples:
        >>> import torch
        >>> drocc_loss(torch.tensor([3.0, 0.0]), torch.tensor([-3.0, 2.0]))
        tensor([0.0972, 2.8201])
    """
    _check_rows("score", score, "adversarial_score", adversarial_score)
    check_number("mu", mu, minimum=0)
    score, adversarial_score = full_precision(score), full_precision(adversarial_score)
    # Not softplus, which is linear from 20 on.
    loss = -F.logsigmoid(score) - mu * F.logsigmoid(-adversarial_score)
    if cutoff is None:
        return loss
    return torch.where(score < _cutoff_of_rows(cutoff, score), -F.logsigmoid(-score), loss)


def drocc_adversary(
    score_fn: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    radius: float,
    gamma: float = 2.0,
    num_steps: int = 5,
    step_size: float = 0.1,
    start: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return for each normal row ``x`` a perturbation ``h`` with which it still looks normal, though it is far away.

    From a random start, each step goes up the gradient of the score by ``step_size`` and back to ``radius <= ||h|| <=
    gamma * radius``. The paper climbs the logistic loss ``log(1 + exp(f(x + h)))``; where that does not underflow, its
    direction is that of the score. Every step is one forward and one backward pass of ``score_fn``; nothing is added
    to the gradients of its parameters.

    Args:
        score_fn: from ``[B, ...]`` to ``[B]``, the higher, the more normal.
        x: ``[B, ...]``, normal rows, floating point.
        radius: the distance from a normal row at which anomalies begin, > 0.
        gamma: how many times as far away they are looked for, >= 1.
        num_steps: >= 0.
        step_size: >= 0.
        start: ``[B, ...]``, the first perturbation; by default drawn from a standard normal distribution.
        generator: the source of that.

    Returns:
        ``[B, ...]`` without a gradient, float32 (float64 for a float64 ``x``). A start of zeros without a gradient has
        no direction and stays 0; random ones are not 0.

    Raises:
        TypeError: ``x`` is not floating point, or an option is no number.
        ValueError: an option is out of its range, ``x`` has no dimension but the first, or the shape of ``start`` or of
            the scores does not fit ``x``.

    Source: Goyal et al., "DROCC: Deep Robust One-Class Classification", ICML 2020, algorithm 1. The authors' code
    projects in every tenth step only.

    Examples:
        >>> import torch
        >>> x = torch.zeros(1, 2)
        >>> h = drocc_adversary(lambda rows: rows[:, 0], x, radius=1.0, start=torch.ones(1, 2))
        >>> h  # up the score from its start
        tensor([[1.5000, 1.0000]])
    """
    _check_adversary(x, start, radius=radius, gamma=gamma, num_steps=num_steps, step_size=step_size)
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(False):  # tensors made in it have no gradient
            x, start = x.clone(), start if start is None else start.clone()
            return drocc_adversary(
                score_fn,
                x,
                radius=radius,
                gamma=gamma,
                num_steps=num_steps,
                step_size=step_size,
                start=start,
                generator=generator,
            )
    x = x.detach()
    if start is None:
        start = torch.randn(x.shape, generator=generator, dtype=full_precision(x).dtype, device=x.device)
    h = _to_shell(full_precision(start.detach()), radius, gamma)
    for _ in range(num_steps):
        h = _to_shell(h + step_size * _score_direction(score_fn, x, h), radius, gamma)
    return h


def _score_direction(score_fn: Callable[[Tensor], Tensor], x: Tensor, h: Tensor) -> Tensor:
    """Return the gradient of the scores at ``x + h``, each row with length 1."""
    with torch.enable_grad():
        h = h.detach().requires_grad_()
        score = score_fn((x + h).to(x.dtype))
        if score.shape != x.shape[:1]:
            raise ValueError(
                f"score_fn must return [B] for x [B, ...]; got {tuple(score.shape)} for x {tuple(x.shape)}."
            )
        (gradient,) = torch.autograd.grad(score.sum(), h)
    return unit_rows(gradient.flatten(1), zero_norm=0.0)[0].reshape(h.shape)


def _to_shell(h: Tensor, radius: float, gamma: float) -> Tensor:
    """Change the length of each row as little as needed for ``radius <= ||h|| <= gamma * radius``; rows of 0 stay 0."""
    unit, length = unit_rows(h.flatten(1), zero_norm=0.0)
    return (unit * length.clamp(radius, gamma * radius)).to(h.dtype).reshape(h.shape)


def _squared_radius(radius2: float | Tensor | None, distance: Tensor) -> Tensor | float:
    if isinstance(radius2, Tensor):
        if radius2.dim():
            raise ValueError(f"radius2 must be one number; got a tensor of shape {tuple(radius2.shape)}.")
        return radius2.detach().to(distance)
    if radius2 is None:
        raise ValueError("radius2, the squared radius, is missing: only with nu: 0 there is none.")
    check_number("radius2", radius2, minimum=0)
    return radius2


def _cut_off(cutoff: float | Tensor | None, distance: Tensor) -> Tensor:
    """Return the distances, those above the cutoff replaced by it."""
    if cutoff is None:
        return distance
    if not isinstance(cutoff, Tensor) and cutoff != math.inf:
        check_number("cutoff", cutoff, minimum=0)
    cutoff = _cutoff_of_rows(cutoff, distance)
    return torch.where(distance > cutoff, cutoff, distance)


def _cutoff_of_rows(cutoff: float | Tensor, rows: Tensor) -> Tensor:
    """Return the cutoff as a tensor in the type of the rows, one number or one for each row."""
    if not isinstance(cutoff, Tensor):
        if cutoff not in (-math.inf, math.inf):
            check_number("cutoff", cutoff, minimum=_LOWEST)
        return rows.new_full((), cutoff)
    if cutoff.dim() and cutoff.shape != rows.shape:
        raise ValueError(f"cutoff must be one number or {tuple(rows.shape)}; got a tensor of {tuple(cutoff.shape)}.")
    return cutoff.detach().to(rows)


def _check_rows(name: str, rows: Tensor, other_name: str = "", other: Tensor | None = None) -> None:
    check_floating(name, rows)
    if rows.dim() != 1:
        raise ValueError(f"{name} must be [B]; got {name} {tuple(rows.shape)}" + _and_shape(other_name, other))
    if other is not None and other.shape != rows.shape:
        raise ValueError(
            f"{other_name} must have the shape of {name}; got {name} {tuple(rows.shape)}"
            + _and_shape(other_name, other)
        )


def _and_shape(name: str, other: Tensor | None) -> str:
    return "." if other is None else f" and {name} {tuple(other.shape)}."


def _check_adversary(
    x: Tensor, start: Tensor | None, *, radius: float, gamma: float, num_steps: int, step_size: float
) -> None:
    check_floating("x", x)
    if x.dim() < 2:
        raise ValueError(f"x must be [B, ...] with something to perturb in each row; got x {tuple(x.shape)}.")
    if start is not None and start.shape != x.shape:
        raise ValueError(f"start must have the shape of x; got start {tuple(start.shape)} and x {tuple(x.shape)}.")
    check_number("radius", radius, above=0)
    check_number("gamma", gamma, minimum=1)
    check_number("num_steps", num_steps, minimum=0)
    check_number("step_size", step_size, minimum=0)
