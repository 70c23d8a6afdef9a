"""Every loss on a GPU, where there is one: its values, and that nothing is waited for. What can be seen without one is in
test_accelerators.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from functional.cases import CASES, Case, assert_close, value_and_gradient
from functional.hostile import SUBJECTS, draw_case
from functional.hostile import Case as HostileCase
from functional.test_hostile import SEEDS, check
from ludwig_losses import functional
from synchronising import waiting_is_an_error

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
every_case = pytest.mark.parametrize("case", CASES, ids=str)
one_case_of_each_loss = pytest.mark.parametrize("case", {case.name: case for case in CASES}.values(), ids=str)


def on_gpu(value: Any) -> Any:
    return value.cuda() if isinstance(value, Tensor) else value


def moved(options: dict[str, Any]) -> dict[str, Any]:
    return {name: on_gpu(value) for name, value in options.items()}


def loss_and_batch(case: Case) -> tuple[Callable[..., Tensor], Tensor, Tensor | None]:
    logits, target = map(on_gpu, case.batch(dtype=torch.float32))
    return replace(case, options=moved(case.options)).loss, logits.requires_grad_(), target


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=str)
def test_value_and_gradient_are_those_of_the_oracle(case: Case, dtype: torch.dtype, tolerance: float) -> None:
    for shape in case.shapes:
        logits, target = case.batch(shape, dtype)
        loss = replace(case, options=moved(case.options)).loss
        found = value_and_gradient(loss, on_gpu(logits), on_gpu(target))
        for actual, expected in zip(found, value_and_gradient(case.oracle, logits.double(), target), strict=True):
            assert actual.device.type == "cuda"
            assert_close(actual.cpu().double(), expected, tolerance)


@pytest.mark.parametrize("name", SUBJECTS)
def test_hostile_cases(name: str) -> None:
    for seed in SEEDS:
        case = draw_case(name, seed)
        try:
            check(case, on_the_gpu(case))
        except Exception as error:
            raise AssertionError(f"{case}\n{error}") from error


def on_the_gpu(case: HostileCase) -> Callable[..., Tensor]:
    function = partial(getattr(functional, case.name), **moved(case.options))

    def call(*tensors: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=case.autocast):
            return function(*map(on_gpu, tensors)).cpu()

    return call


@every_case
def test_no_loss_waits(case: Case) -> None:
    loss, logits, target = loss_and_batch(case)
    loss(logits, target).sum().backward()  # the first call of a library sets it up
    with waiting_is_an_error():
        loss(logits, target).sum().backward()


@every_case
def test_a_graph_of_the_loss_gives_its_values(case: Case) -> None:
    """Captured once, forward and backward, and replayed for other numbers."""
    loss, logits, target = loss_and_batch(case)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            logits.grad = None
            loss(logits, target).sum().backward()
    torch.cuda.current_stream().wait_stream(stream)
    logits.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = loss(logits, target)
        value.sum().backward()
    with torch.no_grad():
        logits *= 0.5
    graph.replay()
    leaf = logits.detach().clone().requires_grad_()
    expected = loss(leaf, target)
    expected.sum().backward()
    assert_close(value.detach(), expected.detach(), 1e-6)
    assert_close(logits.grad, leaf.grad, 1e-6)


@one_case_of_each_loss
def test_compiles_into_graphs(case: Case) -> None:
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    loss, logits, target = loss_and_batch(case)
    compiled = torch.compile(loss, fullgraph=True, mode="reduce-overhead")
    for _ in range(3):  # warmed up, captured, replayed
        torch.compiler.cudagraph_mark_step_begin()
        value, gradient = value_and_gradient(compiled, logits.detach(), target)
        expected, expected_gradient = value_and_gradient(loss, logits.detach(), target)
        assert_close(value, expected, 1e-5)
        assert_close(gradient, expected_gradient, 1e-5)
    assert torch._dynamo.utils.counters["inductor"]["cudagraph_skips"] == 0


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_under_autocast(case: Case, dtype: torch.dtype) -> None:
    """The loss is computed in float32, as of the same logits without autocast."""
    loss, logits, target = loss_and_batch(case)
    half = logits.detach().to(dtype)
    with torch.autocast("cuda", dtype=dtype):
        value, gradient = value_and_gradient(loss, half, target)
    expected, expected_gradient = value_and_gradient(loss, half.float(), target)
    assert value.dtype == expected.dtype and gradient.dtype == dtype
    assert_close(value, expected, 1e-5)
    assert_close(gradient.float(), expected_gradient, 2 * torch.finfo(dtype).eps)
