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
from torch.utils._python_dispatch import TorchDispatchMode

from functional.cases import CASES, Case
from functional.hostile import SUBJECTS, draw_case
from functional.test_hostile import SEEDS, assert_near, check, value_and_gradient
from ludwig_losses.functional import _numerics

every_case = pytest.mark.parametrize("case", CASES, ids=str)
one_case_of_each_loss = pytest.mark.parametrize("case", {case.name: case for case in CASES}.values(), ids=str)

# The values are equal to so much, and the gradients where the loss has one.
TOLERANCE = 1e-6


class SynchronisingOperators(TorchDispatchMode):
    """Lists the operators for whose result a host has to wait: a number of Python, or a shape that depends on the data.

    Beside torch's own marks: masks as indices, for which their true elements are counted, and copies to the host.
    """

    MARKS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        indices = args[1] if function.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put) else ()
        dynamic = function not in (torch.ops.aten.index.Tensor,) and any(mark in function.tags for mark in self.MARKS)
        if dynamic or any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.fixture
def as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of the CPU may not be looked at either."""
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())


def forward_and_backward(case: Case, logits: Tensor, target: Tensor | None) -> None:
    leaf = logits.detach().requires_grad_()
    case.loss(leaf, target).sum().backward()


def test_the_mode_sees_what_synchronises() -> None:
    with SynchronisingOperators() as mode:
        x = torch.tensor([1.0, 0.0])
        for look in (lambda: x.sum().item(), x.nonzero, lambda: x[x > 0], lambda: bool(x.any())):
            look()
    assert len(mode.found) == 4, mode.found


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


@every_case
def test_no_loss_looks_at_numbers_on_cuda(case: Case) -> None:
    """Fake tensors of a GPU that is not there have none; what would look at them is an error."""
    logits, target = case.batch(dtype=torch.float32)
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_gpu = [None if x is None else torch.empty(x.shape, dtype=x.dtype, device="cuda") for x in (logits, target)]
        options = {
            name: torch.empty(value.shape, dtype=value.dtype, device="cuda") if isinstance(value, Tensor) else value
            for name, value in case.options.items()
        }
        value = replace(case, options=options).loss(*on_gpu)
    assert value.device.type == "cuda"


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
    tags = {tag for node in program.graph.nodes for tag in getattr(node.target, "tags", ())}
    assert not tags & {*SynchronisingOperators.MARKS} or operators & {"aten.index.Tensor"}
