from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import oracles
from functional.cases import assert_close, per_element, random_batch, value_and_gradient
from ludwig_losses.functional import sigmoid_focal_loss, softmax_focal_loss

GAMMAS = [0.0, 0.3, 1.0, 2.0, 5.0]


def pair(z: Tensor) -> Tensor:
    """The two-class logits of a binary logit."""
    return torch.stack([torch.zeros_like(z), z], dim=-1)


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (2, 3, 4, 5)])
def test_softmax_with_gamma_0_is_cross_entropy(shape: tuple[int, ...]) -> None:
    logits, target = random_batch(shape)
    assert_close(softmax_focal_loss(logits, target, gamma=0), F.cross_entropy(logits, target, reduction="none"), 1e-15)


def test_sigmoid_with_gamma_0_is_binary_cross_entropy() -> None:
    logits, target = random_batch((5, 6), per_element)
    expected = F.binary_cross_entropy_with_logits(logits, target.double(), reduction="none")
    assert_close(sigmoid_focal_loss(logits, target, gamma=0), expected, 1e-15)


@pytest.mark.parametrize("alpha", [None, torch.tensor([0.75, 0.25])], ids=["no balance", "balance"])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_binary_is_softmax_of_zero_and_the_logit(gamma: float, alpha: Tensor | None) -> None:
    logits, target = random_batch((20,), per_element)
    binary = value_and_gradient(lambda z, y: sigmoid_focal_loss(z, y, alpha=alpha, gamma=gamma), logits, target)
    two_class = value_and_gradient(
        lambda z, y: softmax_focal_loss(pair(z), y, alpha=alpha, gamma=gamma), logits, target
    )
    for one, other in zip(binary, two_class, strict=True):
        assert_close(one, other, 1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_softmax_is_unchanged_by_a_constant_shift(gamma: float) -> None:
    logits, target = random_batch((6, 4))
    shifted = softmax_focal_loss(logits + 1000, target, gamma=gamma)
    assert_close(shifted, softmax_focal_loss(logits, target, gamma=gamma), 1e-11)


def test_alpha_multiplies_its_class_only() -> None:
    alpha = torch.tensor([1.0, 1.0, 7.0, 1.0])
    logits, target = random_batch((2, 4, 3, 5))
    ratio = softmax_focal_loss(logits, target, alpha=alpha) / softmax_focal_loss(logits, target)
    assert_close(ratio, torch.where(target == 2, 7.0, 1.0), 1e-15)


def test_alpha_of_the_binary_loss_is_negative_then_positive() -> None:
    logits, target = random_batch((5, 6), per_element)
    ratio = sigmoid_focal_loss(logits, target, alpha=torch.tensor([3.0, 5.0])) / sigmoid_focal_loss(logits, target)
    assert_close(ratio, torch.where(target == 1, 5.0, 3.0), 1e-15)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float16, torch.float32])
def test_binary_target_of_any_type(dtype: torch.dtype) -> None:
    logits, target = random_batch((5, 6), per_element)
    assert torch.equal(sigmoid_focal_loss(logits, target.to(dtype)), sigmoid_focal_loss(logits, target))


