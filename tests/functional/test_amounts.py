"""Poisson and Tweedie: equal to what others compute, finite wherever a network may be, and nothing below 0."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import mean_poisson_deviance, mean_tweedie_deviance

from functional.cases import assert_close, value_and_gradient
from ludwig_losses.functional import _numerics, log_link_mean, poisson_deviance, poisson_nll_loss, tweedie_loss

GENERATOR = torch.Generator().manual_seed(0)
Z = torch.randn(200, generator=GENERATOR, dtype=torch.float64)
COUNTS = torch.poisson(2 * torch.ones(200, dtype=torch.float64), generator=GENERATOR)


def test_is_that_of_torch_and_its_distribution() -> None:
    ours = value_and_gradient(poisson_nll_loss, Z, COUNTS)
    of_distribution = value_and_gradient(lambda z, y: -torch.distributions.Poisson(z.exp()).log_prob(y), Z, COUNTS)
    for value, expected in zip(ours, of_distribution, strict=True):
        assert_close(value, expected, 1e-12)
    torchs = torch.nn.functional.poisson_nll_loss(Z, COUNTS, reduction="none")
    assert_close(ours[0] - (COUNTS + 1).lgamma(), torchs, 1e-12)


@pytest.mark.parametrize("power", [1, 1.2, 1.5, 1.99, 2])
def test_deviance_is_that_of_scikit_learn(power: float) -> None:
    target = COUNTS + (power == 2)
    expected = mean_tweedie_deviance(target.numpy(), Z.exp().numpy(), power=power)
    assert 2 * tweedie_loss(Z, target, power=power).mean().item() == pytest.approx(expected, rel=1e-10)
    assert tweedie_loss(target.clamp_min(0.5).log(), target.clamp_min(0.5), power=power).abs().max() < 1e-12


def test_poisson_deviance_is_that_of_scikit_learn() -> None:
    expected = mean_poisson_deviance(COUNTS.numpy(), Z.exp().numpy())
    assert poisson_deviance(Z, COUNTS).mean().item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", [poisson_nll_loss, tweedie_loss], ids=lambda loss: loss.__name__)
def test_far_away_it_is_finite_and_leads_back(loss) -> None:
    # The exponential goes on as a line from 60 on, of the Tweedie loss from 120.
    z = torch.tensor([-1e4, -80.0, 59.9, 60.0, 60.1, 80.0, 120.0, 1e4])
    value, gradient = value_and_gradient(loss, z, torch.full((8,), 3.0))
    assert value.isfinite().all() and gradient.isfinite().all()
    assert (gradient[:2] < 0).all() and (gradient[2:] > 0).all()
    assert (log_link_mean(z).diff() >= 0).all() and log_link_mean(z).isfinite().all()


@pytest.mark.parametrize("power", [1, 1.2, 1.5, 1.9])
def test_a_mean_that_has_vanished_is_right_for_a_target_of_0(power: float) -> None:
    value, gradient = value_and_gradient(
        lambda z, y: tweedie_loss(z, y, power=power), torch.full((1,), -9000.0), torch.zeros(1)
    )
    assert value.item() == gradient.item() == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda y: poisson_nll_loss(torch.zeros(3), y), r"^target must be >= 0; got -2\.$"),
        (lambda y: tweedie_loss(torch.zeros(3), y), r"^target must be >= 0; got -2\.$"),
        (lambda y: tweedie_loss(torch.zeros(3), y.clamp_min(0), power=2), r"^target must be > 0; got 0\.$"),
    ],
)
def test_what_is_no_amount_is_named(call, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = torch.tensor([1.0, -2.0, 3.0])
    with pytest.raises(ValueError, match=said):
        call(target)
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())  # where reading a value would wait
    assert call(target).isnan().any()


@pytest.mark.parametrize(
    "loss",
    [poisson_nll_loss, poisson_deviance, lambda z, y: tweedie_loss(z, y, power=1.5)],
    ids=["poisson_nll_loss", "poisson_deviance", "tweedie_loss"],
)
@pytest.mark.parametrize("mean", [1e2, 1e4, 1e6])
def test_large_counts_do_not_cancel_in_float32(loss, mean: float) -> None:
    target = torch.poisson(torch.full((500,), mean, dtype=torch.float64), generator=torch.Generator().manual_seed(0))
    z = torch.full((500,), mean, dtype=torch.float64).log()
    value, gradient = value_and_gradient(loss, z.float(), target.float())
    expected, expected_gradient = value_and_gradient(loss, z, target)
    assert (value >= 0).all()
    torch.testing.assert_close(value.mean(), expected.mean().float(), rtol=1e-4, atol=0)
    torch.testing.assert_close(gradient, expected_gradient.float(), rtol=1e-3, atol=3e-6 * mean)


def test_the_least_loss_of_a_count_is_exact_on_both_sides_of_the_series() -> None:
    target = torch.arange(1, 40, dtype=torch.float64)
    expected = -torch.distributions.Poisson(target).log_prob(target)
    assert_close(poisson_nll_loss(target.log(), target), expected, 1e-12)
