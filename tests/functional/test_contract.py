"""What every loss obeys, whatever its formula; its values are judged in test_hostile.py."""

from __future__ import annotations

import math
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import ludwig_losses
import oracles
from functional.cases import CASES, Case, assert_close, class_last, per_element, ranks, value_and_gradient
from ludwig_losses import functional
from oracles._inputs import amounts

every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
def test_gradient_is_the_derivative_of_the_value(case: Case) -> None:
    logits, target = case.batch(case.shapes[0])
    assert torch.autograd.gradcheck(lambda z: case.loss(z, target), logits.requires_grad_())


@pytest.mark.parametrize("case", [case for case in CASES if case.make_target in (class_last, ranks)], ids=str)
def test_a_single_example_is_a_batch_of_one(case: Case) -> None:
    logits, target = case.batch((5,))
    single = value_and_gradient(case.loss, logits, target)
    for alone, in_batch in zip(single, value_and_gradient(case.loss, logits[None], target[None]), strict=True):
        assert_close(alone, in_batch[0], 1e-13)


@pytest.mark.parametrize("case", [case for case in CASES if case.make_target in (per_element, amounts)], ids=str)
def test_many_elements_are_computed_as_few_are(case: Case) -> None:
    """Many are computed in blocks; here they are every other row of a tensor, and the last block is not full."""
    inner = case.shapes[-1][1:]
    logits, target = case.batch((2**17 // math.prod(inner) + 3, *inner), torch.float32)
    logits = logits.repeat_interleave(2, dim=0)[::2]
    found = value_and_gradient(case.loss, logits, target)
    few = zip(logits.split(1_000), target.split(1_000), found[1].split(1_000), strict=True)
    weights = torch.linspace(0.5, 1.5, found[0].numel()).reshape(found[0].shape).split(1_000)
    for values, weight, (some, of_some, gradient) in zip(found[0].split(1_000), weights, few, strict=True):
        leaf = some.detach().requires_grad_()
        value = case.loss(leaf, of_some)
        assert_close(values, value, 1e-6)
        assert_close(gradient, torch.autograd.grad(value, leaf, weight)[0], 1e-6)


@every_case
def test_compiles_without_a_graph_break(case: Case) -> None:
    torch.compiler.reset()
    logits, target = case.batch(dtype=torch.float32)
    compiled = torch.compile(case.loss, fullgraph=True, backend=aot_eager_of_whole_outputs)
    value, gradient = value_and_gradient(compiled, logits, target)
    expected, expected_gradient = value_and_gradient(case.loss, logits, target)
    assert_close(value, expected, 1e-6)
    assert_close(gradient, expected_gradient, 1e-6)


def aot_eager_of_whole_outputs(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable:
    """Refuse custom functions whose first output was changed in place: torch 2.11 gives it a gradient of 0."""
    for name, part in graph.named_modules():
        if name.startswith("fwd_body"):
            outputs, _saved = next(node for node in part.graph.nodes if node.op == "output").args[0]
            first = outputs[0] if isinstance(outputs, tuple | list) else outputs
            changes = [node for node in part.graph.nodes if node.op == "call_method" and node.target.endswith("_")]
            assert first not in {*changes, *(node.args[0] for node in changes)}
    return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)


def twice(logits: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return torch.cat([logits, logits]), None if target is None else torch.cat([target, target])


@every_case
def test_compiles_with_dynamic_shapes(case: Case) -> None:
    """With sizes and hyperparameters that are symbols."""
    torch.compiler.reset()
    compiled = torch.compile(case.loss, fullgraph=True, backend="eager", dynamic=True)
    batch = case.batch(dtype=torch.float32)
    assert_close(compiled(*batch), case.loss(*batch), 1e-6)


@pytest.mark.parametrize("case", {case.name: case for case in CASES}.values(), ids=str)
def test_compiles_once_for_batches_of_any_size(case: Case) -> None:
    torch.compiler.reset()
    compiled = torch.compile(case.loss, fullgraph=True, backend="eager")
    batch = case.batch(dtype=torch.float32)
    for tensor in batch:
        if tensor is not None:
            torch._dynamo.mark_dynamic(tensor, 0)
    assert_close(compiled(*batch), case.loss(*batch), 1e-6)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert_close(compiled(*twice(*batch)), case.loss(*twice(*batch)), 1e-6)


@pytest.mark.parametrize(
    ("name", "logits", "target"),
    [(name, *shapes) for name, facts in oracles.FUNCTIONS.items() for shapes in facts.wrong_shapes],
    ids=str,
)
def test_wrong_shapes_are_named(name: str, logits: tuple[int, ...], target: tuple[int, ...]) -> None:
    facts = oracles.FUNCTIONS[name]
    options = facts.cases[0].options
    # What is no option of the cases is the second argument.
    demanded = {key: options[key] for key in facts.hostile.demanded if key in options} if facts.hostile else {}
    with pytest.raises(ValueError, match=re.escape(str(logits))) as raised:
        getattr(functional, name)(torch.zeros(logits), torch.zeros(target, dtype=torch.long), **demanded)
    assert str(target) in str(raised.value)


def test_needs_no_ludwig() -> None:
    program = (
        "import sys, ludwig_losses.functional; print([name for name in sys.modules if name.split('.')[0] == 'ludwig'])"
    )
    root = pathlib.Path(ludwig_losses.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@every_case
def test_second_derivative_is_right_or_refused(case: Case) -> None:
    logits, target = case.batch(case.shapes[0])
    if oracles.FUNCTIONS[case.name].differentiable_once:
        leaf = logits.requires_grad_()
        (gradient,) = torch.autograd.grad(case.loss(leaf, target).sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiable once"):
            (case.loss(leaf, target).sum() + gradient.pow(2).sum()).backward()
        with pytest.raises(RuntimeError, match="differentiable once"):
            torch.autograd.functional.hessian(lambda z: case.loss(z, target).sum(), logits.detach())
        return
    hessian = torch.autograd.functional.hessian(lambda z: case.loss(z, target).sum(), logits)
    assert_close(hessian, torch.autograd.functional.hessian(lambda z: case.oracle(z, target).sum(), logits), 1e-10)


@every_case
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_mapped_over_a_dimension_is_right(case: Case) -> None:
    logits, target = case.batch(case.shapes[0])
    several = torch.stack([logits, -logits, logits / 2], dim=1)
    one_by_one = [value_and_gradient(case.loss, z, target) for z in several.unbind(dim=1)]
    values, gradients = map(torch.stack, zip(*one_by_one, strict=True))

    def weighted(z: Tensor) -> Tensor:
        value = case.loss(z, target)
        return (value * torch.linspace(0.5, 1.5, value.numel()).reshape(value.shape).to(value)).sum()

    mapped = torch.func.vmap(lambda z: case.loss(z, target), in_dims=1)(several)
    mapped_gradient = torch.func.vmap(torch.func.grad(weighted), in_dims=1)(several)
    assert_close(mapped, values, 1e-12)
    assert_close(mapped_gradient, gradients, 1e-12)
