"""Options that several classification losses share: ignored classes and smoothed labels."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import oracles
from functional.cases import CASES, assert_close, per_element, random_batch, value_and_gradient
from ludwig_losses import functional

SHARED = {"ignore_index", "label_smoothing"}
MAKE_TARGET = {
    case.name: case.make_target
    for case in CASES
    if {*inspect.signature(getattr(functional, case.name)).parameters} >= SHARED
}
OPTIONS = [(name, options) for name in MAKE_TARGET for options in oracles.FUNCTIONS[name].ways]

every_loss = pytest.mark.parametrize("name", MAKE_TARGET)
every_option = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)


def batch(name: str, shape: tuple[int, ...] = (6, 4), dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return random_batch(shape, MAKE_TARGET[name], dtype)


@every_option
@pytest.mark.parametrize(
    ("index", "dtype"), [(255, torch.uint8), (-100, torch.int8), (-100, torch.int64), (1, torch.int64)]
)
def test_ignored_elements_leave_the_others_alone(name: str, options: dict, index: int, dtype: torch.dtype) -> None:
    logits, target = batch(name)
    loss = getattr(functional, name)
    expected, expected_gradient = value_and_gradient(lambda z, y: loss(z, y, **options), logits, target)
    ignored = target.clone()
    ignored.flatten()[1::2] = index
    is_ignored = ignored == index
    value, gradient = value_and_gradient(
        lambda z, y: loss(z, y, ignore_index=index, **options), logits, ignored.to(dtype)
    )
    assert torch.equal(value, torch.where(is_ignored, 0, expected))
    rows = is_ignored if is_ignored.ndim == logits.ndim else is_ignored.unsqueeze(1)
    assert torch.equal(gradient, torch.where(rows, 0, expected_gradient))


@every_option
@pytest.mark.parametrize("fill", [1e4, -1e4, 0.0])
def test_where_all_is_ignored_there_is_no_loss_and_no_gradient(name: str, options: dict, fill: float) -> None:
    logits, target = batch(name, dtype=torch.float32)
    logits = logits.sign() * 1e4 if fill else torch.zeros_like(logits)
    value, gradient = value_and_gradient(
        lambda z, y: getattr(functional, name)(z, y, ignore_index=[0, 1], **options), logits, target.clamp(0, 1)
    )
    assert value.count_nonzero() == 0 and gradient.count_nonzero() == 0


@every_option
def test_a_masked_class_may_be_ignored_and_smoothed(name: str, options: dict) -> None:
    if MAKE_TARGET[name] is per_element:
        return
    logits, target = batch(name)
    logits[:, 0] = -torch.inf
    value, gradient = value_and_gradient(
        lambda z, y: getattr(functional, name)(z, y, ignore_index=0, **options), logits, target
    )
    assert value.isfinite().all() and gradient.isfinite().all()
    assert gradient[:, 0].count_nonzero() == 0
    # The other classes are as they would be alone.
    kept = target > 0
    alone = getattr(functional, name)(logits[kept, 1:], target[kept] - 1, **options)
    assert_close(value[kept], alone, 1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_masked_positive_class_may_be_ignored_and_smoothed(gamma: float, smoothing: float) -> None:
    logits = torch.tensor([-torch.inf, -torch.inf, 3.0])
    loss = functional.sigmoid_focal_loss
    value, gradient = value_and_gradient(
        lambda z, y: loss(z, y, gamma=gamma, label_smoothing=smoothing, ignore_index=255),
        logits,
        torch.tensor([0, 255, 1]),
    )
    alone = loss(logits[2:], torch.ones(1), gamma=gamma, label_smoothing=smoothing)
    assert torch.equal(value, torch.cat([torch.zeros(2), alone]))
    assert gradient[:2].count_nonzero() == 0 and gradient[2].isfinite()


@every_loss
def test_ignoring_a_class_that_does_not_occur_changes_nothing(name: str) -> None:
    logits, target = batch(name)
    loss = getattr(functional, name)
    assert torch.equal(loss(logits, target, ignore_index=9), loss(logits, target))
    assert torch.equal(loss(logits, target, ignore_index=[]), loss(logits, target))


@every_loss
def test_a_little_smoothing_changes_a_little(name: str) -> None:
    logits, target = batch(name)
    loss = getattr(functional, name)
    assert torch.equal(loss(logits, target, label_smoothing=0.0), loss(logits, target))
    assert_close(loss(logits, target, label_smoothing=1e-9), loss(logits, target), 1e-6)


@pytest.mark.parametrize(("name", "neutral"), [("softmax_focal_loss", {"gamma": 0.0}), ("poly_loss", {"epsilon": 0.0})])
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_smoothed_cross_entropy_is_that_of_torch(name: str, neutral: dict, smoothing: float) -> None:
    logits, target = random_batch((2, 4, 3, 5))
    expected = F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="none")
    assert_close(getattr(functional, name)(logits, target, label_smoothing=smoothing, **neutral), expected, 1e-14)


@pytest.mark.parametrize("smoothing", [0.1, 0.6])
@pytest.mark.parametrize("alpha", [1.01, 1.3, 1.5, 1.9, 2.0])
def test_smoothed_fenchel_young_loss_vanishes_where_the_prediction_is_the_label(alpha: float, smoothing: float) -> None:
    label = F.one_hot(torch.arange(4)).double() * (1 - smoothing) + smoothing / 4
    # The logits whose projection is the label: the derivative of the negative entropy.
    logits = (label ** (alpha - 1) / (alpha - 1)).requires_grad_()
    assert_close(functional.entmax(logits.detach(), alpha), label, 1e-12)
    loss = functional.entmax_loss(logits, torch.arange(4), alpha=alpha, label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert_close(loss, torch.zeros(4), 1e-10)
    assert_close(gradient, torch.zeros(4, 4), 1e-10)


@pytest.mark.parametrize("alpha", [1.05, 1.5, 2.0])
def test_smoothed_fenchel_young_loss_keeps_its_digits_where_the_true_class_is_far_behind(alpha: float) -> None:
    logits, target = torch.zeros(1, 600), torch.tensor([0])
    logits[0, 0] = -1e4
    loss = functional.entmax_loss(logits, target, alpha=alpha, label_smoothing=1.0)
    expected = functional.entmax_loss(logits.double(), target, alpha=alpha, label_smoothing=1.0)
    assert_close(loss, expected, 1e-6)


@pytest.mark.parametrize("alpha", [1.05, 1.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smoothed_fenchel_young_loss_is_never_negative(alpha: float, dtype: torch.dtype) -> None:
    logits = torch.randn(2000, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))
    target = logits.argmax(dim=1)
    loss = functional.entmax_loss(logits, target, alpha=alpha, label_smoothing=0.3)
    assert loss.min() >= 0
    (gradient,) = torch.autograd.grad(
        functional.entmax_loss(logits.requires_grad_(), target, alpha=alpha, label_smoothing=0.3).sum(), logits
    )
    label = F.one_hot(target, 5) * 0.7 + 0.06
    assert_close(gradient, functional.entmax(logits.detach(), alpha) - label, 1e-6)


def test_reduced_focal_loss_counts_hard_examples_in_full() -> None:
    logits = torch.tensor([[0.0, 2.0], [0.0, -2.0]], dtype=torch.float64)
    target = torch.tensor([1, 1])
    nll = F.cross_entropy(logits, target, reduction="none")
    miss = 1 - torch.exp(-nll)
    loss = functional.softmax_focal_loss(logits, target, reduced_threshold=0.5)
    assert_close(loss, torch.stack([(miss[0] / 0.5) ** 2 * nll[0], nll[1]]), 1e-12)
    # With a threshold of 1 nothing is easy.
    assert_close(functional.softmax_focal_loss(logits, target, reduced_threshold=1.0), nll, 1e-12)


def test_poly_focal_without_a_polynomial_is_focal_loss() -> None:
    logits, target = random_batch((2, 4, 3, 5))
    for gamma in (0.5, 2.0):
        focal = functional.softmax_focal_loss(logits, target, gamma=gamma)
        assert_close(functional.poly_loss(logits, target, epsilon=0.0, gamma=gamma), focal, 1e-13)


def test_a_list_of_one_is_that_number_and_zeros_change_nothing() -> None:
    logits, target = random_batch((6, 4))
    expected = functional.poly_loss(logits, target, epsilon=1.5)
    assert torch.equal(functional.poly_loss(logits, target, epsilon=[1.5]), expected)
    assert_close(functional.poly_loss(logits, target, epsilon=[1.5, 0.0, 0.0]), expected, 1e-14)


def test_poly_without_its_leading_terms_is_what_remains_of_the_expansion() -> None:
    # Dropping the first three terms of sum_j (1 - p)**j / j.
    logits, target = random_batch((6, 4))
    miss = 1 - logits.softmax(dim=1).gather(1, target.unsqueeze(1)).squeeze(1)
    expected = F.cross_entropy(logits, target, reduction="none") - miss - miss**2 / 2 - miss**3 / 3
    assert_close(functional.poly_loss(logits, target, epsilon=[-1.0, -1 / 2, -1 / 3]), expected, 1e-12)


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
NLL_OPTIONS = [(name, options) for name, options in OPTIONS if name in ("softmax_focal_loss", "poly_loss")] + [
    ("softmax_focal_loss", {"gamma": 0.5, "alpha": torch.tensor([0.5, 0.25, 1.0])})
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize(("name", "options"), NLL_OPTIONS, ids=str)
def test_a_masked_true_class_costs_infinitely_much(name: str, options: dict, smoothing: float, dtype) -> None:
    logits = torch.tensor([[0.0, -torch.inf, 1.0], [0.0, -torch.inf, 1.0]], dtype=dtype)
    target, options = torch.tensor([1, 2]), {**options, "label_smoothing": smoothing}
    value, gradient = value_and_gradient(lambda z, y: getattr(functional, name)(z, y, **options), logits, target)
    assert value[0] == torch.inf == F.cross_entropy(logits.float(), target, reduction="none")[0]
    assert gradient.isfinite().all()
    assert_close(value[1], getattr(oracles, name)(logits.double(), target, **options)[1], 1e-6)
    assert getattr(oracles, name)(logits.double(), target, **options)[0] == torch.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("options", [{}, {"gamma": 0.5, "reduced_threshold": 0.3}, {"alpha": torch.tensor([0.5, 0.2])}])
def test_a_masked_positive_class_costs_infinitely_much(options: dict, smoothing: float, dtype) -> None:
    logits, target = torch.tensor([-torch.inf, -torch.inf, 1.0], dtype=dtype), torch.tensor([1, 0, 1])
    options = {**options, "label_smoothing": smoothing}
    value, gradient = value_and_gradient(lambda z, y: functional.sigmoid_focal_loss(z, y, **options), logits, target)
    expected = oracles.sigmoid_focal_loss(logits.double(), target, **options)
    # With a smoothing of 1 the true class is no part of the label.
    assert value[0] == expected[0] == (0 if smoothing == 1 else torch.inf)
    assert_close(value[1:], expected[1:], 1e-6)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_class_of_no_weight_costs_nothing_even_if_it_is_masked(smoothing: float) -> None:
    alpha, options = torch.tensor([1.0, 0.0]), {"label_smoothing": smoothing}
    pairs = torch.tensor([[0.0, -torch.inf]])
    assert functional.softmax_focal_loss(pairs, torch.tensor([1]), alpha=alpha, **options) == 0
    assert functional.sigmoid_focal_loss(pairs[:, 1], torch.tensor([1]), alpha=alpha, **options) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("gamma", "threshold"), [(30.0, 0.05), (30.0, 0.5), (1e4, 0.5), (1e4, 1.0)])
def test_reduced_focal_loss_does_not_overflow(gamma: float, threshold: float, smoothing: float, dtype) -> None:
    z = torch.tensor([20.0, -20.0, 0.5, 2.0, -3.5], dtype=dtype)
    options = {"gamma": gamma, "reduced_threshold": threshold, "label_smoothing": smoothing}
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    half = torch.finfo(dtype).eps if dtype.itemsize == 2 else 0
    for target in (torch.zeros(5, dtype=torch.long), torch.ones(5, dtype=torch.long)):
        for name, logits in (("sigmoid_focal_loss", z), ("softmax_focal_loss", torch.stack([z * 0, z], dim=1))):
            loss, oracle = (partial(getattr(of, name), **options) for of in (functional, oracles))
            value, gradient = value_and_gradient(loss, logits, target)
            expected, expected_gradient = value_and_gradient(oracle, logits.double(), target)
            torch.testing.assert_close(value, expected.to(value.dtype), rtol=tolerance, atol=1e-8)
            torch.testing.assert_close(gradient, expected_gradient.to(dtype), rtol=tolerance + half, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", [torch.nan, torch.inf, -torch.inf])
@every_option
def test_ignored_elements_may_have_senseless_logits(name: str, options: dict, fill: float, dtype) -> None:
    logits, target = batch(name, dtype=dtype)
    of_elements = MAKE_TARGET[name] is per_element
    loss = partial(getattr(functional, name), ignore_index=[0, 1] if of_elements else 2, **options)
    if of_elements:
        target[1] = 7
    ignored = (target < 2) if of_elements else (target == 2)
    expected = value_and_gradient(loss, logits, target)
    spoiled = logits.masked_fill(ignored if ignored.ndim == logits.ndim else ignored.unsqueeze(1), fill)
    for actual, wanted in zip(value_and_gradient(loss, spoiled, target), expected, strict=True):
        assert torch.equal(actual, wanted)
        assert actual[ignored].count_nonzero() == 0
