from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import entmax as package
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import oracles
from functional.cases import assert_close, class_last, random_batch, value_and_gradient
from ludwig_losses import functional
from ludwig_losses.functional import _numerics
from ludwig_losses.functional.fenchel_young import loss_and_probabilities
from ludwig_losses.functional.projections import project

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
    value, gradient = value_and_gradient(loss, logits, torch.zeros(4, dtype=torch.long))
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
    value = getattr(functional, f"{name}_loss")(logits, torch.zeros(5000, dtype=torch.long))
    assert value.min() >= 0
    assert value.max() < 1e-3


@every_projection
def test_second_derivative_is_refused(name: str) -> None:
    logits, target = random_batch((5, 7), class_last)
    leaf = logits.requires_grad_()
    loss = getattr(functional, f"{name}_loss")(leaf, target).sum()
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    assert gradient.requires_grad
    with pytest.raises(RuntimeError, match="differentiable once"):
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


ALPHAS = [1 + 1e-9, 1.01, 1.1, 1.24, 1.26, 1.5, 1.8, 2.0]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("row", HARD_ROWS)
def test_any_projection_of_hard_rows(row: str, alpha: float) -> None:
    double = HARD_ROWS[row]
    p, single = functional.entmax(double, alpha), functional.entmax(double.float(), alpha)
    for result, tolerance in ((p, 1e-12), (single, 2e-6)):
        assert result.min() >= 0
        assert result.double().sum().item() == pytest.approx(1, abs=tolerance)
    # A single that rounds its logits differs by what that does to them, at most 1 in 2**24 of the larger ones.
    rounded = functional.entmax(double.float().double(), alpha)
    assert ((single - rounded).abs().max() / rounded.max()).item() < 5e-6
    if alpha < 1.001:
        assert_close(p, double.softmax(dim=-1), 1e-6)
    else:
        # The bisection loses 1 / (alpha - 1) digits.
        assert_close(p, oracles.entmax(double, alpha), 1e-12 / (alpha - 1))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_any_loss_of_extreme_logits_is_finite(alpha: float) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [-torch.inf, 0.0, 3.0], [0.0, 0.0, 0.0]])
    for smoothing in (0.0, 0.1):
        value, gradient = value_and_gradient(
            lambda z, y, s=smoothing: functional.entmax_loss(z, y, alpha=alpha, label_smoothing=s),
            logits,
            torch.tensor([1, 0, 1, 2]),
        )
        assert value.isfinite().all() and gradient.isfinite().all()
        assert (value >= 0).all()


def test_special_alphas_are_the_named_projections_and_losses() -> None:
    logits, target = random_batch((5, 7), class_last)
    for alpha, name in ((1.5, "entmax15"), (2.0, "sparsemax")):
        assert torch.equal(functional.entmax(logits, alpha), getattr(functional, name)(logits))
        expected = getattr(functional, f"{name}_loss")(logits, target)
        assert torch.equal(functional.entmax_loss(logits, target, alpha=alpha), expected)


@pytest.mark.parametrize("alpha", [1.499, 1.501, 1.999])
def test_any_projection_is_continuous_in_alpha(alpha: float) -> None:
    logits, target = random_batch((5, 7), class_last)
    near = round(alpha * 2) / 2
    assert_close(functional.entmax(logits, alpha), functional.entmax(logits, near), 2e-2)
    assert_close(
        functional.entmax_loss(logits, target, alpha=alpha), functional.entmax_loss(logits, target, alpha=near), 2e-2
    )


@pytest.mark.parametrize("alpha", [1.1, 1.3, 1.7])
@pytest.mark.parametrize("shape", [(32, 10), (2, 3000)])
def test_any_projection_and_loss_are_those_of_the_entmax_package(shape: tuple[int, ...], alpha: float) -> None:
    logits, target = random_batch(shape, class_last)
    expected = package.entmax_bisect(logits, alpha, n_iter=80)
    torch.testing.assert_close(functional.entmax(logits, alpha), expected, rtol=1e-9, atol=1e-13)
    value, gradient = value_and_gradient(lambda z, y: functional.entmax_loss(z, y, alpha=alpha), logits, target)
    other, other_gradient = value_and_gradient(
        lambda z, y: package.entmax_bisect_loss(z, y, alpha, n_iter=80), logits, target
    )
    assert_close(value, other, 1e-10)
    assert_close(gradient, other_gradient, 1e-10)


def test_near_alpha_1_the_loss_is_cross_entropy() -> None:
    logits, target = random_batch((5, 7), class_last)
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    assert_close(functional.entmax_loss(logits, target, alpha=1 + 1e-10), expected, 1e-8)
    assert_close(functional.entmax_loss(logits.float(), target, alpha=1 + 1e-10), expected, 1e-6)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 2.1, -1.0, float("nan")])
def test_an_alpha_outside_its_range_is_named(alpha: float) -> None:
    logits, target = random_batch((5, 7), class_last)
    with pytest.raises(ValueError, match=rf"alpha must be a number in \(1, 2\]; got {alpha}"):
        functional.entmax(logits, alpha)
    with pytest.raises(ValueError, match=rf"alpha must be a number in \(1, 2\]; got {alpha}"):
        functional.entmax_loss(logits, target, alpha=alpha)


@pytest.mark.parametrize("alpha", [1.01, 1.5, 1.7])
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_any_projection_can_be_scripted(alpha: float) -> None:
    logits, _ = random_batch((3, 4, 9), class_last)
    scripted = torch.jit.script(project)
    for dtype in (torch.float16, torch.float32, torch.float64):
        for _ in range(2):
            p = scripted(logits.to(dtype), alpha)
        assert torch.equal(p, functional.entmax(logits.to(dtype), alpha))


