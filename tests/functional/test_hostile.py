"""No input makes a loss wrong or infinite: random cases against the oracles.

``HOSTILE_SEEDS`` chooses the cases of each loss, ``0:10000`` for the first ten thousand or ``123`` for one.
"""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from functional.hostile import DTYPES, LAYOUTS, SUBJECTS, TARGET_DTYPES, Case, draw_case
from ludwig_losses import functional
from ludwig_losses.functional._numerics import weighted_mean

ONE = torch.ones(())

_first, _, _end = os.environ.get("HOSTILE_SEEDS", "0:200").partition(":")
SEEDS = range(int(_first), int(_end or int(_first) + 1))
# Enough for every process of a long run.
CHUNKS = [SEEDS[start : start + 500] for start in range(0, len(SEEDS), 500)]

# Of a sum of terms near 1, and relative to larger ones.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-6}

every_subject = pytest.mark.parametrize("name", SUBJECTS)


def test_every_function_is_drawn_with_each_of_its_options() -> None:
    for name, subject in SUBJECTS.items():
        _, *parameters = inspect.signature(getattr(functional, name)).parameters
        assert {*subject.options} == {*parameters[subject.has_target :]}, name


@every_subject
@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds[0]}:{seeds[-1] + 1}")
def test_cases(name: str, seeds: range) -> None:
    failures = {seed: failure for seed in seeds for failure in failures_of(name, seed)}
    first = next(iter(failures.values()), None)
    assert not failures, (
        f"{len(failures)} of {len(seeds)} cases failed, with the seeds {[*failures]}. The first:\n{first}"
    )


@every_subject
def test_the_draws_are_hostile(name: str) -> None:
    """Each kind of trouble that the loss can be in occurs among the first cases."""
    subject = SUBJECTS[name]
    traits = Counter(trait for seed in range(120) for trait in draw_case(name, seed).traits)
    wanted = {*map(str, DTYPES), *LAYOUTS, "autocast", "empty", "one row", "large", "tied", "all equal"}
    wanted |= {f"with {option}" for option in subject.options}
    wanted |= {f"without {option}" for option in {*subject.options} - {*subject.demanded}}
    if subject.has_target:
        wanted |= {f"target {dtype}" for dtype in TARGET_DTYPES} | (
            {"target None"} if subject.optional_target else set()
        )
        wanted |= {"absent class"} if not subject.kind.of_rows else set()
    if subject.kind.maskable:
        wanted |= {"-inf"} | ({"one class"} if subject.kind.masked is None else set())
    if "ignore_index" in subject.options:
        wanted |= {"senseless"}
    if subject.has_target and not subject.scalar:
        wanted |= {"weighted", "all ignored"}
    assert not {trait for trait in wanted if not traits[trait]}


@pytest.mark.parametrize(
    "name", [name for name, subject in SUBJECTS.items() if subject.distance is not type(subject).distance]
)
def test_most_gradients_are_compared(name: str) -> None:
    assert sum(draw_case(name, seed).smooth for seed in range(100)) > 30


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.has_target])
@pytest.mark.parametrize("seed", SEEDS[::500])
def test_compiled_without_a_graph_break(name: str, seed: int) -> None:
    torch.compiler.reset()
    case = draw_case(name, seed)
    check(case, torch.compile(case.function, fullgraph=True, backend="aot_eager"))


def failures_of(name: str, seed: int) -> Iterator[str]:
    """Yield what is wrong with a case, and how to repeat it."""
    case = None
    try:
        case = draw_case(name, seed)
        check(case, case.function)
    except Exception as error:
        again = f"HOSTILE_SEEDS={seed} pytest 'tests/functional/test_hostile.py::test_cases[{seed}:{seed + 1}-{name}]'"
        yield f"{case}\n{type(error).__name__}: {error}\nRepeat it: {again}"


def check(case: Case, function: Callable[..., Tensor]) -> None:
    value, gradient = value_and_gradient(case, function, case.logits)
    precision = torch.float64 if case.held.dtype == torch.float64 else torch.float32
    kind = case.subject.kind
    shape = (kind.target_shape if case.subject.has_target else kind.result_shape)(case.shape)
    assert value.shape == (torch.Size() if case.subject.scalar else shape)
    assert value.dtype == precision
    assert gradient.dtype == case.held.dtype
    assert value.isfinite().all(), f"value {value}"
    assert gradient.isfinite().all(), f"gradient {gradient}"
    assert gradient[case.logits.isneginf()].count_nonzero() == 0, f"masked logits have the gradient {gradient}"
    if case.counts_nothing:
        assert gradient.count_nonzero() == 0
        assert not case.subject.scalar or value == 0
        return
    with torch.autocast("cpu", enabled=False):
        expected, expected_gradient = value_and_gradient(case, case.oracle, case.logits.double())
    if not case.subject.jumps(case):
        assert_near("value", value, expected, TOLERANCE[precision])
    if case.smooth:
        assert_near("gradient", gradient, expected_gradient, TOLERANCE[precision], case.subject.scale(case))


def value_and_gradient(case: Case, function: Callable[..., Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unreduced loss, and the gradient of its mean."""
    leaf = logits.detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=case.autocast):
        value = case.call(function, leaf)
        if case.subject.has_target:
            mean = weighted_mean(value, case.weight)
        else:
            mean = (value * torch.linspace(-1, 1, value.numel()).reshape(value.shape).to(value)).sum()
    assert mean.shape == ()
    assert mean.isfinite()
    (gradient,) = torch.autograd.grad(mean, leaf)
    return value.detach(), gradient


def assert_near(what: str, actual: Tensor, expected: Tensor, tolerance: float, scale: Tensor = ONE) -> None:
    assert expected.isfinite().all(), f"the oracle's {what} is {expected}"
    kind = torch.finfo(actual.dtype)
    relative = tolerance + (kind.eps if kind.bits == 16 else 0)
    allowed = tolerance * expected.abs().amax().maximum(scale) + relative * expected.abs() + kind.smallest_normal
    near = (actual.double() - expected).abs() <= allowed
    assert near.all(), f"{what} {actual}\ninstead of {expected}\ndifference {actual.double() - expected}"
