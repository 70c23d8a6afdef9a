"""What every loss obeys, whatever its formula."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
import torch
from torch import Tensor

import ludwig_losses
from functional.cases import CASES, Case, assert_close, consecutive, gradient_of, value_and_gradient
from ludwig_losses import functional

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
HALF = (torch.float16, torch.bfloat16)
INTEGERS = (torch.int8, torch.uint8, torch.int32, torch.int64)

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_class_case = pytest.mark.parametrize("case", [case for case in CASES if case.class_dim is not None], ids=str)


def assert_finite(*tensors: Tensor) -> None:
    for tensor in tensors:
        assert tensor.isfinite().all(), tensor


def assert_as_oracle(case: Case, logits: Tensor, target: Tensor | None, gradient_too: bool = True) -> None:
    tolerance = TOLERANCE[logits.dtype]
    value, gradient = value_and_gradient(case.loss, logits, target)
    expected, expected_gradient = value_and_gradient(case.oracle, logits.double(), target)
    assert value.dtype == gradient.dtype == logits.dtype
    assert_close(value, expected, tolerance)
    if gradient_too:
        assert_close(gradient, expected_gradient, tolerance)
    assert_finite(value, gradient)


def test_every_public_loss_has_a_case() -> None:
    assert {case.name for case in CASES} == {name for name in functional.__all__ if name.endswith("_loss")}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("case", "shape"), [(case, shape) for case in CASES for shape in case.shapes], ids=lambda value: str(value)
)
def test_value_and_gradient_are_those_of_the_oracle(case: Case, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    assert_as_oracle(case, *case.batch(shape, dtype))


@every_case
def test_gradient_is_the_derivative_of_the_value(case: Case) -> None:
    logits, target = case.batch(case.shapes[0])
    assert torch.autograd.gradcheck(lambda z: case.loss(z, target), logits.requires_grad_())


@pytest.mark.parametrize("dtype", HALF, ids=str)
@every_case
def test_half_precision_is_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    logits, target = case.batch(dtype=dtype)
    value, gradient = value_and_gradient(case.loss, logits, target)
    expected, expected_gradient = value_and_gradient(case.loss, logits.float(), target)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(gradient, expected_gradient.to(dtype))


@every_case
def test_autocast_changes_nothing(case: Case) -> None:
    logits, target = case.batch(dtype=torch.float32)
    expected, expected_gradient = value_and_gradient(case.loss, logits, target)
    leaf = logits.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = case.loss(leaf, target)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(gradient_of(value, leaf), expected_gradient)


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float32, 1e4), (torch.float16, 6e4), (torch.bfloat16, 6e4)], ids=str
)
@pytest.mark.parametrize("signs", ["random", "all high", "all low"])
@every_case
def test_large_logits_are_finite(case: Case, signs: str, dtype: torch.dtype, size: float) -> None:
    noise, target = case.batch()
    sign = {"random": noise.sign(), "all high": noise.new_tensor(1.0), "all low": noise.new_tensor(-1.0)}[signs]
    logits = (size * sign.expand_as(noise)).to(dtype)
    value, gradient = value_and_gradient(case.loss, logits, target)
    assert_finite(value, gradient)
    assert_close(value, case.oracle(logits.double(), target), 1e-6)


@pytest.mark.parametrize("gap", [10.0, 16.6, 30.0, 90.0])
@pytest.mark.parametrize("right", [True, False])
@every_class_case
def test_saturated_probabilities(case: Case, gap: float, right: bool) -> None:
    logits, target = case.batch(dtype=torch.float32)
    chosen = target if right else (target + 1) % logits.shape[case.class_dim]
    classes = torch.nn.functional.one_hot(chosen, logits.shape[case.class_dim])
    logits = gap * classes.movedim(-1, case.class_dim).float()
    value, gradient = value_and_gradient(case.loss, logits, target)
    expected, expected_gradient = value_and_gradient(case.oracle, logits.double(), target)
    assert_finite(value, gradient)
    if case.options.get("focal_tversky_gamma", 1) > 1 and right:
        # The slope of the power is infinite where nothing is wrong: rounding is magnified, and the oracle has no gradient.
        torch.testing.assert_close(value, expected, rtol=0, atol=2e-5, check_dtype=False)
        return
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6, check_dtype=False)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-6, check_dtype=False)


@every_case
def test_ties(case: Case) -> None:
    logits, target = case.batch()
    # Where errors tie, the Lovász extension has a corner: any of its subgradients will do.
    assert_as_oracle(case, logits.sign(), target, gradient_too=case.name != "lovasz_softmax_loss")


@every_case
def test_one_class_only(case: Case) -> None:
    logits, target = case.batch()
    assert_as_oracle(case, logits, None if target is None else torch.zeros_like(target))


def asks_for_every_class(case: Case) -> bool:
    """Whether the label wants something of every class, the last one included, so that none can be masked."""
    if case.name == "bi_tempered_logistic_loss":
        # Its smoothed label gives each class a part, and with t1 = 1 a probability of 0 costs infinitely much.
        return case.options.get("label_smoothing", 0) > 0 and case.options["t1"] == 1
    known = case.options.get("known")
    if case.name == "objectosphere_loss" and known is None:
        # The magnitude counts every known class.
        return True
    # Where one class is known, the examples of all others are drawn to uniform over every class.
    return known is not None and len(known) == 1


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.class_dim is not None and not asks_for_every_class(case)], ids=str
)
def test_masked_class(case: Case) -> None:
    logits, target = case.batch()
    masked = logits.shape[case.class_dim] - 1
    target = target.clamp_max(masked - 1)
    index = torch.tensor([masked])
    logits = logits.index_fill(case.class_dim, index, -torch.inf)
    value, gradient = value_and_gradient(case.loss, logits, target)
    assert_finite(value, gradient)
    assert_close(value, case.oracle(logits, target), 1e-12)
    assert gradient.index_select(case.class_dim, index).count_nonzero() == 0
    assert gradient.count_nonzero() > 0


@every_case
def test_empty_batch(case: Case) -> None:
    logits, target = case.batch((0, *case.shapes[-1][1:]), torch.float32)
    value, gradient = value_and_gradient(case.loss, logits, target)
    assert value.shape == (torch.Size() if case.is_scalar else target.shape)
    assert value.count_nonzero() == 0
    assert gradient.shape == logits.shape


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("case", [case for case in CASES if case.make_target is not consecutive], ids=str)
def test_target_of_any_integer_type(case: Case, dtype: torch.dtype) -> None:
    logits, target = case.batch()
    value, gradient = value_and_gradient(case.loss, logits, target.to(dtype))
    expected, expected_gradient = value_and_gradient(case.loss, logits, target)
    assert torch.equal(value, expected)
    assert torch.equal(gradient, expected_gradient)


@every_case
def test_memory_layout_does_not_matter(case: Case) -> None:
    def strided(tensor: Tensor) -> Tensor:
        transposed = tensor.transpose(0, -1).contiguous().transpose(0, -1)
        return torch.stack([transposed, transposed], dim=-1)[..., 0]

    logits, target = case.batch()
    other_logits, other_target = strided(logits), None if target is None else strided(target)
    assert not other_logits.is_contiguous()
    value, gradient = value_and_gradient(case.loss, other_logits, other_target)
    expected, expected_gradient = value_and_gradient(case.loss, logits, target)
    assert_close(value, expected, 1e-14)
    assert_close(gradient, expected_gradient, 1e-14)


@every_case
def test_compiles_without_a_graph_break(case: Case) -> None:
    torch.compiler.reset()
    logits, target = case.batch(dtype=torch.float32)
    compiled = torch.compile(case.loss, fullgraph=True, backend="aot_eager")
    value, gradient = value_and_gradient(compiled, logits, target)
    expected, expected_gradient = value_and_gradient(case.loss, logits, target)
    assert_close(value, expected, 1e-6)
    assert_close(gradient, expected_gradient, 1e-6)


_WRONG_FOR_CLASS_FIRST = [
    ((4, 3), (3,)),
    ((4, 3), (4, 1)),
    ((4, 3), (4, 3)),
    ((2, 3, 4, 5), (2, 5, 4)),
    ((2, 3, 4, 4), (2, 1, 4, 4)),
    ((2, 3, 4), (2, 3)),
    ((4,), (4,)),
    ((3,), ()),
    ((), ()),
]
_WRONG_FOR_CLASS_LAST = [
    ((4, 3), (3,)),
    ((4, 3), (4, 1)),
    ((4, 3), (4, 3)),
    ((2, 3, 4), (2, 4)),
    ((2, 3, 4), (6,)),
    ((), ()),
]
WRONG_SHAPES = {
    "sigmoid_focal_loss": [((4,), (4, 1)), ((4, 1), (4,)), ((4,), (1,)), ((4,), ())],
    "softmax_focal_loss": _WRONG_FOR_CLASS_FIRST,
    "poly_loss": _WRONG_FOR_CLASS_FIRST,
    "dice_loss": [*_WRONG_FOR_CLASS_FIRST, ((2, 3), (2,))],
    "lovasz_softmax_loss": _WRONG_FOR_CLASS_FIRST,
    "nt_xent_loss": [((4, 3), (3,)), ((4, 3), (4, 1)), ((4,), (4,)), ((4, 3, 2), (4,)), ((), ())],
    "entmax15_loss": _WRONG_FOR_CLASS_LAST,
    "sparsemax_loss": _WRONG_FOR_CLASS_LAST,
    "entmax_loss": _WRONG_FOR_CLASS_LAST,
    "entropic_open_set_loss": _WRONG_FOR_CLASS_LAST,
    "objectosphere_loss": _WRONG_FOR_CLASS_LAST,
    "bi_tempered_logistic_loss": _WRONG_FOR_CLASS_LAST,
}


@pytest.mark.parametrize(
    ("name", "logits", "target"), [(name, *shapes) for name, pairs in WRONG_SHAPES.items() for shapes in pairs]
)
def test_wrong_shapes_are_named(name: str, logits: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as raised:
        getattr(functional, name)(torch.zeros(logits), torch.zeros(target, dtype=torch.long))
    assert str(logits) in str(raised.value)
    assert str(target) in str(raised.value)


def test_needs_no_ludwig() -> None:
    program = (
        "import sys, ludwig_losses.functional; print([name for name in sys.modules if name.split('.')[0] == 'ludwig'])"
    )
    root = pathlib.Path(ludwig_losses.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("index", [-100, -1, 3])
@pytest.mark.parametrize("name", ["softmax_focal_loss", "poly_loss", "dice_loss", "lovasz_softmax_loss"])
def test_no_class_index_is_silently_ignored(name: str, index: int) -> None:
    target = torch.zeros(2, 4, 4, dtype=torch.long)
    target[0, 1, 2] = index
    with pytest.raises((IndexError, RuntimeError), match="out of (bounds|range)"):
        getattr(functional, name)(torch.zeros(2, 3, 4, 4), target)


@every_case
def test_second_derivative_is_right_or_refused(case: Case) -> None:
    logits, target = case.batch(case.shapes[0])
    if case.name in ("entmax15_loss", "sparsemax_loss", "entmax_loss", "nt_xent_loss", "bi_tempered_logistic_loss"):
        leaf = logits.requires_grad_()
        (gradient,) = torch.autograd.grad(case.loss(leaf, target).sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="_gradient"):
            (case.loss(leaf, target).sum() + gradient.pow(2).sum()).backward()
        return
    hessian = torch.autograd.functional.hessian(lambda z: case.loss(z, target).sum(), logits)
    assert_close(hessian, torch.autograd.functional.hessian(lambda z: case.oracle(z, target).sum(), logits), 1e-10)