@pytest.mark.parametrize("alpha", [1.2, 1.3])
def test_any_loss_of_many_classes_is_that_of_few(alpha: float) -> None:
    logits, target = random_batch((3, 2000), class_last)
    leaf = logits.requires_grad_()
    value = functional.entmax_loss(leaf, target, alpha=alpha)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    expected = functional.entmax(logits.detach(), alpha) - torch.nn.functional.one_hot(target, 2000)
    assert_close(gradient, expected, 1e-12)
    assert_close(value, oracles.entmax_loss(logits, target, alpha=alpha), 1e-10)


WIDE = 128_000


@pytest.mark.parametrize("alpha", [1.3, 1.5, 2.0])
def test_a_sure_row_among_wide_ones_that_know_nothing(alpha: float) -> None:
    """No class of the sample from which a threshold is guessed can be in the support of a sure row."""
    logits = torch.zeros(3, 600, dtype=torch.float64)
    logits[1:, 7] = 30
    target = torch.tensor([7, 7, 8])
    leaf = logits.clone().requires_grad_()
    loss = functional.entmax_loss(leaf, target, alpha=alpha)
    assert_close(loss, oracles.entmax_loss(logits, target, alpha=alpha), 1e-12)
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    assert_close(gradient, oracles.entmax(logits, alpha) - torch.nn.functional.one_hot(target, 600), 1e-12)


@pytest.mark.parametrize("alpha", [1.1, 1.3, 1.5, 1.9, 2.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_wide_rows_of_equal_logits_keep_their_digits(dtype: torch.dtype, alpha: float) -> None:
    leaf = torch.full((2, WIDE), 3.0, dtype=dtype).requires_grad_()
    value = functional.entmax_loss(leaf, torch.tensor([0, 5]), alpha=alpha)
    # p = 1 / C, and the loss is its entropy.
    expected = (1 - WIDE ** (1 - alpha)) / (alpha * (alpha - 1))
    assert value.tolist() == pytest.approx([expected] * 2, rel=2e-6 if dtype != torch.float64 else 1e-12)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    # Half precision rounds 1 / C.
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-6}.get(dtype, 0.02)
    assert gradient.double().sum(dim=1).abs().max() < tolerance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.7, 2.0])
def test_a_masked_true_class_costs_infinitely_much(alpha: float, smoothing: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.0, -torch.inf, 1.0, 2.0], [0.0, 1.0, -torch.inf, 2.0]], dtype=dtype)
    loss = partial(functional.entmax_loss, alpha=alpha, label_smoothing=smoothing)
    value, gradient = value_and_gradient(loss, logits, torch.tensor([1, 1]))
    assert value[0] == torch.inf and value[1].isfinite()
    # As without a mask, the gradient is the prediction less the label.
    label = torch.tensor([[1.0, 0, 1, 1], [1, 1, 0, 1]]) * smoothing / 3
    label[:, 1] += 1 - smoothing
    weights = torch.tensor([[0.5], [1.5]])
    assert_close(gradient, weights * (functional.entmax(logits.float(), alpha) - label), 1e-2)
    # Nothing is left for the true class.
    everything = functional.entmax_loss(logits, torch.tensor([1, 1]), alpha=alpha, label_smoothing=1.0)
    assert everything.isfinite().all() and everything[0] == everything[1]


def without_loss_of_digits(row: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The loss of the last class, and the projection, of the entmax package in float64."""
    z = row.double().unsqueeze(0)
    name = {1.5: "entmax15", 2.0: "sparsemax"}[alpha]
    p = getattr(package, name)(z, dim=1)
    behind = torch.where(p > 0, z - z.amax(), 0)
    entropy = ((p - p**alpha) / (alpha * (alpha - 1))).sum()
    return (p * behind).sum() + entropy + (z.amax() - z[0, -1]), p


@pytest.mark.parametrize("alpha", [1.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("row", HARD_ROWS)
def test_an_accelerator_finds_the_threshold_of_hard_rows(
    row: str, dtype: torch.dtype, alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside masked classes, whose sums of squares are infinite."""
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    logits = HARD_ROWS[row].to(dtype)
    expected, projection = without_loss_of_digits(logits, alpha)
    masked = torch.cat([logits.new_full((3,), -torch.inf), logits]).unsqueeze(0)
    loss, p = loss_and_probabilities(masked, torch.tensor([len(masked[0]) - 1]), alpha, 0.0, None)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    assert loss.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    assert p[0, :3].count_nonzero() == 0
    assert ((p[:, 3:] - projection).abs().max() / projection.max()).item() < tolerance


class RefusesCumulativeSums(TorchDispatchMode):
    """Refuses what CUDA refuses where deterministic algorithms are demanded."""

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        assert function.overloadpacket not in (torch.ops.aten.cumsum, torch.ops.aten.cumsum_)
        return function(*args, **kwargs or {})


@every_projection
def test_deterministic_algorithms_do_without_cumulative_sums(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = random_batch((5, 10), class_last)
    function = getattr(functional, f"{name}_loss")
    expected, expected_gradient = value_and_gradient(function, logits, target)
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    with RefusesCumulativeSums():
        value, gradient = value_and_gradient(function, logits, target)
    assert_close(value, expected, 1e-12)
    assert_close(gradient, expected_gradient, 1e-12)
