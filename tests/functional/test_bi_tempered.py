from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import oracles
from functional.cases import assert_close, class_last, random_batch, value_and_gradient
from ludwig_losses.functional import _numerics, bi_tempered_logistic_loss, tempered_softmax
from ludwig_losses.functional.bi_tempered import loss_and_probabilities

HEAVY = [1.0 + 1e-6, 1.1, 1.5, 2.0, 4.0, 10.0]
TEMPERATURES = [1.0, *HEAVY]

_k = torch.arange(1000, dtype=torch.float64)

# Newton's method starts at the largest logit: it has the longest way to go where many others are near it.
HARD_ROWS = {
    "all equal": torch.zeros(30_000, dtype=torch.float64),
    "ties above many": torch.cat([torch.zeros(2), -10 * torch.ones(30_000)]).double(),
    "one above many": torch.cat([torch.zeros(1), -1e4 * torch.ones(3000)]).double(),
    "normal": random_batch((30_000,), class_last)[0],
    "even": -_k / 10,
    "gaps double": -1e-6 * 2.0 ** _k[:40],
    "gaps halve": -(2.0 ** -_k[:60]),
    "wide": torch.tensor([1e4, 0.0, -1e4], dtype=torch.float64),
    "very wide": torch.tensor([0.0, -1e20, -3e38], dtype=torch.float64),
    "large offset": 2.0**20 + _k / 8,
    "masked": torch.tensor([0.5, -torch.inf, 0.0, -torch.inf], dtype=torch.float64),
    "one class": torch.tensor([7.0], dtype=torch.float64),
    "two classes": torch.tensor([0.0, 0.3], dtype=torch.float64),
}

every_temperature = pytest.mark.parametrize("t", TEMPERATURES)
every_heavy_temperature = pytest.mark.parametrize("t", HEAVY)


def exp_t(u: Tensor, t: float) -> Tensor:
    return (1 + (1 - t) * u) ** (1 / (1 - t))


def log_t(u: Tensor, t: float) -> Tensor:
    return (u ** (1 - t) - 1) / (1 - t)


@every_temperature
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("row", HARD_ROWS)
def test_tempered_softmax_of_hard_rows(row: str, dtype: torch.dtype, t: float) -> None:
    logits = HARD_ROWS[row].to(dtype)
    p = tempered_softmax(logits, t)
    expected = oracles.tempered_softmax(logits.double(), t)
    assert p.dtype == dtype
    assert p.min() >= 0
    assert p.double().sum().item() == pytest.approx(1, abs=1e-12 if dtype == torch.float64 else 1e-6)
    # Relative to each probability, not to the largest: tails count. Below the floor a type has fewer digits.
    tolerance = 1e-11 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(p, expected, rtol=tolerance, atol=2 * torch.finfo(dtype).tiny, check_dtype=False)


@every_temperature
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("size", [0.1, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("classes", [1, 2, 10, 30_000])
def test_tempered_softmax_sums_to_1(classes: int, size: float, dtype: torch.dtype, t: float) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = (size * (2 * torch.rand(4, classes, generator=generator) - 1)).to(dtype)
    p = tempered_softmax(logits, t)
    assert p.dtype == torch.float32
    assert p.min() >= 0
    assert_close(p.double().sum(dim=-1), torch.ones(4), 1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 5), (5,), (0, 5), (2, 0, 5)])
def test_temperature_1_is_softmax(shape: tuple[int, ...]) -> None:
    logits, _ = random_batch(shape, lambda *_: None)
    assert_close(tempered_softmax(logits), logits.softmax(dim=-1), 1e-15)
    assert tempered_softmax(logits, 2.0).shape == shape


@every_heavy_temperature
def test_tempered_softmax_is_continuous_at_temperature_1(t: float) -> None:
    logits, _ = random_batch((6, 4), class_last)
    distances = [(tempered_softmax(logits, 1 + e * (t - 1)) - logits.softmax(-1)).abs().max() for e in (1e-3, 1e-6)]
    assert distances[1] / distances[0] == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize("gap", [0.0, 0.1, 1.0, 20.0, 1e3, 1e4])
