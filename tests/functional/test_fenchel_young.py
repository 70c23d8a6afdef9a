from __future__ import annotations

from collections.abc import Callable

import entmax as package
import pytest
import torch
from torch import Tensor

import oracles
from functional.cases import assert_close, class_last, random_batch, value_and_gradient
from ludwig_losses import functional

Projection = Callable[[Tensor], Tensor]

# How far the true class has to lead for a loss of 0.
MARGIN = {"entmax15": 2.0, "sparsemax": 1.0}

every_projection = pytest.mark.parametrize("name", MARGIN)

_k = torch.arange(1000, dtype=torch.float64)
_zeros = torch.zeros(5000, dtype=torch.float64)

# Newton's method gains least where a step leaves out few of the classes that are not in the support.
HARD_ROWS = {
    "gaps halve": -(2.0 ** -_k[:60]),
    "gaps double": -1e-6 * 2.0 ** _k[:60],
    "gaps shrink slowly": -(1.5 ** -_k[:200]),
    "gaps shrink towards the margin": -2 * (1 - 2.0 ** -_k[:50]),
    "harmonic": -1 / (1 + _k),
    "harmonic sums": -torch.cumsum(1 / (1 + _k), 0) / 10,
    "even": -_k / 1000,
    "crowd at the margin": -2 * (_k / 1000) ** 0.01,
    "all equal": _zeros,
    "ties below one": torch.cat([_zeros, torch.ones(1)]),
    "ties above many": torch.cat([_zeros, -torch.rand(5000, generator=torch.Generator().manual_seed(0))]),
    "huge spread": torch.tensor([-3e38, -1e20, -1e4, 0.0, 0.25, 1.0], dtype=torch.float64),
    "large offset": 2.0**20 + _k / 8,
    "large negative offset": -(2.0**20) - _k / 8,
    "many classes": random_batch((100_000, 1))[0].squeeze(1),
    "many close classes": random_batch((100_000, 1))[0].squeeze(1) / 100,
    "one class": torch.tensor([7.0], dtype=torch.float64),
    "two classes": torch.tensor([0.0, 0.3], dtype=torch.float64),
}


@every_projection
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("row", HARD_ROWS)
def test_projection_of_hard_rows(row: str, name: str, dtype: torch.dtype) -> None:
    logits = HARD_ROWS[row].to(dtype)
    p = getattr(functional, name)(logits)
    expected = getattr(oracles, name)(logits.double())
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    assert p.dtype == dtype
    assert p.min() >= 0
    assert p.double().sum().item() == pytest.approx(1, abs=tolerance)
    assert ((p - expected).abs().max() / expected.max()).item() < tolerance


@every_projection
@pytest.mark.parametrize("shape", [(32_000,), (4, 32_000), (2, 3, 7), (1, 1), (0, 5), (2, 0, 5)])
def test_projection_is_that_of_the_entmax_package(shape: tuple[int, ...], name: str) -> None:
    logits, _ = random_batch(shape, lambda *_: None)
    p = getattr(functional, name)(logits)
    torch.testing.assert_close(p, getattr(package, name)(logits), rtol=1e-12, atol=1e-15)


@every_projection
@pytest.mark.parametrize("shape", [(64, 10), (3, 32_000), (1, 2)])
def test_loss_is_that_of_the_entmax_package(shape: tuple[int, ...], name: str) -> None:
    logits, target = random_batch(shape, class_last)
    value, gradient = value_and_gradient(getattr(functional, f"{name}_loss"), logits, target)
    expected, expected_gradient = value_and_gradient(getattr(package, f"{name}_loss"), logits, target)
    assert_close(value, expected, 1e-12)
    assert_close(gradient, expected_gradient, 1e-12)


@every_projection
def test_gradient_is_projection_minus_target(name: str) -> None:
    logits, target = random_batch((5, 7), class_last)
    leaf = logits.requires_grad_()
    (gradient,) = torch.autograd.grad(getattr(functional, f"{name}_loss")(leaf, target).sum(), leaf)
    expected = getattr(functional, name)(logits) - torch.nn.functional.one_hot(target, 7)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-15)


