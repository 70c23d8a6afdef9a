"""On an accelerator no loss makes the host wait. No GPU is needed to see that: fake tensors know shapes and devices, but
no numbers, and a dispatch mode sees every operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from functional.cases import CASES, Case
from functional.hostile import SUBJECTS, draw_case
from functional.test_hostile import SEEDS, assert_near, check, value_and_gradient
from ludwig_losses.functional import _numerics
from synchronising import SynchronisingOperators, synchronises

every_case = pytest.mark.parametrize("case", CASES, ids=str)
one_case_of_each_loss = pytest.mark.parametrize("case", {case.name: case for case in CASES}.values(), ids=str)

# The values are equal to so much, and the gradients where the loss has one.
TOLERANCE = 1e-6


@pytest.fixture
def as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of the CPU may not be looked at either."""
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())


def forward_and_backward(case: Case, logits: Tensor, target: Tensor | None) -> None:
    leaf = logits.detach().requires_grad_()
    case.loss(leaf, target).sum().backward()


def test_the_mode_sees_what_synchronises() -> None:
    x = torch.tensor([1.0, 0.0])
    with SynchronisingOperators() as mode:
        for look in (lambda: x.sum().item(), x.nonzero, lambda: x[x > 0], lambda: bool(x.any()), lambda: x[[0, 1]]):
            look()
    assert len(mode.found) == 5, mode.found


@every_case
@pytest.mark.usefixtures("as_on_an_accelerator")
def test_no_loss_has_a_synchronising_operator(case: Case) -> None:
    batch = case.batch(dtype=torch.float32)
    with SynchronisingOperators() as mode:
        forward_and_backward(case, *batch)
    assert mode.found == []


def test_a_cpu_may_look() -> None:
    """The list is not empty because nothing could be found."""
    (case, *_) = (case for case in CASES if case.name == "lovasz_softmax_loss")
    batch = case.batch(dtype=torch.float32)
    with SynchronisingOperators() as mode:
        forward_and_backward(case, *batch)
    assert mode.found


def slices_without_a_driver() -> bool:
    """Whether a fake tensor of a GPU can be sliced where there is none: not where torch up to 2.6 is built for CUDA."""
    with FakeTensorMode():
        try:
            torch.empty(2, device="cuda")[:1]
        except RuntimeError as error:
            if "driver" not in str(error):
                raise
            return False
    return True


@every_case
@pytest.mark.skipif(not slices_without_a_driver(), reason="this torch asks the driver before it slices a fake tensor")
def test_no_loss_looks_at_numbers_on_cuda(case: Case) -> None:
    """Fake tensors of a GPU that is not there have none; what would look at them is an error."""
    logits, target = case.batch(dtype=torch.float32)
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_gpu = [None if x is None else torch.empty(x.shape, dtype=x.dtype, device="cuda") for x in (logits, target)]
        options = {
            name: torch.empty(value.shape, dtype=value.dtype, device="cuda") if isinstance(value, Tensor) else value
            for name, value in case.options.items()
        }
        with SynchronisingOperators() as mode:
            value = replace(case, options=options).loss(*on_gpu)
    assert value.device.type == "cuda"
    assert mode.found == []


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.has_target])
def test_both_ways_are_equal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On hostile cases, and both are right."""
    for seed in SEEDS[:100]:
        case = draw_case(name, seed)
        value, gradient = value_and_gradient(case, case.function, case.logits)
        with monkeypatch.context() as patch:
            patch.setattr(_numerics, "HOST_DEVICES", frozenset())
            other_value, other_gradient = value_and_gradient(case, case.function, case.logits)
            check(case, case.function)
        if case.counts_nothing:
            continue
        assert_near(f"{case}: value", other_value, value.double(), TOLERANCE)
        if case.smooth:
            assert_near(f"{case}: gradient", other_gradient, gradient.double(), TOLERANCE, case.subject.scale(case))


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "dice_loss"], ids=str)
def test_both_ways_have_the_same_second_derivative(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a loss whose gradient is in closed form on an accelerator."""
    logits, target = case.batch()
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0), dtype=logits.dtype)

    def curvature() -> Tensor:
        leaf = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(2 * case.loss(leaf, target), leaf, create_graph=True)
        (product,) = torch.autograd.grad(gradient, leaf, direction)
        return product

    expected = curvature()
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    torch.testing.assert_close(curvature(), expected, rtol=1e-9, atol=1e-12)


class Exported(torch.nn.Module):
    def __init__(self, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor | None) -> Tensor:
        return self.loss(logits, target)


@one_case_of_each_loss
def test_is_exported_operator_by_operator(case: Case) -> None:
    """No operator of our own hides what a compiler could not do."""
    program = torch.export.export(Exported(case.loss), case.batch(dtype=torch.float32))
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert operators and not any("ludwig_losses" in operator for operator in operators)
    found = [
        str(node.target)
        for node in program.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload) and synchronises(node.target, value_of(node.args), {})
    ]
    assert not found


def value_of(argument: Any) -> Any:
    """Return what stands for the value of an argument in an exported program: a fake tensor, or a list with some."""
    if isinstance(argument, list | tuple):
        return [value_of(part) for part in argument]
    return argument.meta["val"] if isinstance(argument, torch.fx.Node) else argument