def test_two_classes_at_temperature_2_by_hand(gap: float) -> None:
    """``1 / a + 1 / (a + gap) = 1`` is a quadratic equation."""
    p = tempered_softmax(torch.tensor([0.0, -gap], dtype=torch.float64), 2.0)
    a = 1 + 2 / (gap + math.sqrt(gap * gap + 4))
    assert p.tolist() == pytest.approx([1 / a, 1 / (a + gap)], rel=1e-14)


@pytest.mark.parametrize("t", [1.5, 2.0, 4.0])
def test_tails_are_heavy(t: float) -> None:
    """Far from the largest logit a probability falls like the gap to the power of ``-1 / (t - 1)``."""
    gaps = torch.tensor([1e6, 1e7], dtype=torch.float64)
    tails = tempered_softmax(torch.stack([torch.zeros(2), -gaps], dim=-1), t)[:, 1]
    assert (tails[1] / tails[0]).item() == pytest.approx(10 ** (-1 / (t - 1)), rel=0.02)
    assert tails[1] > 0
    assert torch.tensor([0.0, -1e6]).double().softmax(-1)[1] == 0


def test_tails_grow_with_the_temperature() -> None:
    logits = torch.tensor([5.0, 0.0, -3.0, -20.0], dtype=torch.float64)
    p = torch.stack([tempered_softmax(logits, t) for t in TEMPERATURES])
    assert (p[:, 0].diff() < 0).all()
    assert (p[:, 3].diff() > 0).all()
    assert (p.diff(dim=1) < 0).all()


@every_temperature
def test_tempered_softmax_is_unchanged_by_a_constant_shift(t: float) -> None:
    logits, target = random_batch((6, 4), class_last)
    assert_close(tempered_softmax(logits + 1000, t), tempered_softmax(logits, t), 1e-11)
    loss = partial(bi_tempered_logistic_loss, target=target, t1=0.5, t2=t)
    assert_close(loss(logits + 1000), loss(logits), 1e-11)


@every_temperature
def test_tempered_softmax_leaves_masked_classes_out(t: float) -> None:
    logits, _ = random_batch((5, 7), class_last)
    mask = torch.tensor([2, 5])
    p = tempered_softmax(logits.index_fill(1, mask, -torch.inf), t)
    kept = [0, 1, 3, 4, 6]
    assert p[:, mask].count_nonzero() == 0
    assert_close(p[:, kept], tempered_softmax(logits[:, kept], t), 1e-14)


@every_temperature
def test_one_bad_row_leaves_the_others_alone(t: float) -> None:
    logits, _ = random_batch((4, 5), class_last)
    expected = tempered_softmax(logits, t)
    logits[1, 2] = torch.nan
    p = tempered_softmax(logits, t)
    assert p[1].isnan().all()
    assert_close(p[[0, 2, 3]], expected[[0, 2, 3]], 1e-15)


def test_five_steps_of_the_fixed_point_are_too_few() -> None:
    """The normaliser of the authors' code, with its default of five iterations."""

    def fixed_point(logits: Tensor, t: float, steps: int) -> Tensor:
        x = logits - logits.amax(dim=-1, keepdim=True)
        z = x
        for _ in range(steps):
            z = x * exp_t(z, t).sum(dim=-1, keepdim=True) ** (1 - t)
        return exp_t(x + log_t(1 / exp_t(z, t).sum(dim=-1, keepdim=True), t), t)

    logits = 10 * random_batch((200, 4), class_last)[0] / 3
    expected = oracles.tempered_softmax(logits, 4.0)
    assert (fixed_point(logits, 4.0, 5) - expected).abs().max() > 5e-3
    assert (fixed_point(logits, 4.0, 5).sum(dim=-1) - 1).abs().max() > 8e-3
    assert (fixed_point(logits, 4.0, 200) - expected).abs().max() < 1e-12
    assert (tempered_softmax(logits, 4.0) - expected).abs().max() < 1e-14


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (5,)])
def test_temperatures_1_are_cross_entropy(shape: tuple[int, ...]) -> None:
    def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
        rows = z.reshape(-1, z.shape[-1])
        return F.cross_entropy(rows, y.flatten(), reduction="none").reshape(y.shape)

    logits, target = random_batch(shape, class_last)
    for options in ({}, {"t1": 1.0, "t2": 1.0}):
        actual = value_and_gradient(partial(bi_tempered_logistic_loss, **options), logits, target)
        for one, other in zip(actual, value_and_gradient(cross_entropy, logits, target), strict=True):
            assert_close(one, other, 1e-15)


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_temperatures_1_with_smoothing_are_cross_entropy_less_the_entropy_of_the_label(smoothing: float) -> None:
    logits, target = random_batch((20, 4), class_last)
    y = smoothing / 4 + (1 - smoothing) * F.one_hot(target, 4).double()
    entropy = -torch.xlogy(y, y).sum(dim=1)
    expected = F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing) - entropy
    assert_close(bi_tempered_logistic_loss(logits, target, label_smoothing=smoothing), expected, 1e-14)


