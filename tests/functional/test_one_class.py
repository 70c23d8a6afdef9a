from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import oracles
from functional.cases import assert_close, value_and_gradient
from ludwig_losses.functional import (
    deep_sad_loss,
    deep_svdd_loss,
    drocc_adversary,
    drocc_loss,
    initial_center,
    squared_distance,
)

LABELS = torch.tensor([-1, 0, 1, 1, 0, -1])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(inputs: int = 3) -> nn.Module:
    """A small network with one output for each row, the same one for the same size."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6, 4), (1, 1), (0, 3)], ids=str)
def test_squared_distance(shape: tuple[int, int], dtype: torch.dtype) -> None:
    hidden, center = normal(*shape).to(dtype), normal(shape[1], seed=1).to(dtype)
    value, gradient = value_and_gradient(lambda z, _: squared_distance(z, center), hidden, None)
    expected = value_and_gradient(lambda z, _: oracles.squared_distance(z, center.double()), hidden.double(), None)
    assert value.dtype == dtype
    assert_close(value, expected[0], 1e-6 if dtype == torch.float32 else 1e-12)
    assert_close(gradient, expected[1], 1e-6 if dtype == torch.float32 else 1e-12)


def test_squared_distance_is_differentiable_by_the_vectors_alone() -> None:
    hidden, center = normal(4, 3).requires_grad_(), normal(3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: squared_distance(z, center), hidden)
    squared_distance(hidden, center).sum().backward()
    assert center.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_squared_distance_of_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    hidden = torch.full((2, 64), 2e4, dtype=dtype)
    value, gradient = value_and_gradient(lambda z, _: squared_distance(z, torch.zeros(64)), hidden, None)
    assert value.dtype == torch.float32
    assert_close(value, hidden.double().square().sum(dim=1), 1e-6)
    assert gradient.isfinite().all()


def test_squared_distance_compiles_without_a_graph_break() -> None:
    compiled = torch.compile(squared_distance, fullgraph=True, backend="aot_eager")
    assert_close(compiled(normal(4, 3), normal(3)), squared_distance(normal(4, 3), normal(3)), 1e-15)


@pytest.mark.parametrize(("hidden", "center"), [((4,), (4,)), ((4, 3), (4,)), ((4, 3), ()), ((4, 3), (1, 3)), ((), ())])
def test_wrong_shapes_of_vectors_are_named(hidden: tuple[int, ...], center: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="center") as raised:
        squared_distance(torch.zeros(hidden), torch.zeros(center))
    assert str(hidden) in str(raised.value)
    assert str(center) in str(raised.value)


def test_the_centre_keeps_away_from_zero() -> None:
    mean = torch.tensor([-2.0, -0.1, -0.05, -0.0, 0.0, 1e-9, 0.1, 0.5], dtype=torch.float64)
    expected = torch.tensor([-2.0, -0.1, -0.1, 0.1, 0.1, 0.1, 0.1, 0.5], dtype=torch.float64)
    assert torch.equal(initial_center(mean), expected)
    assert torch.equal(initial_center(mean), oracles.initial_center(mean))
    assert torch.equal(initial_center(mean, margin=0.0), mean)
    assert torch.equal(initial_center(mean, margin=3.0).abs(), torch.full((8,), 3.0, dtype=torch.float64))
    assert initial_center(mean.half()).dtype == torch.float16


def test_a_margin_is_not_negative() -> None:
    with pytest.raises(ValueError, match=r"margin must be a number >= 0; got -0.1"):
        initial_center(torch.zeros(2), margin=-0.1)


def test_the_hard_boundary_is_the_distance() -> None:
    distance = normal(6).abs()
    assert torch.equal(deep_svdd_loss(distance, nu=0), distance)


def test_all_rows_may_lie_outside_of_the_soft_boundary() -> None:
    distance = normal(6).abs()
    assert_close(deep_svdd_loss(distance, nu=1.0, radius2=0.0), distance, 1e-15)


def test_the_soft_boundary_is_least_where_the_radius_is_the_quantile() -> None:
    """That is where the definition of ``R2`` comes from: it minimises the mean."""
    distance = normal(1000).square()
    best = torch.linspace(0, 8, 2001, dtype=torch.float64)
    means = torch.stack([deep_svdd_loss(distance, nu=0.1, radius2=r).mean() for r in best])
    assert_close(best[means.argmin()], distance.quantile(0.9), 0.01)


def test_rows_inside_of_the_sphere_have_no_gradient() -> None:
    value, gradient = value_and_gradient(
        lambda d, _: deep_svdd_loss(d, nu=0.5, radius2=2.0), torch.tensor([0.0, 1.9, 2.1]), None
    )
    assert_close(value, torch.tensor([2.0, 2.0, 2.2]), 1e-6)
    assert gradient.tolist() == [0, 0, 3.0]


def test_no_gradient_flows_into_the_radius() -> None:
    radius2 = torch.tensor(1.0, requires_grad=True)
    deep_svdd_loss(normal(4).requires_grad_(), radius2=radius2).sum().backward()
    assert radius2.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nu": -0.1, "radius2": 1.0}, "nu must be a number in \\[0, 1\\]; got -0.1"),
        ({"nu": 2}, "nu must be a number in \\[0, 1\\]; got 2"),
        ({"nu": float("nan")}, "nu must be a number in \\[0, 1\\]; got nan"),
        ({}, "radius2, the squared radius, is missing"),
        ({"radius2": -1.0}, "radius2 must be a number >= 0; got -1.0"),
        ({"radius2": torch.ones(4)}, "radius2 must be one number; got a tensor of shape \\(4,\\)"),
    ],
)
def test_wrong_options_of_deep_svdd_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deep_svdd_loss(torch.ones(4), **options)


SCORES, LIMITS = torch.tensor([0.5, 2.0, 7.0, 9.0]), torch.tensor([1.0, 1.0, torch.inf, torch.nan])


def test_rows_beyond_the_cutoff_cost_no_more_and_have_no_gradient() -> None:
    soft = value_and_gradient(lambda d, _: deep_svdd_loss(d, nu=0.5, radius2=0.25, cutoff=LIMITS), SCORES, None)
    assert_close(soft[0], torch.tensor([0.75, 1.75, 13.75, 17.75]), 1e-6)
    assert_close(soft[1], torch.tensor([1.0, 0.0, 7 / 3, 3.0]), 1e-6)  # weights 0.5 to 1.5, over nu
    target = torch.tensor([0, 0, -1, -1])
    value, gradient = value_and_gradient(lambda d, y: deep_sad_loss(d, y, cutoff=1.0), SCORES, target)
    assert_close(value, torch.tensor([0.5, 2.0, 1.0, 1.0]), 1e-5)
    assert_close(gradient, torch.tensor([0.5, 5 / 6, 0.0, 0.0]), 1e-6)


def test_a_row_below_the_cutoff_is_an_anomaly_to_drocc() -> None:
    adversarial, limits = normal(4), torch.tensor([1.0, 1.0, 8.0, torch.nan])
    found = drocc_loss(SCORES, adversarial, mu=3.0, cutoff=limits)
    expected = torch.where(
        limits > SCORES, torch.log1p(SCORES.double().exp()), drocc_loss(SCORES.double(), adversarial, mu=3.0)
    )
    assert (limits > SCORES).tolist() == [True, False, True, False]
    assert_close(found, expected, 1e-6)


@pytest.mark.parametrize(
    "loss", [lambda d, q: deep_svdd_loss(d, nu=0, cutoff=q), lambda f, q: drocc_loss(f, f, cutoff=q)]
)
def test_no_gradient_flows_into_the_cutoff(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    cutoff = torch.tensor(0.1, requires_grad=True)
    loss(normal(4).requires_grad_(), cutoff).sum().backward()
    assert cutoff.grad is None
    with pytest.raises(ValueError, match=r"cutoff must be one number or \(4,\); got a tensor of \(2,\)"):
        loss(normal(4), torch.ones(2))
    with pytest.raises(TypeError, match="cutoff must be a number"):
        loss(normal(4), "far")


def test_a_cutoff_of_distances_is_not_negative() -> None:
    for loss in (
        lambda: deep_svdd_loss(SCORES, nu=0, cutoff=-1.0),
        lambda: deep_sad_loss(SCORES, LABELS[:4], cutoff=-1.0),
    ):
        with pytest.raises(ValueError, match=r"cutoff must be a number >= 0; got -1.0"):
            loss()


@pytest.mark.parametrize("shape", [(), (4, 1), (2, 3)], ids=str)
def test_distances_have_one_dimension(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="distance must be \\[B\\]; got distance") as raised:
        deep_svdd_loss(torch.ones(shape), radius2=1.0)
    assert str(shape) in str(raised.value)


def test_without_labels_deep_sad_is_the_hard_boundary() -> None:
    distance = normal(6).abs()
    assert torch.equal(deep_sad_loss(distance, torch.full((6,), -1), eta=5.0), distance)


def test_unlabelled_and_normal_rows_differ_by_their_weight() -> None:
    distance = normal(6).abs()
    labelled = deep_sad_loss(distance, torch.zeros(6), eta=3.0)
    assert_close(labelled, 3 * (distance + 1e-6), 1e-15)


def test_the_farther_an_anomaly_the_less_it_costs() -> None:
    distance = torch.tensor([0.0, 0.1, 1.0, 1e4, 1e30])
    value, gradient = value_and_gradient(deep_sad_loss, distance, torch.ones(5))
    assert_close(value[:2], torch.tensor([1e6, 1 / 0.100001]), 1e-6)
    assert (value.diff() < 0).all()
    assert (gradient <= 0).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.float32])
def test_labels_of_any_type(dtype: torch.dtype) -> None:
    distance = normal(6).abs()
    assert torch.equal(deep_sad_loss(distance, LABELS.to(dtype)), deep_sad_loss(distance, LABELS))


def test_what_is_not_labelled_is_unlabelled() -> None:
    distance = normal(6).abs()
    # -1 in uint8, and a missing label as a float.
    assert torch.equal(deep_sad_loss(distance, LABELS.to(torch.uint8)), deep_sad_loss(distance, LABELS))
    missing = torch.where(LABELS == -1, torch.nan, LABELS)
    assert torch.equal(deep_sad_loss(distance, missing), deep_sad_loss(distance, LABELS))


def test_a_tiny_eps_leaves_other_rows_their_gradient() -> None:
    _, gradient = value_and_gradient(
        lambda d, y: deep_sad_loss(d, y, eps=1e-30), torch.zeros(3), torch.tensor([-1, 0, 0])
    )
    assert_close(gradient, torch.tensor([0.5, 1.0, 1.5]), 1e-6)


@pytest.mark.parametrize("options", [{"eta": 0.0}, {"eta": -1.0}, {"eps": 0.0}, {"eps": float("nan")}])
def test_wrong_options_of_deep_sad_are_named(options: dict) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name} must be a number > 0; got {value}"):
        deep_sad_loss(torch.ones(2), torch.ones(2), **options)


def test_drocc_is_binary_cross_entropy_of_normal_rows_and_adversaries() -> None:
    score, adversarial = normal(6) * 30, normal(6, seed=1) * 30
    bce = nn.functional.binary_cross_entropy_with_logits
    expected = bce(score, torch.ones(6).double()) + 0.5 * bce(adversarial, torch.zeros(6).double())
    # The expected one is linear from 20 on or not, depending on the version of torch.
    assert_close(drocc_loss(score, adversarial, mu=0.5).mean(), expected, 1e-9)


def test_drocc_is_differentiable_by_both_scores() -> None:
    assert torch.autograd.gradcheck(drocc_loss, (normal(4).requires_grad_(), normal(4, seed=1).requires_grad_()))


def test_a_negative_mu_is_named() -> None:
    with pytest.raises(ValueError, match="mu must be a number >= 0; got -1"):
        drocc_loss(torch.ones(2), torch.ones(2), mu=-1)


OPTIONS = {"radius": 1.0, "gamma": 2.0, "num_steps": 5, "step_size": 0.3}


def lengths(h: Tensor) -> Tensor:
    return h.flatten(1).norm(dim=1)


@pytest.mark.parametrize(
    "changed", [{}, {"radius": 3.0}, {"gamma": 1.0}, {"num_steps": 0}, {"step_size": 5.0}], ids=str
)
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_adversary_is_that_of_the_paper(changed: dict, scale: float) -> None:
    x, start, options = normal(5, 3), scale * normal(5, 3, seed=1), {**OPTIONS, **changed}
    found = drocc_adversary(network(), x, start=start, **options)
    assert_close(found, oracles.drocc_adversary(network(), x, start=start, **options), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6, 3), (6, 1), (4, 2, 3), (2, 1, 4, 4), (0, 3)], ids=str)
def test_adversaries_lie_between_the_spheres(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    score = lambda x: x.float().flatten(1).sin().sum(dim=1)  # noqa: E731
    h = drocc_adversary(score, normal(*shape).to(dtype), **{**OPTIONS, "radius": 0.5, "gamma": 1.5})
    assert h.shape == shape
    assert h.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert not h.requires_grad
    assert ((lengths(h) > 0.5 - 1e-5) & (lengths(h) < 0.75 + 1e-5)).all()


def test_the_adversary_climbs_to_the_highest_score_on_the_outer_sphere() -> None:
    direction = torch.tensor([3.0, 0.0, 4.0])
    h = drocc_adversary(lambda x: x @ direction, torch.zeros(4, 3), radius=1.0, gamma=2.0, num_steps=60, step_size=0.5)
    assert_close(h, (direction / 5 * 2).expand(4, 3), 1e-3)


def test_the_adversary_looks_more_normal_than_noise_of_its_length() -> None:
    x, score = normal(50, 3), network()
    start = normal(50, 3, seed=1)
    noise = drocc_adversary(score, x, start=start, **{**OPTIONS, "num_steps": 0})
    found = drocc_adversary(score, x, start=start, **{**OPTIONS, "num_steps": 20})
    assert (score(x + found) > score(x + noise)).all()


@pytest.mark.parametrize("factor", [1e-40, 1e-20, 1e20])
@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_the_direction_survives_scores_of_any_size(factor: float, offset: float) -> None:
    x, start = torch.zeros(4, 3), normal(4, 3, seed=1).float()
    direction = torch.tensor([1.0, 2.0, -2.0])
    expected = drocc_adversary(lambda x: x @ direction, x, start=start, **OPTIONS)
    found = drocc_adversary(lambda x: x @ (direction * factor) + offset, x, start=start, **OPTIONS)
    assert_close(found, expected, 1e-4)


def test_a_score_without_a_slope_leaves_the_start_where_it_is() -> None:
    x, start = torch.zeros(4, 3), normal(4, 3, seed=1).float()
    h = drocc_adversary(lambda x: (0 * x).sum(dim=1), x, start=start, **OPTIONS)
    assert_close(h, drocc_adversary(lambda x: x.sum(dim=1), x, start=start, **{**OPTIONS, "num_steps": 0}), 1e-6)


def test_the_search_leaves_the_network_as_it_is() -> None:
    score, x = network(), normal(4, 3).requires_grad_()
    with torch.no_grad():
        drocc_adversary(score, x, **OPTIONS)
    assert all(parameter.grad is None for parameter in score.parameters())
    assert x.grad is None


def test_the_adversary_is_the_same_without_gradients_and_for_inference() -> None:
    score, x, start = network(), normal(4, 3), normal(4, 3)
    expected = drocc_adversary(score, x, start=start, **OPTIONS)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(drocc_adversary(score, x * 1, start=start * 1, **OPTIONS), expected)
            drocc_adversary(score, x * 1, **OPTIONS)


def test_one_generator_finds_one_adversary() -> None:
    def find(seed: int) -> Tensor:
        return drocc_adversary(network(), normal(4, 3), generator=torch.Generator().manual_seed(seed), **OPTIONS)

    assert torch.equal(find(1), find(1))
    assert not torch.equal(find(1), find(2))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"radius": 0.0}, "radius must be a number > 0; got 0.0"),
        ({"gamma": 0.9}, "gamma must be a number >= 1; got 0.9"),
        ({"num_steps": -1}, "num_steps must be a number >= 0; got -1"),
        ({"step_size": -0.1}, "step_size must be a number >= 0; got -0.1"),
        ({"start": torch.zeros(4, 2)}, "start must have the shape of x; got start \\(4, 2\\) and x \\(4, 3\\)"),
        ({"x": torch.zeros(4)}, "x must be \\[B, ...\\] with something to perturb in each row; got x \\(4,\\)"),
        ({"score_fn": lambda x: x[:, :1]}, "score_fn must return \\[B\\] for x \\[B, ...\\]; got \\(4, 1\\)"),
        ({"score_fn": lambda x: x.sum()}, "score_fn must return \\[B\\] for x \\[B, ...\\]; got \\(\\)"),
    ],
)
def test_wrong_arguments_of_the_search_are_named(changed: dict, message: str) -> None:
    arguments: dict = {"score_fn": lambda x: x.sum(dim=1), "x": torch.zeros(4, 3), **OPTIONS, **changed}
    with pytest.raises(ValueError, match=message):
        drocc_adversary(arguments.pop("score_fn"), arguments.pop("x"), **arguments)


@pytest.mark.parametrize(
    "call",
    [
        lambda whole: squared_distance(whole.view(2, 2), whole[:2]),
        initial_center,
        lambda whole: deep_svdd_loss(whole, nu=0),
        lambda whole: deep_sad_loss(whole, whole),
        lambda whole: drocc_loss(whole, whole),
        lambda whole: drocc_adversary(lambda x: x.sum(dim=1), whole.view(2, 2), **OPTIONS),
    ],
)
def test_whole_numbers_are_refused(call: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(TypeError, match=r"must be of a floating-point type; got torch.int64"):
        call(torch.ones(4, dtype=torch.long))


def trained(loss: Callable[[nn.Module, Tensor], Tensor], model: nn.Module, x: Tensor) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        loss(model, x).mean().backward()
        optimizer.step()
    return model


def test_drocc_learns_a_boundary_around_the_data_that_noise_does_not_show() -> None:
    """Normal rows on a circle: points at twice its radius, and its centre, are not normal."""
    angle = 2 * torch.pi * torch.arange(64, dtype=torch.float64) / 64
    circle = torch.stack([angle.cos(), angle.sin()], dim=1) * 2

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        h = drocc_adversary(model, x, radius=0.7, gamma=2.0, num_steps=5, step_size=0.1)
        return drocc_loss(model(x), model(x + h))

    torch.manual_seed(0)
    start = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), nn.Flatten(0))
    model = trained(loss, start.double(), circle)
    assert model(circle).min() > model(2 * circle).max()
    assert model(circle).min() > model(0.1 * circle).max()
