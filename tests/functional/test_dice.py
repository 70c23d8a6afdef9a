from __future__ import annotations

import mpmath
import pytest
import torch
from torch import Tensor

from functional.cases import assert_close, random_batch, value_and_gradient
from ludwig_losses.functional import dice_loss

HALVES = [(torch.float16, 2e-3), (torch.bfloat16, 1e-2)]
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


NEUTRAL = [
    {"tversky_alpha": 0.5, "tversky_beta": 0.5},
    {"focal_tversky_gamma": 1.0},
    {"class_weights": torch.full((4,), 0.3)},
    {"ignore_index": 4},
    {"ignore_index": []},
]


@pytest.mark.parametrize("options", NEUTRAL, ids=str)
def test_neutral_options_are_the_plain_loss(options: dict) -> None:
    logits, target = random_batch((3, 4, 4, 5))
    assert_close(dice_loss(logits, target, **options), dice_loss(logits, target), 1e-14)


def test_jaccard_is_the_tversky_index_with_both_weights_1_and_one_minus_iou_of_hard_masks() -> None:
    logits, target = random_batch((3, 4, 4, 5))
    tversky = dice_loss(logits, target, tversky_alpha=1, tversky_beta=1)
    assert torch.equal(dice_loss(logits, target, jaccard=True), tversky)
    target, predicted = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 1, 1]])
    loss = dice_loss(certain(predicted, 2), target, smooth=0, jaccard=True)
    assert loss.item() == pytest.approx(1 - (2 / 3 + 1 / 2) / 2)


def test_tversky_weighs_what_is_predicted_falsely_and_what_is_missed() -> None:
    target, predicted = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 1, 1]])
    loss = dice_loss(certain(predicted, 2), target, smooth=0, tversky_alpha=0.2, tversky_beta=0.8)
    # Class 0 has 2 right and 1 missed, class 1 has 1 right and 1 predicted falsely.
    assert loss.item() == pytest.approx(1 - (2 / (2 + 0.8) + 1 / (1 + 0.2)) / 2)


def test_focal_tversky_has_the_exponent_of_the_paper() -> None:
    logits, target = random_batch((1, 4, 4, 5))
    weights = torch.tensor([0.0, 0.0, 1.0, 0.0])
    plain = dice_loss(logits, target, class_weights=weights)
    focal = dice_loss(logits, target, class_weights=weights, focal_tversky_gamma=4 / 3)
    assert focal.item() == pytest.approx(plain.item() ** 0.75)


@pytest.mark.parametrize("gamma", [0.1, 4 / 3, 10.0])
def test_focal_tversky_has_a_finite_gradient_at_a_perfect_score(gamma: float) -> None:
    _, target = random_batch((3, 4, 4, 5))
    for size in (1.0, 0.001):
        logits = size * certain(target, 4).float()
        value, gradient = value_and_gradient(lambda z, y: dice_loss(z, y, focal_tversky_gamma=gamma), logits, target)
        assert 0 <= value < 0.5 and gradient.isfinite().all()


