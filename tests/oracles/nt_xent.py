"""NT-Xent, Chen et al., ICML 2020, by a loop over the ordered pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import Declared, Function

if TYPE_CHECKING:
    from functional.hostile import Case


def nt_xent_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.07,
    average: str = "pairs",
    memory: Tensor | None = None,
    memory_labels: Tensor | None = None,
) -> Tensor:
    """Mean of ``-log(exp(s_ij / t) / sum_{k != i} exp(s_ik / t))`` over all ordered pairs of rows with equal labels.

    ``j`` and ``k`` also go through the memory; ``average="anchors"`` takes the mean over ``j`` first.
    """
    rows = range(len(embeddings))
    labels = [i // 2 for i in rows] if labels is None else labels.tolist()
    past = [] if memory is None else [row.to(embeddings.dtype) for row in memory.detach()]
    labels += [None] * len(past) if memory_labels is None else memory_labels.tolist()
    unit = [row / row.norm() if row.any() else row for row in [*embeddings, *past]]
    losses = []
    for i in rows:
        s = {k: unit[i] @ unit[k] / temperature for k in range(len(unit)) if k != i}
        costs = [torch.stack(list(s.values())).logsumexp(0) - s[j] for j in s if labels[i] == labels[j]]
        if average == "anchors" and costs:
            costs = [torch.stack(costs).mean()]
        losses += costs
    return torch.stack(losses).mean() if losses else 0 * embeddings.sum()


def _by_length(case: Case) -> Tensor:
    """The gradient of a unit row is of the size of 1 / temperature; that of a short row is as much larger."""
    length = case.logits.double().norm(dim=1, keepdim=True)
    return 1 / (case.options.get("temperature", 0.07) * torch.where(length > 0, length, 1))


def _memory(draw: hostile.Draw) -> Tensor:
    """Past embeddings, of any length, none of them or some."""
    rows = draw.normal(draw.choice((0, 1, 4)), draw.shape[1]) * draw.logarithmic(1e-3, 1e4)
    return (rows * (draw.uniform(len(rows), 1) < 0.8)).to(draw.dtype)


def _memory_labels(draw: hostile.Draw) -> Tensor:
    labels = draw.integers(draw.choice((1, 3, 100)), len(draw.given["memory"])) - draw.choice((0, 3))
    return labels.to(draw.choice((torch.int8, torch.int32, torch.int64)))


_ROWS_OF_5 = ((8, 5), (1, 5), (2, 5), (9, 5))
_MEMORY = torch.tensor([[1.0, 2, 0, 0, -1], [0, 0, 0, 0, 0], [3, 0, 1, 1, 0], [-1, 0, 0, 1, 0]])
_MEMORY_LABELS = torch.tensor([0, 1, 0, 7])

FUNCTIONS = {
    "nt_xent_loss": Function(
        cases=(
            *inputs.each(inputs.per_row, inputs.ROWS, {"temperature": 0.07}, {"temperature": 0.5}),
            *inputs.each(inputs.consecutive, inputs.ROWS, {}),
            *inputs.each(inputs.per_row, inputs.ROWS, {"average": "anchors"}),
            *inputs.each(inputs.consecutive, _ROWS_OF_5, {"memory": _MEMORY, "temperature": 0.5}),
            *inputs.each(
                inputs.per_row,
                _ROWS_OF_5,
                {"average": "pairs", "memory": _MEMORY, "memory_labels": _MEMORY_LABELS},
                {"average": "anchors", "memory": _MEMORY, "memory_labels": _MEMORY_LABELS},
                {"average": "anchors", "memory": _MEMORY, "memory_labels": None},
            ),
        ),
        hostile=hostile.Subject(
            hostile.ROWS,
            {
                "temperature": lambda d: d.choice((0.05, 0.5, 3.0, torch.tensor(0.1))),
                "chunk_size": lambda d: d.randint(1, 10),
                "average": lambda d: d.choice(("pairs", "anchors", "anchors")),
                "memory": _memory,
                "memory_labels": _memory_labels,
            },
            needs={"memory_labels": "memory"},
            technical=("chunk_size",),
            optional_target=True,
            with_target=("memory_labels",),
            scalar=True,
            scale=_by_length,
        ),
        wrong_shapes=(((4, 3), (3,)), ((4, 3), (4, 1)), ((4,), (4,)), ((4, 3, 2), (4,)), ((), ())),
        out_of_range=(
            ({"temperature": -1}, "temperature must be a number > 0; got -1"),
            ({"temperature": 0.0}, "temperature must be a number > 0; got 0.0"),
            ({"temperature": torch.tensor(0.0)}, "temperature must be a number > 0; got 0.0"),
            ({"temperature": torch.ones(2)}, r"temperature must be one number, a tensor of shape \(\); got \(2,\)"),
            ({"temperature": float("nan")}, "temperature must be a number > 0; got nan"),
            ({"chunk_size": 2.5}, "chunk_size must be a whole number >= 1, or None; got 2.5"),
        ),
        no_number=({"temperature": "0.1"},),
        labels={
            "labels": lambda loss, labels: loss(torch.randn(4, 3), labels[:, 0]),
            "memory_labels": lambda loss, labels: loss(
                torch.randn(4, 3), torch.arange(4) // 2, memory=torch.randn(4, 3), memory_labels=labels[:, 0]
            ),
        },
        differentiable_once=True,
    ),
}

LOSSES = {
    "nt_xent_loss": Declared(
        of_whole_batch=True,
        validates_by=(("vector", {"pairing": "target"}, "loss"),),
    ),
}
