"""Conformal offsets: the coverage that is promised, no interpolation, and no finite bound that does not hold."""

from __future__ import annotations

import math

import pytest
import torch

from ludwig_losses.functional import conformal_offset, conformal_rank


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("rows", [9, 15, 30, 100])
def test_coverage_is_that_of_the_theorem(rows: int, level: float) -> None:
    """1,000 data sets, each with a new row; the interval of the untrained model is wrong, and of no constant width."""
    generator = torch.Generator().manual_seed(rows)
    x = torch.rand(1000, rows + 1, generator=generator, dtype=torch.float64)
    y = x + (0.1 + x) * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    low, high, old = x - 0.2, x + 0.3, slice(0, rows)
    offset = conformal_offset(low[:, old].T, high[:, old].T, y[:, old].T, level=level)
    inside = ((y[:, -1] >= low[:, -1] - offset) & (y[:, -1] <= high[:, -1] + offset)).double().mean().item()
    expected = math.ceil(round((rows + 1) * level, 9)) / (rows + 1)
    assert abs(inside - expected) < 3.5 * math.sqrt(expected * (1 - expected) / 1000) + 1e-12


def test_an_order_statistic_and_no_interpolation() -> None:
    scores = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0])
    offsets = [
        conformal_offset(torch.zeros(9), torch.zeros(9), scores, level=level).item() for level in (0.1, 0.5, 0.9)
    ]
    assert offsets == [1, 5, 9]


def test_intervals_that_are_too_wide_are_narrowed() -> None:
    y = torch.linspace(-1, 1, 99)
    assert conformal_offset(torch.full((99,), -3.0), torch.full((99,), 3.0), y, level=0.9) < -2


@pytest.mark.parametrize(("level", "fewest"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_rows_give_no_finite_bound(level: float, fewest: int) -> None:
    assert conformal_rank(fewest, level) == fewest
    few = torch.zeros(fewest - 1, 2)
    assert (conformal_offset(few, few, few, level=level) == torch.inf).all()
    assert conformal_offset(*[torch.zeros(fewest, 2)] * 3, level=level).tolist() == [0, 0]