@pytest.mark.parametrize("gap", [80.0, 95.0, 100.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_trace_of_a_present_class_has_a_finite_gradient(classes: int, gap: float) -> None:
    # Only what is predicted falsely counts, and nearly nothing of the true class is predicted.
    logits, target = torch.zeros(1, classes, 4), torch.ones(1, 4, dtype=torch.long)
    logits[:, 0] = gap
    value, gradient = value_and_gradient(
        lambda z, y: dice_loss(z, y, smooth=0, tversky_alpha=1.0, tversky_beta=0.0), logits, target
    )
    assert value.isfinite() and gradient.isfinite().all()


def test_log_of_no_overlap_is_finite_even_without_smoothing() -> None:
    _, target = random_batch((3, 2, 6, 5))
    value, gradient = value_and_gradient(
        lambda z, y: dice_loss(z, y, smooth=0, log_dice=True), certain(1 - target, 2).float(), target
    )
    assert 50 < value < 100 and gradient.isfinite().all()


def test_generalized_weighs_rare_classes_more_and_absent_ones_as_the_rarest() -> None:
    target = torch.tensor([[0, 0, 0, 0, 1, 1]])
    predicted = torch.tensor([[0, 0, 0, 2, 0, 1]])
    # Of class 0: 3 of 4 true and 4 predicted; of class 1: 1 of 2 and 1; of class 2: 0 of 0 and 1, with the weight of class 1.
    weights = [1 / 16, 1 / 4, 1 / 4]
    overlap = sum(w * i for w, i in zip(weights, (3, 1, 0), strict=True))
    mass = sum(w * (p + g) for w, p, g in zip(weights, (4, 1, 1), (4, 2, 0), strict=True))
    loss = dice_loss(certain(predicted, 3), target, smooth=0, generalized=True)
    assert loss.item() == pytest.approx(1 - 2 * overlap / mass)


@pytest.mark.parametrize(
    "options", [{}, {"generalized": True}, {"squared_denominator": True}, {"log_dice": True}], ids=str
)
def test_ignored_pixels_leave_the_prediction_and_the_target(options: dict) -> None:
    logits, target = random_batch((2, 3, 6))
    expected = dice_loss(logits[..., :4], target[..., :4], **options)
    target[..., 4:] = 255
    logits[..., 5] = torch.nan
    value, gradient = value_and_gradient(lambda z, y: dice_loss(z, y, ignore_index=255, **options), logits, target)
    assert_close(value, expected, 1e-14)
    assert gradient[..., 4:].count_nonzero() == 0 and gradient[..., :4].isfinite().all()


def test_an_ignored_class_leaves_the_mean_over_classes() -> None:
    logits, target = random_batch((2, 3, 6))
    target[:, :2] = 1
    kept = dice_loss(
        logits[..., 2:], target[..., 2:].masked_fill(target[..., 2:] == 1, 0), class_weights=torch.tensor([1.0, 0, 1])
    )
    target = target.clone()
    target[:, 2:][target[:, 2:] == 1] = 0
    assert_close(dice_loss(logits, target, ignore_index=1), kept, 1e-14)


def test_an_image_with_nothing_left_leaves_the_mean_over_images() -> None:
    logits, target = random_batch((3, 3, 6))
    target[2] = 1
    expected = dice_loss(logits[:2], target[:2], ignore_index=1)
    assert_close(dice_loss(logits, target, ignore_index=1), expected, 1e-14)


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("generalized", [True, False])
def test_nothing_but_ignored_pixels_cost_nothing(per_image: bool, generalized: bool) -> None:
    logits, target = torch.randn(2, 3, 4, 4, dtype=torch.float16), torch.full((2, 4, 4), 1, dtype=torch.uint8)

    def loss(z: Tensor, y: Tensor) -> Tensor:
        return dice_loss(z, y, ignore_index=1, per_image=per_image, generalized=generalized, smooth=0.5)

    value, gradient = value_and_gradient(loss, logits, target)
    assert value == 0 and gradient.count_nonzero() == 0


def test_the_background_leaves_after_the_softmax() -> None:
    logits, target = random_batch((2, 3, 6))
    weights = torch.tensor([0.0, 1.0, 1.0])
    expected = dice_loss(logits, target, class_weights=weights)
    assert_close(dice_loss(logits, target, include_background=False), expected, 1e-14)


def test_the_batch_as_one_image() -> None:
    logits, target = random_batch((3, 4, 2, 5))
    side_by_side = logits.movedim(0, 1).reshape(1, 4, -1)
    assert_close(dice_loss(logits, target, per_image=False), dice_loss(side_by_side, target.reshape(1, -1)), 1e-14)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"jaccard": True, "tversky_alpha": 0.3}, "jaccard: true .* got 0.3 and 0.5. Leave out jaccard"),
        ({"tversky_alpha": 0, "tversky_beta": 0}, "let no mistake count"),
        (
            {"squared_denominator": True, "tversky_beta": 0.7},
            "tversky_alpha: 0.5 and tversky_beta: 0.7. Make them equal",
        ),
        ({"log_dice": True, "focal_tversky_gamma": 2.0}, "focal_tversky_gamma: 2.0 .* Leave out one"),
        ({"generalized": True, "class_weights": torch.ones(2)}, "Leave out that, or class_weights"),
        (
            {"include_background": False, "ignore_index": 1},
            "include_background: false and ignore_index: 1 leave none of",
        ),
    ],
)
def test_options_that_mean_nothing_together(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dice_loss(torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.long), **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), *HALVES])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("gamma", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("gap", [5.0, 16.0, 18.0, 30.0])
def test_focal_tversky_keeps_its_digits_near_a_perfect_score(
    gap: float, gamma: float, squared: bool, dtype: torch.dtype, tolerance: float
) -> None:
    logits, target = torch.tensor([[[gap], [0.0]]], dtype=dtype), torch.zeros(1, 1, dtype=torch.long)
    value, gradient = value_and_gradient(
        lambda z, y: dice_loss(z, y, focal_tversky_gamma=gamma, squared_denominator=squared), logits, target
    )
    # Of the one pixel, q = 1 - p is missing from class 0 and too much for class 1.
    with mpmath.workdps(50):
        q = lambda z: 1 / (1 + mpmath.exp(z))  # noqa: E731
        mistakes = lambda z: q(z) ** 2 if squared else q(z)  # noqa: E731

        def loss(z: mpmath.mpf) -> mpmath.mpf:
            misses = mistakes(z) / (2 * (1 - q(z)) + mistakes(z) + 1), mistakes(z) / (mistakes(z) + 1)
            return sum(miss ** (1 / mpmath.mpf(gamma)) for miss in misses) / 2

        expected, slope = float(loss(mpmath.mpf(gap))), float(mpmath.diff(loss, gap))
    assert value.item() == pytest.approx(expected, rel=tolerance if value.dtype == dtype else 1e-6)
    # The harness weighs a single value by one half.
    tiny = 1e-7 if dtype.itemsize == 2 else 1e-40
    assert gradient.flatten().tolist() == pytest.approx([slope / 2, -slope / 2], rel=tolerance, abs=tiny)


def test_focal_tversky_of_a_sure_prediction_in_figures() -> None:
    logits, target = torch.tensor([[[18.0], [0.0]]]), torch.zeros(1, 1, dtype=torch.long)
    assert dice_loss(logits, target, focal_tversky_gamma=10.0).item() == pytest.approx(0.1567, abs=5e-5)
