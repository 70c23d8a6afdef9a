"""`torch.func` gives the same answer for batches of every size: a derivative that is right, or an error that says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import oracles
from functional.cases import (
    CASES,
    Case,
    class_first,
    class_last,
    consecutive,
    gradient_of,
    per_element,
    per_row,
    ranks,
)
from ludwig_losses.functional import _contrast
from ludwig_losses.functional._numerics import is_small
from oracles._inputs import amounts

POINTS = torch.tensor([[0.0, 0.0], [0.5, -1.0], [-2.0, 0.25]], dtype=torch.float64)
ALONG = torch.tensor([2.0, -1.0], dtype=torch.float64)


def large(case: Case) -> tuple[int, ...]:
    """A shape for which memory matters more than the number of operators, with as many classes as the options need."""
    classes = case.shapes[-1][1:2]
    if case.make_target is per_element and "priors" in case.options:  # one for each label
        return (5000, case.shapes[-1][-1])
    if case.make_target in (class_last, ranks):
        return (8, 4000)
    if case.make_target is class_first:
        return (8, *classes, 900)
    if case.make_target is amounts:
        return (9000, *classes)
    return (300, *classes) if case.make_target in (per_row, consecutive) else (20_000,)


def function_and_expectation(case: Case, shape: tuple[int, ...]) -> tuple[Callable[[Tensor], Tensor], Any]:
    """Return a function of two numbers, whose derivatives of every order are small at every size, and what its gradient
    is in reverse mode without a transform."""
    logits, target = case.batch(shape)
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    if oracles.FUNCTIONS[case.name].of_distances:  # they stay above 0
        directions = directions.tanh() * logits / 8

    def function(point: Tensor) -> Tensor:
        value = case.loss(logits + torch.tensordot(point, directions, dims=1), target)
        weights = torch.linspace(0.5, 1.5, value.numel()).reshape(value.shape).to(value)  # as gradient_of
        return (value * weights).sum()

    def gradient(point: Tensor) -> Tensor:
        leaf = (logits + torch.tensordot(point, directions, dims=1)).requires_grad_()
        return (directions * gradient_of(case.loss(leaf, target), leaf)).flatten(1).sum(dim=1)

    return function, gradient


def near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("of_shape", [lambda case: case.shapes[0], large], ids=["small", "large"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_transform_is_right_at_every_size(case: Case, of_shape: Callable[[Case], tuple[int, ...]]) -> None:
    function, gradient = function_and_expectation(case, of_shape(case))
    expected = torch.stack([gradient(point) for point in POINTS])
    near(torch.stack([torch.func.grad(function)(point) for point in POINTS]), expected)
    near(torch.func.vmap(torch.func.grad(function))(POINTS), expected)
    near(torch.func.vmap(function)(POINTS), torch.stack([function(point) for point in POINTS]))
    near(torch.func.jvp(function, (POINTS[1],), (ALONG,))[1], expected[1] @ ALONG)
    near(torch.func.jacfwd(function)(POINTS[1]), expected[1])
    with forward_ad.dual_level():
        dual = function(forward_ad.make_dual(POINTS[1], ALONG))
        near(forward_ad.unpack_dual(dual).tangent, expected[1] @ ALONG)
    hessians = (torch.func.hessian(function), torch.func.jacrev(torch.func.jacrev(function)))
    if oracles.FUNCTIONS[case.name].differentiable_once:
        for hessian in hessians:
            with pytest.raises(RuntimeError, match="differentiable once"):
                hessian(POINTS[1])
        return
    of_autograd = torch.autograd.functional.hessian(function, POINTS[1])
    for hessian in hessians:
        near(hessian(POINTS[1]), of_autograd)


def test_large_is_not_small() -> None:
    """The sizes differ where losses choose their way."""
    for case in CASES:
        if case.make_target not in (per_row, consecutive):
            logits, _ = case.batch(large(case))
            assert not is_small(logits)
            assert is_small(case.batch(case.shapes[0])[0])


@pytest.mark.parametrize("target", ["class", "label", "element"])
def test_targets_may_be_mapped_too(target: str) -> None:
    """One example at a time, as gradients of single examples are computed."""
    name, shape, make_target = {
        "class": ("softmax_focal_loss", (5, 4), class_last),
        "element": ("sigmoid_focal_loss", (5, 4), per_element),
        "label": ("poly_loss", (5, 4), class_last),
    }[target]
    case = Case(name, make_target, (shape,), {"ignore_index": 1})
    logits, targets = case.batch()

    def of_one(z: Tensor, y: Tensor) -> Tensor:
        return case.loss(z.unsqueeze(0), y.unsqueeze(0)).sum()

    leaf = logits.clone().requires_grad_()
    (expected,) = torch.autograd.grad(case.loss(leaf, targets).sum(), leaf)
    near(torch.func.vmap(torch.func.grad(of_one))(logits, targets), expected)
    near(
        torch.func.vmap(torch.func.grad(lambda y, z: of_one(z, y), argnums=1), in_dims=(0, None))(targets, logits[0]),
        torch.stack([torch.func.grad(of_one)(logits[0], y) for y in targets]),
    )


def test_chunks_are_transformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_contrast, "_SIMILARITIES", 2**14)
    case = Case("nt_xent_loss", per_row, ((300, 5),))
    test_each_transform_is_right_at_every_size(case, large)