@pytest.mark.parametrize("vary", ["t1", "t2"])
def test_loss_is_continuous_at_temperatures_1(vary: str) -> None:
    logits, target = random_batch((20, 4), class_last)
    expected = value_and_gradient(bi_tempered_logistic_loss, logits, target)
    sign = {"t1": -1, "t2": 1}[vary]
    for size in (1e-3, 1e-6, 1e-9):
        near = partial(bi_tempered_logistic_loss, **{vary: 1 + sign * size})
        for one, other in zip(value_and_gradient(near, logits, target), expected, strict=True):
            # The difference is quadratic in the losses, which are below 15 here.
            assert 0 < (one - other).abs().max() < 100 * size


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@every_temperature
def test_t1_of_0_is_half_the_squared_error(t: float, smoothing: float) -> None:
    logits, target = random_batch((20, 4), class_last)
    y = smoothing / 4 + (1 - smoothing) * F.one_hot(target, 4).double()
    expected = (tempered_softmax(logits, t) - y).square().sum(dim=1) / 2
    loss = bi_tempered_logistic_loss(logits, target, t1=0.0, t2=t, label_smoothing=smoothing)
    assert_close(loss, expected, 1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@every_temperature
@pytest.mark.parametrize("t1", [0.0, 0.3, 0.7, 1 - 1e-4, 1.0])
def test_every_pair_of_temperatures(t1: float, t: float, smoothing: float) -> None:
    logits, target = random_batch((12, 6), class_last)
    options = {"t1": t1, "t2": t, "label_smoothing": smoothing}
    actual = value_and_gradient(partial(bi_tempered_logistic_loss, **options), logits, target)
    expected = value_and_gradient(partial(oracles.bi_tempered_logistic_loss, **options), logits, target)
    for one, other in zip(actual, expected, strict=True):
        # Near t1 = 1 the plain formula of the oracle loses digits.
        assert_close(one, other, 1e-10)
    # A constant added to all logits changes nothing.
    assert actual[1].sum(dim=1).abs().max() < 1e-14


@every_temperature
@pytest.mark.parametrize("t1", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_bounded(smoothing: float, t1: float, t: float) -> None:
    logits, target = random_batch((1000, 5), class_last, torch.float32)
    logits[:100] *= 1000
    loss = bi_tempered_logistic_loss(logits, target, t1=t1, t2=t, label_smoothing=smoothing)
    assert loss.min() >= 0
    assert loss.max() <= 1 / (1 - t1)


@pytest.mark.parametrize("t1", [0.0, 0.3, 0.9])
def test_bound_is_reached(t1: float) -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0]])
    assert bi_tempered_logistic_loss(logits, torch.tensor([1]), t1=t1).item() == pytest.approx(1 / (1 - t1), rel=1e-6)
    assert bi_tempered_logistic_loss(logits, torch.tensor([1]), t1=1.0).item() == 1e4


