"""Deep SVDD (Ruff et al., ICML 2018), Deep SAD (ICLR 2020) and DROCC (Goyal et al., ICML 2020), row by row."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import Declared, Function


def squared_distance(hidden: Tensor, center: Tensor) -> Tensor:
    return _stack(hidden, [sum((z - c) ** 2 for z, c in zip(row, center, strict=True)) for row in hidden])


def initial_center(mean: Tensor, *, margin: float = 0.1) -> Tensor:
    return _stack(mean, [m if abs(m) >= margin else m * 0 + (-margin if m < 0 else margin) for m in mean])


def deep_svdd_loss(
    distance: Tensor, *, nu: float = 0.1, radius2: float | Tensor | None = None, cutoff: float | Tensor | None = None
) -> Tensor:
    """Hard boundary: ``d``. Soft boundary: ``R2 + max(0, d - R2) / nu``. No ``d`` is above the cutoff."""
    distance = _truncated(distance, cutoff)
    if nu == 0:
        return _stack(distance, list(distance))
    return _stack(distance, [radius2 + (d - radius2) / nu if d > radius2 else radius2 + 0 * d for d in distance])


def deep_sad_loss(
    distance: Tensor, target: Tensor, *, eta: float = 1.0, eps: float = 1e-6, cutoff: float | Tensor | None = None
) -> Tensor:
    """Unlabelled: ``d``, at most the cutoff. Labelled: ``eta * (d + eps) ** y``, ``y`` +1 for normal rows and -1
    for anomalies."""
    y = {0: 1, 1: -1}
    rows = zip(distance, _truncated(distance, cutoff), target.tolist(), strict=True)
    return _stack(distance, [eta * (d + eps) ** y[label] if label in y else u for d, u, label in rows])


def drocc_loss(
    score: Tensor, adversarial_score: Tensor, *, mu: float = 1.0, cutoff: float | Tensor | None = None
) -> Tensor:
    """``l(f(x), +1) + mu * l(f(x + h), -1)``, ``l`` the logistic loss ``log(1 + exp(-y f))``; ``l(f(x), -1)`` for a row
    that scores below the cutoff."""

    def logistic(f: Tensor, y: int) -> Tensor:
        return torch.logaddexp(0 * f, -y * f)

    limits = _cutoffs(score, -math.inf if cutoff is None else cutoff)
    rows = zip(score, adversarial_score, limits, strict=True)
    return _stack(score, [logistic(f, -1) if f < q else logistic(f, 1) + mu * logistic(g, -1) for f, g, q in rows])


def drocc_adversary(
    score_fn: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    radius: float,
    gamma: float,
    num_steps: int,
    step_size: float,
    start: Tensor,
) -> Tensor:
    """Algorithm 1 for one row after the other: up the logistic loss of the label -1, back between the two spheres."""

    def project(h: Tensor) -> Tensor:
        length = (h**2).sum().sqrt()
        if length < radius:
            return h * (radius / length)
        return h * (gamma * radius / length) if length > gamma * radius else h

    rows = []
    for row, first in zip(x, start, strict=True):
        h = project(first)
        for _ in range(num_steps):
            h = h.detach().requires_grad_()
            loss = torch.log1p(torch.exp(score_fn((row + h).unsqueeze(0))[0]))
            (gradient,) = torch.autograd.grad(loss, h)
            h = project((h + step_size * gradient / (gradient**2).sum().sqrt()).detach())
        rows.append(h.detach())
    return torch.stack(rows)


def _truncated(distance: Tensor, cutoff: float | Tensor | None) -> Tensor:
    limits = _cutoffs(distance, math.inf if cutoff is None else cutoff)
    return _stack(distance, [0 * d + q if d > q else d for d, q in zip(distance, limits, strict=True)])


def _cutoffs(rows: Tensor, cutoff: float | Tensor) -> list[float]:
    return torch.as_tensor(cutoff, dtype=torch.float64).expand(len(rows)).tolist()


def _stack(like: Tensor, rows: list[Tensor]) -> Tensor:
    """One number for each row of a tensor, which may have none."""
    return torch.stack(rows) if rows else like.flatten(1)[:, :0].sum(dim=1) if like.dim() > 1 else like * 0


def _to_boundary(distance: Tensor, target: Tensor | None, options: inputs.Options) -> float:
    """The least difference between a distance and the radius, where the soft boundary has a corner, or the cutoff."""
    to_cutoff = _to_cutoff(distance, target, options)
    if options.get("nu", 0) == 0 or not distance.numel():
        return to_cutoff
    return min((distance - options["radius2"]).abs().min().item(), to_cutoff)


def _to_cutoff(score: Tensor, _: Tensor | None, options: inputs.Options) -> float:
    """The least difference between a score and its cutoff."""
    return (score - options.get("cutoff", math.inf)).abs().min().item() if score.numel() else math.inf


def _draw_cutoff(draw: hostile.Draw) -> float | Tensor:
    """One number, or one for each row; exact in every type, so that all agree which rows are beyond it."""
    cutoff = draw.choice((0.0, 1.0, 2.5, 512.0, math.inf))
    if draw.chance(0.5):
        return cutoff
    each = torch.where(draw.uniform(*draw.shape) < 0.5, cutoff, draw.choice((0.0, 0.5, math.inf)))
    return each if draw.chance(0.5) else torch.tensor(cutoff, dtype=torch.float64)


def _draw_radius2(draw: hostile.Draw) -> float | Tensor:
    radius2 = draw.choice((0.0, 1.0, draw.logarithmic(1e-3, 1e4)))
    return radius2 if draw.chance(0.5) else torch.tensor(radius2, dtype=torch.float64)


FUNCTIONS = {
    "deep_svdd_loss": Function(
        cases=inputs.each(
            inputs.nothing,
            inputs.SCORES,
            {"nu": 0.0},
            {"nu": 0.0, "cutoff": 1.7},
            {"nu": 0.1, "radius2": 2.0},
            {"nu": 1.0, "radius2": 0.0},
            {"nu": 0.1, "radius2": 0.5, "cutoff": torch.tensor(1.7)},
        ),
        hostile=hostile.Subject(
            hostile.DISTANCES,
            {"nu": lambda d: d.choice((0.0, 0.01, 0.5, 1.0)), "radius2": _draw_radius2, "cutoff": _draw_cutoff},
            demanded=("radius2",),
            has_target=False,
            distance=_to_boundary,
        ),
        of_distances=True,
    ),
    "deep_sad_loss": Function(
        cases=inputs.each(
            inputs.anomaly_labels, inputs.SCORES, {}, {"eta": 0.3, "eps": 0.1}, {"eta": 2.0, "cutoff": 1.7}
        ),
        hostile=hostile.Subject(
            hostile.DISTANCES,
            {
                "eta": lambda d: d.choice((0.1, 3.0, 10.0)),
                "eps": lambda d: d.choice((1e-9, 1e-3, 0.5)),
                "cutoff": _draw_cutoff,
            },
            distance=_to_boundary,
        ),
        wrong_shapes=inputs.WRONG_FOR_SCORES,
        labels={"target": lambda loss, labels: loss(torch.rand(4), labels[:, 0])},
        of_distances=True,
    ),
    "drocc_loss": Function(
        cases=inputs.each(
            inputs.other_scores, inputs.SCORES, *({"mu": mu} for mu in (0.0, 1.0, 2.5)), {"mu": 0.5, "cutoff": -0.3}
        ),
        hostile=hostile.Subject(
            hostile.SCORES,
            {
                "adversarial_score": lambda d: d.logarithmic(1e-2, 1e4) * d.normal(*d.shape).to(d.dtype),
                "mu": lambda d: d.choice((0.0, 0.3, 10.0)),
                "cutoff": _draw_cutoff,
            },
            demanded=("adversarial_score",),
            has_target=False,
            distance=_to_cutoff,
        ),
        wrong_shapes=inputs.WRONG_FOR_SCORES,
    ),
    **dict.fromkeys(
        ("squared_distance", "initial_center", "drocc_adversary"), Function(not_drawn="see test_one_class.py")
    ),
}

LOSSES = {
    "deep_svdd": Declared(changes={"nu": 0.5, "contamination": 0.1}),
    "deep_sad": Declared(
        options={"anomaly": {"contamination": 0.1}},
        changes={"eta": 2.0, "contamination": 0.1},
        validates_by=(("anomaly", {}, "anomaly_auroc"),),
    ),
    "drocc": Declared(
        options={"anomaly": {"radius": "auto", "warmup_epochs": 1, "num_perturbation_steps": 2}},
        may_grow=True,  # The adversary does, with the network.
        changes={
            "radius": 3.0,
            "gamma": 1.0,
            "mu": 0.5,
            "perturbation_strength": 1.0,
            "num_perturbation_steps": 1,
            "warmup_epochs": 1,
            "contamination": 0.1,
        },
    ),
}
