"""Pinball loss, Koenker & Bassett 1978, by a loop over rows and quantiles; steps of ``log(1 + exp(z))``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import Declared, Function

THREE = torch.tensor([0.05, 0.5, 0.95])


def quantile_loss(predictions: Tensor, target: Tensor, *, quantiles: Tensor) -> Tensor:
    rows = predictions.reshape(-1, predictions.shape[-1])
    losses = []
    for row, y in zip(rows, target.flatten().tolist(), strict=True):
        costs = [t * (y - q) if y >= q else (1 - t) * (q - y) for q, t in zip(row, quantiles.tolist(), strict=True)]
        losses.append(sum(costs) / len(costs))
    return torch.stack(losses).reshape(target.shape) if losses else 0 * predictions.sum(dim=-1)


def ordered_quantiles(logits: Tensor) -> Tensor:
    start = logits.shape[-1] // 2
    steps = torch.logaddexp(logits, torch.zeros_like(logits))
    columns = []
    for k in range(logits.shape[-1]):
        between = range(start + 1, k + 1) if k > start else range(k, start)
        total = sum((steps[..., j] for j in between), torch.zeros_like(logits[..., 0]))
        columns.append(logits[..., start] + (total if k > start else -total))
    return torch.stack(columns, dim=-1)


def _levels(draw: hostile.Draw) -> Tensor:
    return draw.uniform(draw.shape[-1]).float().sort().values.clamp(1e-3, 1 - 1e-3)


def _distance(predictions: Tensor, target: Tensor, options: Any) -> float:
    return float((predictions - target.to(predictions).unsqueeze(-1)).abs().min()) if predictions.numel() else 1.0


# Targets are numbers, not classes.
_NUMBERS = hostile.Kind(hostile.CLASS_LAST.shape, -1, maskable=False)

FUNCTIONS = {
    "quantile_loss": Function(
        cases=inputs.each(inputs.amounts, ((6, 3), (2, 5, 3), (7, 3)), {"quantiles": THREE}),
        hostile=hostile.Subject(_NUMBERS, {"quantiles": _levels}, demanded=("quantiles",), distance=_distance),
        wrong_shapes=(((4, 3), (3,)), ((4, 3), (4, 1)), ((4, 3), (4, 3)), ((2, 3, 4), (6,)), ((4, 2), (4,)), ((), ())),
    ),
    "ordered_quantiles": Function(hostile=hostile.Subject(_NUMBERS, has_target=False)),
    "conformal_rank": Function(not_drawn="a rank has no gradient"),
    "conformal_offset": Function(not_drawn="one of the scores of some rows, compared by simulation"),
}

LOSSES = {
    "quantile_loss": Declared(
        changes={"quantiles": [0.1, 0.5, 0.8]},
        validates_by=(("number", {}, "loss"), ("timeseries", {"quantiles": [0.5]}, "loss")),
    ),
}
