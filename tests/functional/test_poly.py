from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from functional.cases import assert_close, random_batch, value_and_gradient
from ludwig_losses.functional import poly_loss


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (2, 3, 4, 5)])
def test_epsilon_0_is_cross_entropy(shape: tuple[int, ...]) -> None:
    logits, target = random_batch(shape)
    assert_close(poly_loss(logits, target, epsilon=0), F.cross_entropy(logits, target, reduction="none"), 1e-15)


@pytest.mark.parametrize("epsilon", [-1.0, 0.5, 2.0])
def test_epsilon_weighs_the_probability_of_a_miss(epsilon: float) -> None:
    logits, target = random_batch((6, 4))
    added = poly_loss(logits, target, epsilon=epsilon) - poly_loss(logits, target, epsilon=0)
    hit = logits.softmax(dim=1).gather(1, target.unsqueeze(1)).squeeze(1)
    assert_close(added, epsilon * (1 - hit), 1e-12)


def test_epsilon_is_1_unless_given() -> None:
    logits, target = random_batch((6, 4))
    assert torch.equal(poly_loss(logits, target), poly_loss(logits, target, epsilon=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smallest_epsilon_gives_no_negative_loss(dtype: torch.dtype) -> None:
    z = torch.linspace(-30, 120, 20_001, dtype=dtype)
    loss = poly_loss(torch.stack([torch.zeros_like(z), z], dim=1), torch.ones(len(z), dtype=torch.long), epsilon=-1)
    assert loss.min() >= 0
    assert loss.max() > 28


def test_is_unchanged_by_a_constant_shift() -> None:
    logits, target = random_batch((6, 4))
    assert_close(poly_loss(logits + 1000, target), poly_loss(logits, target), 1e-11)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_smoothed_gradient_of_a_sure_prediction_keeps_its_digits(gamma: float) -> None:
    logits, target = torch.tensor([[0.0, 1e4], [-1e4, 1e4]], dtype=torch.float64), torch.ones(2, dtype=torch.long)

    def gradient(logits: Tensor) -> Tensor:
        loss = partial(poly_loss, gamma=gamma, label_smoothing=0.1)
        return value_and_gradient(loss, logits, target)[1]

    # The slope of 0.95 log p_1 + 0.05 log p_0 is 0.05: of the focus, 0.05**gamma, nothing else depends on the logits.
    expected = 0.05 ** (gamma + 1) * torch.tensor([[-1.0, 1.0], [-1.0, 1.0]])
    expected *= torch.tensor([[0.5], [1.5]])
    assert_close(gradient(logits), expected, 1e-6)
    assert_close(gradient(logits.float()), expected, 1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("gap", [0.0, 30.0, 300.0])
def test_smoothed_gradient_of_a_miss_keeps_its_digits(gamma: float, gap: float) -> None:
    logits, target = torch.tensor([[0.375, -0.25, -gap]]), torch.tensor([2])

    def gradient(logits: Tensor) -> Tensor:
        loss = partial(poly_loss, epsilon=[1.0, -0.5], gamma=gamma, label_smoothing=0.1)
        return value_and_gradient(loss, logits, target)[1]

    expected = gradient(logits.double())
    assert_close(gradient(logits), expected, 1e-6)
    assert_close(gradient(logits.bfloat16()), expected, 2**-8)