@every_temperature
@pytest.mark.parametrize("t1", [0.0, 0.5, 1.0])
def test_loss_falls_as_the_true_class_rises(t1: float, t: float) -> None:
    z = torch.linspace(-8, 8, 401, dtype=torch.float64)
    logits = torch.stack([z, torch.zeros_like(z), torch.ones_like(z)], dim=-1)
    loss = bi_tempered_logistic_loss(logits, torch.zeros(401, dtype=torch.long), t1=t1, t2=t)
    assert (loss.diff() < 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t1", [0.0, 0.5, 1.0])
def test_loss_is_0_at_a_perfect_fit(t1: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0]], dtype=dtype)
    value, gradient = value_and_gradient(partial(bi_tempered_logistic_loss, t1=t1), logits, torch.tensor([0]))
    assert value.item() == 0
    assert gradient.count_nonzero() == 0


@every_heavy_temperature
@pytest.mark.parametrize("t1", [0.0, 0.5, 1.0])
def test_loss_of_a_smoothed_label_is_0_where_the_probabilities_match_it(t1: float, t: float) -> None:
    y = torch.tensor([[0.8, 0.05, 0.05, 0.05, 0.05]], dtype=torch.float64)
    loss = partial(bi_tempered_logistic_loss, t1=t1, t2=t, label_smoothing=0.25)
    value, gradient = value_and_gradient(loss, log_t(y, t), torch.tensor([0]))
    assert 0 <= value.item() < 1e-14
    assert gradient.abs().max() < 1e-8
    for other in ([0.79, 0.06, 0.05, 0.05, 0.05], [0.84, 0.04, 0.04, 0.04, 0.04], [0.8, 0.06, 0.04, 0.05, 0.05]):
        q = torch.tensor([other], dtype=torch.float64)
        assert loss(log_t(q, t), torch.tensor([0])).item() > 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_temperature
def test_loss_is_never_negative(t: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 4, generator=generator, dtype=dtype)
    logits[:, 0] += 60 * torch.rand(2000, generator=generator, dtype=dtype)
    for t1 in (0.0, 0.5, 1.0):
        assert bi_tempered_logistic_loss(logits, torch.zeros(2000, dtype=torch.long), t1=t1, t2=t).min() >= 0


def test_outliers_pull_less_with_a_bounded_loss() -> None:
    logits = torch.tensor([[0.0, 5.0], [0.0, 50.0]], dtype=torch.float64)
    target = torch.tensor([0, 0])
    _, gradient = value_and_gradient(partial(bi_tempered_logistic_loss, t1=0.5), logits, target)
    _, of_cross_entropy = value_and_gradient(bi_tempered_logistic_loss, logits, target)
    assert gradient[1].norm() < 1e-9
    assert of_cross_entropy[1].norm() > 1


def test_smoothing_of_1_forgets_the_label() -> None:
    logits, target = random_batch((6, 4), class_last)
    loss = partial(bi_tempered_logistic_loss, t1=0.7, t2=1.5, label_smoothing=1.0)
    assert torch.equal(loss(logits, target), loss(logits, (target + 1) % 4))
    assert loss(torch.zeros(1, 4), torch.zeros(1, dtype=torch.long)).item() == pytest.approx(0, abs=1e-7)


@every_temperature
def test_one_class_costs_nothing(t: float) -> None:
    logits, target = torch.tensor([[3.0], [-1e4]]), torch.zeros(2, dtype=torch.long)
    value, gradient = value_and_gradient(partial(bi_tempered_logistic_loss, t1=0.5, t2=t), logits, target)
    assert value.tolist() == [0, 0]
    assert gradient.count_nonzero() == 0


@pytest.mark.parametrize("index", [-100, -1, 4])
def test_no_class_index_is_silently_ignored(index: int) -> None:
    with pytest.raises((IndexError, RuntimeError), match=rf"target has the value {index}, which is out of range"):
        bi_tempered_logistic_loss(torch.zeros(2, 3, 4), torch.tensor([[0, 1, 2], [3, index, 0]]), t1=0.5, t2=2.0)


