from __future__ import annotations

import pytest
import torch
from torch import Tensor

from functional.cases import assert_close, random_batch, value_and_gradient
from ludwig_losses.functional import dice_loss

SMOOTH = [0.0, 0.5, 1.0]


def certain(classes: Tensor, count: int) -> Tensor:
    """Logits whose softmax is exactly one-hot."""
    return 1e4 * torch.nn.functional.one_hot(classes, count).movedim(-1, 1).double()


@pytest.mark.parametrize("smooth", SMOOTH)
def test_perfect_masks_cost_nothing(smooth: float) -> None:
    _, target = random_batch((3, 4, 6, 5))
    # Class 4 is in no image and predicted in none.
    assert dice_loss(certain(target, 5), target, smooth=smooth) == 0


@pytest.mark.parametrize("smooth", SMOOTH)
def test_disjoint_masks_cost_all_but_the_smoothing(smooth: float) -> None:
    _, target = random_batch((3, 2, 6, 5))
    # Each class has as many pixels predicted as the other one has: all 30 together.
    assert dice_loss(certain(1 - target, 2), target, smooth=smooth).item() == pytest.approx(1 - smooth / (30 + smooth))


def test_half_right() -> None:
    target, predicted = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 1, 1]])
    # Class 0: 2 * 2 / (2 + 3); class 1: 2 * 1 / (2 + 1).
    assert dice_loss(certain(predicted, 2), target, smooth=0).item() == pytest.approx(1 - (4 / 5 + 2 / 3) / 2)


@pytest.mark.parametrize("smooth", SMOOTH)
def test_absent_class_costs_the_mass_predicted_for_it(smooth: float) -> None:
    target, predicted = torch.zeros(1, 8, dtype=torch.long), torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]])
    present, absent = 1 - (12 + smooth) / (14 + smooth), 1 - smooth / (2 + smooth)
    assert dice_loss(certain(predicted, 2), target, smooth=smooth).item() == pytest.approx((present + absent) / 2)


def test_absent_class_without_smoothing_has_a_finite_gradient() -> None:
    target = torch.zeros(2, 3, 3, dtype=torch.long)
    value, gradient = value_and_gradient(lambda z, y: dice_loss(z, y, smooth=0), certain(target, 3), target)
    assert value == 0
    assert gradient.count_nonzero() == 0


def test_order_of_the_pixels_does_not_matter() -> None:
    logits, target = random_batch((3, 4, 20))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert_close(dice_loss(logits[..., order], target[..., order]), dice_loss(logits, target), 1e-14)


def test_pixel_dimensions_do_not_matter() -> None:
    logits, target = random_batch((3, 4, 4, 5))
    assert_close(dice_loss(logits.flatten(2), target.flatten(1)), dice_loss(logits, target), 1e-15)


def test_is_the_mean_over_the_images() -> None:
    logits, target = random_batch((3, 4, 4, 5))
    single = [dice_loss(logits[i : i + 1], target[i : i + 1]) for i in range(3)]
    assert_close(dice_loss(logits, target), torch.stack(single).mean(), 1e-15)


def test_counts_more_pixels_than_float32_can() -> None:
    # Adding 1 to a float32 sum does nothing from 2**24 on.
    pixels = 5 * 2**22
    target = torch.zeros(1, pixels, dtype=torch.uint8)
    assert dice_loss(torch.zeros(1, 1, pixels), target).item() == pytest.approx(0, abs=1e-6)