@every_projection
def test_projection_has_exact_zeros(name: str) -> None:
    lead = MARGIN[name]
    logits = torch.tensor([[lead, 0.0, -1.0], [lead - 0.1, 0.0, -1.0], [0.0, 0.0, -2.5]])
    p = getattr(functional, name)(logits)
    assert p[0].tolist() == [1, 0, 0]
    assert (p[1] > 0).tolist() == [True, True, False]
    assert p[2].tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-7)
    assert p[2, 2] == 0


@every_projection
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_projection_of_half_precision_sums_to_1(name: str, dtype: torch.dtype) -> None:
    logits, _ = random_batch((8, 500), class_last, dtype)
    p = getattr(functional, name)(logits)
    assert torch.equal(p, getattr(functional, name)(logits.float()))
    assert_close(p.sum(dim=-1), torch.ones(8), 1e-6)


@every_projection
def test_projection_is_unchanged_by_a_constant_shift(name: str) -> None:
    logits, target = random_batch((5, 7), class_last)
    projection, loss = getattr(functional, name), getattr(functional, f"{name}_loss")
    assert_close(projection(logits + 1e6), projection(logits), 1e-9)
    assert_close(loss(logits + 1e6, target), loss(logits, target), 1e-9)


@every_projection
def test_projection_leaves_masked_classes_out(name: str) -> None:
    logits, _ = random_batch((5, 7), class_last)
    mask = torch.tensor([2, 5])
    p = getattr(functional, name)(logits.index_fill(1, mask, -torch.inf))
    assert p[:, mask].count_nonzero() == 0
    kept = [0, 1, 3, 4, 6]
    assert_close(p[:, kept], getattr(functional, name)(logits[:, kept]), 1e-15)


@every_projection
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_is_0_from_the_margin_on_only(name: str, dtype: torch.dtype) -> None:
    lead = MARGIN[name] * torch.tensor([1.0, 1.5, 1e4, 0.99], dtype=dtype)
    logits = torch.stack([lead, torch.zeros_like(lead), torch.zeros_like(lead)], dim=1)
    loss = getattr(functional, f"{name}_loss")
    value, gradient = value_and_gradient(loss, logits, torch.zeros(4))
    assert value[:3].tolist() == [0, 0, 0]
    assert gradient[:3].count_nonzero() == 0
    assert value[3] > 0
    assert gradient[3].count_nonzero() == 3


@every_projection
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_is_never_negative(name: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5000, 6, generator=generator, dtype=dtype)
    # The true class leads by about the margin, where the terms of the loss cancel.
    logits[:, 0] = logits[:, 1:].amax(dim=1) + MARGIN[name] - 1e-3 * torch.rand(5000, generator=generator, dtype=dtype)
    value = getattr(functional, f"{name}_loss")(logits, torch.zeros(5000))
    assert value.min() >= 0
    assert value.max() < 1e-3


@every_projection
def test_second_derivative_is_refused(name: str) -> None:
    logits, target = random_batch((5, 7), class_last)
    leaf = logits.requires_grad_()
    loss = getattr(functional, f"{name}_loss")(leaf, target).sum()
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    assert gradient.requires_grad
    with pytest.raises(RuntimeError, match="fenchel_young_gradient"):
        torch.autograd.grad(gradient.pow(2).sum(), leaf)


@every_projection
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_projection_can_be_scripted(name: str) -> None:
    projection = getattr(functional, name)
    logits, _ = random_batch((3, 4, 9), class_last)
    scripted = torch.jit.script(projection)
    for dtype in (torch.float16, torch.float32, torch.float64):
        # Twice: the second run is the optimised one.
        for _ in range(2):
            p = scripted(logits.to(dtype))
        assert torch.equal(p, projection(logits.to(dtype)))


@every_projection
def test_inputs_are_left_as_they_are(name: str) -> None:
    logits, target = random_batch((5, 7), class_last)
    before = logits.clone()
    value_and_gradient(getattr(functional, f"{name}_loss"), logits, target)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("name", ["entmax15", "sparsemax"])
def test_projections_are_differentiable_for_explanations(name: str) -> None:
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(getattr(functional, name), logits)
