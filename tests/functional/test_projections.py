"""Derivatives of the projections, and what torch can do with them: compile, export, transform."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import oracles
from functional.cases import assert_close, class_last, random_batch
from functional.test_bi_tempered import HARD_ROWS as HARD_ROWS_OF_TEMPERED
from functional.test_fenchel_young import HARD_ROWS
from ludwig_losses import functional
from ludwig_losses.functional import _numerics, projections

Projection = Callable[[Tensor], Tensor]

PROJECTIONS = {
    "entmax15": ("entmax15", {}),
    "sparsemax": ("sparsemax", {}),
    **{f"entmax {alpha}": ("entmax", {"alpha": alpha}) for alpha in (1.01, 1.2, 1.3, 1.8)},
    **{f"tempered {t}": ("tempered_softmax", {"t": t}) for t in (1.0, 1.2, 2.0, 4.0)},
}
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

every_projection = pytest.mark.parametrize("which", PROJECTIONS)
# Other numbers take one of the same ways, and torch minutes to compile them.
one_of_each_way = pytest.mark.parametrize(
    "which", ["entmax15", "sparsemax", "entmax 1.2", "entmax 1.8", "tempered 1.0", "tempered 1.2"]
)


def projection(which: str, package: object = functional) -> Projection:
    name, options = PROJECTIONS[which]
    return partial(getattr(package, name), **options)


def logits_of(*shape: int) -> Tensor:
    return random_batch(shape, class_last)[0] / 3


def energy(project: Projection, z: Tensor) -> Tensor:
    """The energy of what logits are projected to."""
    return energy_of(project(z))


def energy_of(p: Tensor) -> Tensor:
    """A number that depends on every probability in its own way."""
    return (p.square() * torch.arange(1, p.numel() + 1).to(p).reshape(p.shape)).sum()


def curvature(project: Projection, z: Tensor) -> Tensor:
    return torch.autograd.functional.hessian(partial(energy, project), z)


@every_projection
def test_derivatives_of_every_order_and_mode(which: str) -> None:
    logits = logits_of(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(projection(which), logits, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(projection(which), logits, check_fwd_over_rev=True)


@pytest.mark.parametrize("dtype", DTYPES)
@every_projection
def test_second_derivative_is_that_of_the_oracle(which: str, dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.3, -0.2, 0.5], [0.1, 0.4, -torch.inf]]).to(dtype)
    expected = curvature(projection(which, oracles), logits.double().clamp_min(-1e4))
    if which != "tempered 1.0":  # the oracle's threshold moves along a line, which is right once
        expected = numerical_curvature(projection(which, oracles), logits.double())
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5}.get(dtype, 1e-6)
    assert_close(curvature(projection(which), logits), expected, tolerance)


def numerical_curvature(project: Projection, z: Tensor, size: float = 1e-5) -> Tensor:
    """Differences of first derivatives."""

    def slope(z: Tensor) -> Tensor:
        leaf = z.detach().requires_grad_()
        return torch.autograd.grad(energy(project, leaf), leaf)[0]

    rows = []
    for i in range(z.numel()):
        step = torch.zeros(z.numel(), dtype=z.dtype)
        step[i] = size
        rows.append((slope(z + step.reshape(z.shape)) - slope(z - step.reshape(z.shape))) / (2 * size))
    return torch.stack(rows).reshape(*z.shape, *z.shape)


@every_projection
def test_transforms(which: str) -> None:
    logits, project = logits_of(3, 4, 6), projection(which)
    assert_close(torch.func.vmap(project, in_dims=1, out_dims=1)(logits), project(logits), 1e-14)
    row = logits[0, 0]
    assert_close(torch.func.hessian(partial(energy, project))(row), curvature(project, row), 1e-13)


@pytest.mark.parametrize("dynamic", [False, True])
@one_of_each_way
def test_compiles_without_a_graph_break(which: str, dynamic: bool) -> None:
    torch.compiler.reset()
    project = projection(which)
    compiled = torch.compile(project, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    logits = logits_of(3, 6).index_fill_(1, torch.tensor([2]), -torch.inf)
    assert_close(compiled(logits.half()), project(logits.half()), 1e-6)
    leaf = logits.requires_grad_()
    both = compiled(leaf), project(leaf)
    assert_close(*both, 1e-13)
    assert_close(*(torch.autograd.grad(energy_of(p), leaf)[0] for p in both), 1e-12)


class Probabilities(nn.Module):
    def __init__(self, project: Projection) -> None:
        super().__init__()
        self.project = project

    def forward(self, logits: Tensor) -> Tensor:
        return self.project(logits)


@every_projection
def test_exports_for_batches_of_any_size(which: str) -> None:
    project = projection(which)
    shapes = {"logits": {0: torch.export.Dim("rows")}}
    program = torch.export.export(Probabilities(project), (logits_of(3, 6),), dynamic_shapes=shapes)
    exported = program.module()
    for rows in (1, 3, 50):
        assert_close(exported(logits_of(rows, 6)), project(logits_of(rows, 6)), 1e-13)
    # Whoever loads it needs nothing of ours.
    assert "ludwig_losses" not in str(program.graph)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_projection
def test_a_fixed_number_of_steps_is_enough_for_hard_rows(
    which: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = projection(which)
    rows = [row.to(dtype) for row in {**HARD_ROWS, **HARD_ROWS_OF_TEMPERED}.values()]
    expected = [project(row) for row in rows]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for row, p in zip(rows, expected, strict=True):
        assert_close(project(row), p, 2e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("r", [1.0, 2.0])
def test_sorting_finds_the_threshold_that_steps_find(r: float, dtype: torch.dtype) -> None:
    """A GPU sorts rows that are wider than those that a CPU sorts."""
    for row in HARD_ROWS.values():
        x = ((row - row.max()) / r).to(dtype)
        by_steps = projections.threshold(torch.cat([x, x.new_full((16,), -9.0)]), r)
        atol = 1e-7 if dtype == torch.float32 else 1e-13
        torch.testing.assert_close(projections.sorted_threshold(x, r).to(dtype), by_steps, rtol=0, atol=atol)


@pytest.mark.parametrize("t1", [0.0, 0.8])
@pytest.mark.parametrize("t2", [1.01, 1.2, 2.0, 2.5, 4.0, 10.0])
def test_few_steps_are_enough_for_the_tempered_loss(t1: float, t2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    # Logits of every magnitude, between which the root is hard to tell from afar.
    spread = [torch.randn(1000, generator=generator) * 1e4, torch.rand(3000, generator=generator).log() * 3e4]
    rows = [row.float().requires_grad_() for row in (*HARD_ROWS_OF_TEMPERED.values(), *spread)]

    def results() -> list[Tensor]:
        losses = [functional.bi_tempered_logistic_loss(row, torch.tensor(0), t1=t1, t2=t2) for row in rows]
        return [*losses, *torch.autograd.grad(sum(losses), rows)]

    expected = results()
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    for actual, each in zip(results(), expected, strict=True):
        assert_close(actual, each, 1e-6)
