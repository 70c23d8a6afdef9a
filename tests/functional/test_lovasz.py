from __future__ import annotations

import pytest
import torch
from torch import Tensor

import oracles
from functional.cases import assert_close, random_batch, value_and_gradient
from ludwig_losses.functional import _numerics, _radix, lovasz, lovasz_softmax_loss


def certain(classes: Tensor, count: int) -> Tensor:
    """Logits whose softmax is exactly one-hot."""
    return 1e4 * torch.nn.functional.one_hot(classes, count).movedim(-1, 1).double()


def mean_iou(predicted: Tensor, target: Tensor) -> float:
    """Mean over the classes that the target has of intersection over union."""
    ious = []
    for c in target.unique().tolist():
        intersection = ((predicted == c) & (target == c)).sum().item()
        union = ((predicted == c) | (target == c)).sum().item()
        ious.append(intersection / union)
    return sum(ious) / len(ious)


@pytest.mark.parametrize("pixels", [(1,), (7,), (9, 8), (3, 4, 5)])
@pytest.mark.parametrize("seed", range(5))
def test_hard_errors_cost_one_minus_mean_iou(seed: int, pixels: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few pixels leave classes of the target out, of the prediction out, or both.
    target, predicted = torch.randint(5, (2, 2, *pixels), generator=generator)
    loss = lovasz_softmax_loss(certain(predicted, 5), target)
    assert loss.item() == pytest.approx(1 - mean_iou(predicted, target), abs=1e-14)


def test_is_a_scalar_of_no_dimensions() -> None:
    assert lovasz_softmax_loss(*random_batch((2, 3, 4, 5))).shape == ()


def test_order_of_the_pixels_does_not_matter() -> None:
    logits, target = random_batch((1, 4, 40))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = lovasz_softmax_loss(logits[..., order], target[..., order])
    assert_close(shuffled, lovasz_softmax_loss(logits, target), 1e-14)


def test_order_of_tied_pixels_does_not_matter() -> None:
    _, target = random_batch((1, 4, 40))
    logits = torch.zeros(1, 4, 40, dtype=torch.float64)
    assert_close(lovasz_softmax_loss(logits, target.sort().values), lovasz_softmax_loss(logits, target), 1e-14)


def test_images_of_a_batch_are_one_set_of_pixels() -> None:
    logits, target = random_batch((3, 4, 2, 5))
    side_by_side = logits.movedim(0, 1).reshape(1, 4, -1)
    assert_close(lovasz_softmax_loss(side_by_side, target.reshape(1, -1)), lovasz_softmax_loss(logits, target), 1e-14)


def test_absent_classes_do_not_count() -> None:
    logits, target = random_batch((2, 3, 4, 5))
    more = torch.cat([logits, torch.full((2, 4, 4, 5), -torch.inf)], dim=1)
    assert_close(lovasz_softmax_loss(more, target), lovasz_softmax_loss(logits, target), 1e-15)


def test_small_steps_near_a_jaccard_loss_of_1_keep_their_digits() -> None:
    # One pixel of class 1 among 4096 of class 0, all uncertain: differences of Jaccard values would lose 3 digits.
    logits, target = random_batch((1, 2, 4097), dtype=torch.float32)
    target = torch.zeros_like(target).index_fill(1, torch.tensor([0]), 1)
    assert_close(lovasz_softmax_loss(logits, target), lovasz_softmax_loss(logits.double(), target), 1e-6)


@pytest.mark.parametrize("together", [1, 40, 10**6])
@pytest.mark.parametrize("on_cpu", [True, False], ids=["numpy", "as on other devices"])
@pytest.mark.parametrize("shape", [(6, 4), (1, 2, 3, 3), (2, 7, 4, 5), (1, 140, 20), (0, 3, 2), (0, 0, 2)])
def test_classes_alone_and_together(
    shape: tuple[int, ...], on_cpu: bool, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_numerics, "_is_on_cpu", lambda mask: on_cpu)
    monkeypatch.setattr(lovasz, "_TOGETHER", together)
    logits, target = random_batch(shape) if shape[1] else (torch.zeros(shape), torch.zeros(0, 2, dtype=torch.long))
    value, gradient = value_and_gradient(lovasz_softmax_loss, logits, target)
    expected, expected_gradient = value_and_gradient(oracles.lovasz_softmax_loss, logits, target)
    assert_close(value, expected, 1e-13)
    assert_close(gradient, expected_gradient, 1e-13)


def test_the_steps_of_the_example_of_two_classes() -> None:
    """The table in the docstring: classes of three and two pixels, one after the other."""
    foreground = torch.tensor([False, True, True, True, False])
    steps = lovasz._jaccard_steps(foreground, torch.tensor([3, 2]), torch.float64)
    assert steps.tolist() == [0, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("error", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("count", [1000, 5000, 40_000], ids=["torch compares", "half by half", "torch by radix"])
def test_errors_are_sorted_with_their_foreground(count: int, error: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    given = torch.rand(count, generator=generator, dtype=error) ** 20
    given[:10] = torch.tensor([0.0, 1.0]).repeat(5)
    foreground = torch.rand(count, generator=generator) < 0.3
    ascending, sorted_foreground, order = _radix.sort_errors(given.clone(), foreground)
    assert torch.equal(ascending, given.sort().values)
    assert torch.equal(ascending, given[order])
    assert torch.equal(sorted_foreground, foreground[order])


def test_two_classes_both_count_where_the_network_is_right_everywhere() -> None:
    # In float32 1 - p of one class is not quite p of the other.
    target = torch.tensor([[0, 1, 0, 1], [0, 1, 1, 0]])
    logits = 10 * torch.nn.functional.one_hot(target, 2).movedim(-1, 1).float()
    assert_close(lovasz_softmax_loss(logits, target), lovasz_softmax_loss(logits.double(), target), 1e-3)


def test_many_pixels_of_a_sure_network_keep_their_digits() -> None:
    # Enough for the sort by radix, with errors from 1 down to 0, in both directions wrong.
    logits, target = random_batch((2, 3, 150, 150), dtype=torch.float32)
    logits = 10 * logits
    value, gradient = value_and_gradient(lovasz_softmax_loss, logits, target)
    expected, expected_gradient = value_and_gradient(lovasz_softmax_loss, logits.double(), target)
    assert_close(value, expected, 1e-6)
    assert (gradient - expected_gradient).abs().sum() < 1e-4 * expected_gradient.abs().sum()


def test_an_absent_class_costs_its_largest_probability() -> None:
    logits, target = random_batch((2, 4, 5))
    target = target.clamp_max(2)
    largest = logits.softmax(dim=1)[:, 3].max()
    assert_close(lovasz_softmax_loss(logits, target, classes=[3]), largest, 1e-15)
    present = lovasz_softmax_loss(logits, target, classes=[0, 1, 2])
    assert_close(lovasz_softmax_loss(logits, target, classes="all"), (3 * present + largest) / 4, 1e-14)


def test_all_classes_are_those_present_where_none_is_absent() -> None:
    logits, target = random_batch((3, 4, 4, 5))
    expected = lovasz_softmax_loss(logits, target)
    assert_close(lovasz_softmax_loss(logits, target, classes="all"), expected, 1e-14)
    assert_close(lovasz_softmax_loss(logits, target, classes=[3, 2, 1, 0]), expected, 1e-14)


def test_per_image_is_the_mean_over_the_images_of_which_something_is_left() -> None:
    logits, target = random_batch((4, 3, 4, 5))
    target[3] = 255
    single = [lovasz_softmax_loss(logits[i : i + 1], target[i : i + 1]) for i in range(3)]
    loss = lovasz_softmax_loss(logits, target, per_image=True, ignore_index=255)
    assert_close(loss, torch.stack(single).mean(), 1e-14)


def test_ignored_pixels_do_not_count() -> None:
    logits, target = random_batch((2, 3, 6))
    expected = lovasz_softmax_loss(logits[..., :4], target[..., :4])
    target[..., 4:] = 255
    logits[..., 5] = 1e4
    value, gradient = value_and_gradient(lambda z, y: lovasz_softmax_loss(z, y, ignore_index=255), logits, target)
    assert_close(value, expected, 1e-14)
    assert gradient[..., 4:].count_nonzero() == 0


@pytest.mark.parametrize("options", [{}, {"classes": "all"}, {"classes": [0]}, {"per_image": True}], ids=str)
def test_nothing_but_ignored_pixels_cost_nothing(options: dict) -> None:
    logits, target = torch.randn(2, 3, 4, 4, dtype=torch.float16), torch.ones(2, 4, 4, dtype=torch.uint8)
    loss = lambda z, y: lovasz_softmax_loss(z, y, ignore_index=1, **options)  # noqa: E731
    value, gradient = value_and_gradient(loss, logits, target)
    assert value == 0 and gradient.count_nonzero() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": "presnt"}, "classes must be present, all, or a list of indices; got 'presnt'"),
        ({"classes": []}, "empty list"),
        ({"classes": [0, 3]}, r"classes: \[0, 3\], but there is no class 3; there are 3"),
        ({"classes": [-1]}, "there is no class -1"),
        ({"classes": [0, 1], "ignore_index": [1]}, r"have 1 in common"),
    ],
)
def test_classes_that_cannot_be_averaged(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lovasz_softmax_loss(torch.zeros(1, 3, 3), torch.zeros(1, 3, dtype=torch.long), **options)
