from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from functional.cases import assert_close, random_batch, value_and_gradient
from ludwig_losses.functional import softmax_focal_loss
from ludwig_losses.functional._numerics import full_precision, is_counted, weighted_mean


@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 5)])
@pytest.mark.parametrize("class_weights", [[0.5, 2.0, 1.0, 0.1], [0.0, 3.0, 0.0, 1.0], None], ids=str)
def test_weighted_mean_is_the_reduction_of_cross_entropy(
    shape: tuple[int, ...], class_weights: list[float] | None
) -> None:
    logits, target = random_batch(shape)
    weight = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
    expected = torch.nn.CrossEntropyLoss(weight=weight)(logits, target)
    loss = F.cross_entropy(logits, target, reduction="none")
    assert_close(weighted_mean(loss, None if weight is None else weight[target]), expected, 1e-14)


@pytest.mark.parametrize("size", [0, 4])
def test_weights_of_zero_give_0_and_no_gradient(size: int) -> None:
    losses = torch.linspace(1, 2, size)
    value, gradient = value_and_gradient(weighted_mean, losses, torch.zeros(size))
    assert value.shape == ()
    assert value == 0
    assert torch.equal(gradient, torch.zeros(size))


def test_mean_of_nothing_is_0() -> None:
    value, gradient = value_and_gradient(weighted_mean, torch.zeros(0, 3), None)
    assert value.shape == ()
    assert value == 0
    assert gradient.shape == (0, 3)


def test_scaling_the_weights_changes_nothing() -> None:
    losses, weights = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 0.0, 3.0])
    for scale in (1, 1e-3, 1e6):
        assert weighted_mean(losses, scale * weights).item() == pytest.approx(19 / 4, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_full_precision_of_less_is_float32(dtype: torch.dtype) -> None:
    assert full_precision(torch.ones(3, dtype=dtype)).dtype == torch.float32


def test_full_precision_of_float64_is_itself() -> None:
    tensor = torch.ones(3, dtype=torch.float64)
    assert full_precision(tensor) is tensor


@pytest.mark.parametrize("index", [-100, [3, -100]])
def test_a_class_of_a_mask_is_not_ignored_because_its_type_has_no_minus(index: int | list[int]) -> None:
    """Beside uint8, torch takes -100 for 156."""
    target = torch.tensor([156, 3, 0], dtype=torch.uint8)
    assert is_counted(target, index).tolist() == [True, isinstance(index, int), True]
    logits = torch.randn(3, 160, generator=torch.Generator().manual_seed(0))
    loss = softmax_focal_loss(logits, target, ignore_index=index)
    assert loss[0] == softmax_focal_loss(logits, target)[0] > 0