@pytest.mark.parametrize("gamma", [1e-3, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_vanishes_where_the_true_class_is_certain(gamma: float, dtype: torch.dtype) -> None:
    logits, target = torch.tensor([40.0, 90.0, 1e3, 1e4], dtype=dtype), torch.ones(4, dtype=torch.long)
    for loss, z in ((sigmoid_focal_loss, logits), (softmax_focal_loss, pair(logits))):
        value, gradient = value_and_gradient(lambda z, y, loss=loss: loss(z, y, gamma=gamma), z, target)
        assert_close(value, torch.zeros(4), 1e-12)
        assert_close(gradient, torch.zeros_like(z), 1e-12)


@pytest.mark.parametrize("dims", [(2, 0, 1), (1, 0, 2), (0, 2, 1)])
def test_binary_logits_may_lie_in_memory_in_any_order(dims: tuple[int, ...]) -> None:
    logits, target = random_batch((3, 4, 5), per_element)
    value, gradient = value_and_gradient(sigmoid_focal_loss, logits.permute(dims), target.permute(dims))
    expected, _ = value_and_gradient(sigmoid_focal_loss, logits, target)
    assert torch.equal(value, expected.permute(dims))
    assert gradient.shape == value.shape


@pytest.mark.parametrize("gap", [5.0, 15.0, 30.0])
def test_small_binary_loss_keeps_its_digits(gap: float) -> None:
    loss = sigmoid_focal_loss(torch.tensor([gap]), torch.tensor([1]), gamma=2)
    expected = math.log1p(math.exp(-gap)) / (1 + math.exp(gap)) ** 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_misses_cost_as_much_as_cross_entropy(gamma: float) -> None:
    loss = softmax_focal_loss(torch.tensor([[0.0, 50.0]], dtype=torch.float64), torch.tensor([0]), gamma=gamma)
    assert loss.item() == pytest.approx(50, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.3, 1.7])
def test_reduced_binary_gradient_keeps_the_digits_of_gamma(gamma: float) -> None:
    logits = torch.tensor([1.5], dtype=torch.float64)
    loss = lambda z, y: sigmoid_focal_loss(z, y, gamma=gamma, reduced_threshold=0.5)  # noqa: E731
    _, gradient = value_and_gradient(loss, logits, torch.ones(1))
    _, plain = value_and_gradient(lambda z, y: sigmoid_focal_loss(z, y, gamma=gamma), logits, torch.ones(1))
    assert_close(gradient, plain / 0.5**gamma, 1e-14)


def second_derivative(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> Tensor:
    """Of each element by its own logit."""
    leaf = logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, target).sum(), leaf, create_graph=True)
    return torch.autograd.grad(gradient.sum(), leaf)[0]


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"reduced_threshold": 0.5}, {"ignore_index": 7}])
@pytest.mark.parametrize("gamma", [1e-3, 0.1, 0.5, 0.999, 1.0, 1.5])
@pytest.mark.parametrize("label", [0, 1])
def test_second_derivative_is_finite_wherever_the_network_is_sure(gamma: float, label: int, options: dict) -> None:
    sizes = torch.tensor([0.3, 20, 60, 80, 87, 88, 89, 92, 95, 103, 104, 200, 600], dtype=torch.float64)
    logits = torch.cat([sizes, -sizes])
    target = torch.full(logits.shape, label)
    loss = partial(sigmoid_focal_loss, gamma=gamma, **options)
    expected = second_derivative(partial(oracles.sigmoid_focal_loss, gamma=gamma, **options), logits, target)
    expected = expected.where(logits.abs() < 80, 0)  # where the oracle loses its digits, of derivatives below 1e-34
    assert_close(second_derivative(loss, logits, target), expected, 1e-9)
    assert_close(second_derivative(loss, logits.float(), target), expected, 1e-5)
    far = torch.tensor([-6e4, -1e4, -1e3, 1e3, 1e4, 6e4])
    assert_close(second_derivative(loss, far, torch.full((6,), label)), torch.zeros(6), 1e-12)
    # So they are when torch transforms the loss.
    hessian = torch.func.hessian(lambda z: loss(z, target).sum())(logits.float())
    assert_close(hessian.diagonal(), expected, 1e-5)


@pytest.mark.parametrize("z", [15.0, 19.0, 20.5, 25.0, 35.0, 39.9, 40.1, 60.0])
def test_a_sure_miss_keeps_the_last_digits(z: float) -> None:
    """log(1 + exp(z)) is not yet z: torch's softplus takes it for z from 20 on."""
    loss = sigmoid_focal_loss(torch.tensor([z], dtype=torch.float64), torch.tensor([0]), gamma=0.0)
    assert loss.item() == pytest.approx(z + math.log1p(math.exp(-z)), rel=1e-15, abs=0)


@pytest.mark.parametrize("gap", [6.0, 10.0, 12.0])
def test_a_large_gamma_does_not_show_the_digits_that_a_subtraction_loses(gap: float) -> None:
    loss = partial(sigmoid_focal_loss, gamma=30.0)
    _, gradient = value_and_gradient(loss, torch.tensor([-gap]), torch.tensor([1]))
    _, expected = value_and_gradient(loss, torch.tensor([-gap], dtype=torch.float64), torch.tensor([1]))
    torch.testing.assert_close(gradient.double(), expected, rtol=5e-6, atol=0)
