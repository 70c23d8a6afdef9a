"""Normal likelihood: what beta changes, and what it does not."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import gaussian_nll_loss as torchs

from functional.cases import assert_close, value_and_gradient
from ludwig_losses.functional import gaussian_nll_loss, mean_and_std

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(50, 2, generator=GENERATOR, dtype=torch.float64)
TARGET = torch.randn(50, generator=GENERATOR, dtype=torch.float64)


def test_is_that_of_torch() -> None:
    def peer(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        mean, std = mean_and_std(logits).unbind(dim=-1)
        return torchs(mean, target, std.square(), full=True, reduction="none")

    ours = value_and_gradient(lambda z, y: gaussian_nll_loss(z, y, beta=0), LOGITS, TARGET)
    for value, expected in zip(ours, value_and_gradient(peer, LOGITS, TARGET), strict=True):
        assert_close(value, expected, 1e-12)


@pytest.mark.parametrize("beta", [0.25, 0.5, 1.0])
def test_beta_weights_the_gradient_by_the_variance_and_leaves_the_value(beta: float) -> None:
    plain = value_and_gradient(lambda z, y: gaussian_nll_loss(z, y, beta=0), LOGITS, TARGET)
    value, gradient = value_and_gradient(lambda z, y: gaussian_nll_loss(z, y, beta=beta), LOGITS, TARGET)
    assert torch.equal(value, plain[0])
    assert_close(gradient, plain[1] * mean_and_std(LOGITS)[:, 1:] ** (2 * beta), 1e-12)


def test_beta_of_1_trains_the_mean_by_the_squared_error() -> None:
    logits = LOGITS.clone().requires_grad_()
    gaussian_nll_loss(logits, TARGET, beta=1).sum().backward()
    assert_close(logits.grad[:, 0], LOGITS[:, 0] - TARGET, 1e-12)


def test_a_standard_deviation_is_never_0() -> None:
    found = mean_and_std(torch.tensor([[0.0, -1e4], [0.0, 1e4]]))[:, 1]
    torch.testing.assert_close(found, torch.tensor([1e-3, 1e4]))