def test_many_classes() -> None:
    logits, target = random_batch((3, 30_000), class_last, torch.float32)
    value, gradient = value_and_gradient(partial(bi_tempered_logistic_loss, t1=0.5, t2=2.0), logits, target)
    q = oracles.tempered_softmax(logits.double(), 2.0)
    q_true = q.gather(1, target.unsqueeze(1)).squeeze(1)
    expected = -log_t(q_true, 0.5) - (1 - q.pow(1.5).sum(dim=1)) / 1.5
    assert_close(value, expected, 1e-6)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("t", [1.0, 2.0])
def test_second_derivative_is_refused(t: float) -> None:
    logits, target = random_batch((5, 7), class_last)
    leaf = logits.requires_grad_()
    loss = bi_tempered_logistic_loss(leaf, target, t1=0.5, t2=t).sum()
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    assert gradient.requires_grad
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(gradient.pow(2).sum(), leaf)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_tempered_softmax_can_be_scripted() -> None:
    logits, _ = random_batch((3, 4, 9), class_last)
    scripted = torch.jit.script(tempered_softmax)
    for t in (1.0, 1.5, 4.0):
        for dtype in (torch.float16, torch.float32, torch.float64):
            # Twice: the second run is the optimised one.
            for _ in range(2):
                p = scripted(logits.to(dtype), t)
            assert torch.equal(p, tempered_softmax(logits.to(dtype), t))
    assert scripted(logits[:0], 2.0).shape == (0, 4, 9)


def test_inputs_are_left_as_they_are() -> None:
    logits, target = random_batch((5, 7), class_last)
    before = logits.clone(), target.clone()
    value_and_gradient(partial(bi_tempered_logistic_loss, t1=0.5, t2=2.0, label_smoothing=0.1), logits, target)
    tempered_softmax(logits, 2.0)
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@every_temperature
def test_a_masked_true_class_costs_the_most(t: float, smoothing: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.0, -torch.inf, 1.0, 2.0]], dtype=dtype)
    loss = partial(bi_tempered_logistic_loss, target=torch.tensor([1]), t2=t, label_smoothing=smoothing)
    assert loss(logits, t1=1.0).item() == torch.inf
    for t1 in (0.0, 0.5):
        assert 0.5 < loss(logits, t1=t1).item() <= 1 / (1 - t1)


@pytest.mark.parametrize("t1", [0.0, 0.5, 1.0])
@every_temperature
def test_masked_classes_have_no_share_of_a_smoothed_label(t: float, t1: float) -> None:
    logits, target = random_batch((6, 4), class_last)
    loss = partial(bi_tempered_logistic_loss, t1=t1, t2=t, label_smoothing=0.2)
    expected, expected_gradient = value_and_gradient(loss, logits, target)
    masked = torch.cat([torch.full((6, 2), -torch.inf), logits], dim=1)
    value, gradient = value_and_gradient(loss, masked, target + 2)
    assert_close(value, expected, 1e-14)
    assert_close(gradient[:, 2:], expected_gradient, 1e-14)
    assert gradient[:, :2].count_nonzero() == 0


@pytest.mark.parametrize("static", [False, True])
def test_the_row_that_takes_the_most_steps_is_found_exactly(static: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One class leads 9,999 equal ones by 10,000: with t = 2, ``1 / a + 9999 / (a + 10000) = 1`` has the root 100."""
    if static:
        monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    logits = torch.zeros(1, 10_000, dtype=torch.float64)
    logits[0, 3] = 10_000
    expected = torch.full_like(logits, 1 / 10_100).index_fill_(1, torch.tensor([3]), 0.01)
    torch.testing.assert_close(tempered_softmax(logits, 2.0), expected, rtol=1e-13, atol=0)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 3e-7)):
        leaf = logits.to(dtype).requires_grad_()
        _, p = loss_and_probabilities(leaf, torch.tensor([3]), 1.0, 2.0, 0.0)
        torch.testing.assert_close(p.double(), expected, rtol=tolerance, atol=0)


def test_a_batch_of_no_rows_compiles() -> None:
    torch.compiler.reset()
    compiled = torch.compile(partial(bi_tempered_logistic_loss, t1=0.5, t2=1.4), fullgraph=True, backend="eager")
    assert compiled(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)).shape == (0,)
