"""What is known before anything is computed is checked always: types, shapes and hyperparameters."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import oracles
from functional.cases import CASES, Case, class_first, class_last, random_batch, ranks
from ludwig_losses import functional
from ludwig_losses.functional import _numerics
from synchronising import SynchronisingOperators

# One case of each loss.
LOSSES = {case.name: case for case in reversed(CASES)}
OF_CLASSES = [name for name, case in LOSSES.items() if case.make_target in (class_first, class_last, ranks)]
WITH_IGNORE_INDEX = [
    name for name in LOSSES if "ignore_index" in inspect.signature(getattr(functional, name)).parameters
]
OUT_OF_RANGE = [(name, *row) for name in LOSSES for row in oracles.FUNCTIONS[name].out_of_range]
NO_NUMBER = [(name, options) for name in LOSSES for options in oracles.FUNCTIONS[name].no_number]


def call(name: str, **options: Any) -> torch.Tensor:
    shape = (6, 3, 2) if LOSSES[name].make_target is class_first else None
    return getattr(functional, name)(*LOSSES[name].batch(shape, torch.float32), **options)


@pytest.mark.parametrize(("name", "options", "words"), OUT_OF_RANGE, ids=str)
def test_hyperparameters_out_of_range_are_named(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(name, **options)


@pytest.mark.parametrize(("name", "options"), NO_NUMBER, ids=str)
def test_hyperparameters_that_are_no_numbers_are_named(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=rf"{next(iter(options))}.* must be a number"):
        call(name, **options)


@pytest.mark.parametrize("name", ["sigmoid_focal_loss", "softmax_focal_loss", "dice_loss"])
@pytest.mark.parametrize("values", [[1.0, 1.0], torch.ones(3, dtype=torch.complex64)], ids=["list", "complex"])
def test_weights_of_classes_are_tensors_of_real_numbers(name: str, values: Any) -> None:
    option = "class_weights" if name == "dice_loss" else "alpha"
    with pytest.raises(TypeError, match=f"{option} must be a tensor of . numbers; got (list|torch.complex64)"):
        call(name, **{option: values})


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.bool])
@pytest.mark.parametrize("name", LOSSES)
def test_logits_are_floating_point_numbers(name: str, dtype: torch.dtype) -> None:
    logits, target = LOSSES[name].batch()
    with pytest.raises(
        TypeError,
        match=f"(logits|predictions|embeddings|distance|score|loss) must be of a floating-point type; got {dtype}",
    ):
        LOSSES[name].loss(logits.to(dtype), target)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64])
@pytest.mark.parametrize("name", OF_CLASSES)
def test_classes_are_whole_numbers(name: str, dtype: torch.dtype) -> None:
    logits, target = LOSSES[name].batch()
    with pytest.raises(TypeError, match=f"target must be of an integer type; got {dtype}"):
        LOSSES[name].loss(logits, target.to(dtype))


def test_a_binary_target_is_real() -> None:
    with pytest.raises(TypeError, match=r"target must be bool or of a real number type; got torch.complex64"):
        functional.sigmoid_focal_loss(torch.zeros(3), torch.zeros(3, dtype=torch.complex64))


def test_what_is_not_0_is_of_the_positive_class() -> None:
    logits = torch.linspace(-2, 2, 5)
    expected = functional.sigmoid_focal_loss(logits, torch.tensor([1, 1, 1, 1, 0]))
    target = torch.tensor([1.0, -1.0, 255.0, 1.0, 0.0])
    assert torch.equal(functional.sigmoid_focal_loss(logits, target), expected)


# Arguments that hold labels which are compared, not looked up, and so may be of any type.
LABELS = {
    (name, argument): partial(call, getattr(functional, name))
    for name in LOSSES
    for argument, call in oracles.FUNCTIONS[name].labels.items()
}
every_label = pytest.mark.parametrize(("name", "what"), LABELS)


@every_label
@pytest.mark.parametrize("value", [0.3, -0.5, 1.75, float("nan")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_labels_are_whole_numbers(name: str, what: str, value: float, dtype: torch.dtype) -> None:
    labels = torch.zeros(4, 2, dtype=dtype)
    labels[2, 0] = value
    call = LABELS[name, what]
    if name == "deep_sad_loss" and math.isnan(value):  # a missing label, which hides no wrong one
        call(labels)
        labels[3, 0] = value = 0.5
    with pytest.raises(
        ValueError, match=rf"^{what} must be whole numbers; got {torch.tensor(value, dtype=dtype).item():g}\.$"
    ):
        call(labels)


@every_label
@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float64]
)
def test_whole_labels_are_of_any_type(name: str, what: str, dtype: torch.dtype) -> None:
    labels = torch.tensor([[0, 1], [1, 1], [0, 0], [1, 0]])
    call = LABELS[name, what]
    torch.manual_seed(0)
    expected = call(labels)
    torch.manual_seed(0)
    assert torch.equal(call(labels.to(dtype)), expected)


@every_label
def test_labels_are_not_complex(name: str, what: str) -> None:
    with pytest.raises(TypeError, match=f"{what} must be bool or of a real number type; got torch.complex64"):
        LABELS[name, what](torch.zeros(4, 2, dtype=torch.complex64))


@every_label
def test_labels_on_an_accelerator_are_not_looked_at(name: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    with SynchronisingOperators() as mode:
        LABELS[name, what](torch.full((4, 2), 0.3))
    assert mode.found == []


def test_integer_labels_are_not_looked_at() -> None:
    """Whatever is asked of the numbers of a label costs time in a small batch."""
    for name in ("sigmoid_focal_loss", "deep_sad_loss"):
        with SynchronisingOperators() as mode:
            LABELS[name, "target"](torch.ones(4, 2, dtype=torch.int64))
        assert mode.found == []


# One case for each way of each loss that looks up classes: of few numbers and of many, of two classes and of more.
LOOK_UPS = [
    *((case, shape) for case in LOSSES.values() for shape in ((2, 3, 4, 5), (2, 2, 90, 100), (4, 3, 60, 60))),
    *(
        (Case(name, case.make_target, (), options), shape)
        for name, case in LOSSES.items()
        for options, shape in oracles.FUNCTIONS[name].look_ups
    ),
]
OF_INDICES = [(case, shape) for case, shape in LOOK_UPS if case.name in OF_CLASSES]


@pytest.mark.parametrize("index", [-100, -1, None])
@pytest.mark.parametrize(("case", "shape"), OF_INDICES, ids=str)
def test_a_target_that_is_no_class_is_named(case: Case, shape: tuple[int, ...], index: int | None) -> None:
    """Whichever way is taken, with its value, the number of classes, and what to write if it shall not count."""
    logits, target = case.batch(shape, torch.float32)
    dim = 1 if case.make_target is class_first else -1
    classes = shape[dim] + (case.make_target is ranks)
    wrong = classes if index is None else index
    target.view(-1)[-1] = wrong
    words = f"^target has the value {wrong}, which is out of range: the {classes} classes are numbered from 0\\."
    with pytest.raises(IndexError, match=words) as raised:
        case.loss(logits, target)
    has_option = "ignore_index" in inspect.signature(getattr(functional, case.name)).parameters
    assert (f"ignore_index={wrong}" in str(raised.value)) == has_option


@pytest.mark.parametrize("name", [name for name in WITH_IGNORE_INDEX if name in OF_CLASSES])
def test_a_target_that_is_ignored_is_not_the_wrong_one(name: str) -> None:
    case = replace(LOSSES[name], options={"ignore_index": 255})
    logits, target = case.batch((2, 3, 4, 5), torch.float32)
    target.view(-1)[:2] = torch.tensor([255, 77])
    with pytest.raises(IndexError, match="target has the value 77, which"):
        case.loss(logits, target)


def test_an_error_that_is_no_targets_fault_stays_as_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"device|storage|meta"):
        functional.poly_loss(torch.randn(3, 4), torch.zeros(3, dtype=torch.long, device="meta"))


@pytest.mark.parametrize("known", [[0, 5], [-1, 2], [7]])
def test_known_classes_exist(known: list[int]) -> None:
    logits, target = torch.randn(4, 5), torch.tensor([0, 1, 0, 1])
    for loss in (functional.entropic_open_set_loss, functional.objectosphere_loss):
        with pytest.raises(ValueError, match=rf"known must have indices of the 5 classes.*; got \[{known[0]}"):
            loss(logits, target, known=torch.tensor(known))


@pytest.mark.parametrize("name", WITH_IGNORE_INDEX)
@pytest.mark.parametrize("index", [np.int64(1), np.uint8(1), [np.int64(1)], np.array([1]), (1,), {1}], ids=repr)
def test_ignore_index_is_any_kind_of_whole_number(name: str, index: Any) -> None:
    assert torch.equal(call(name, ignore_index=index), call(name, ignore_index=1))


@pytest.mark.parametrize("name", WITH_IGNORE_INDEX)
@pytest.mark.parametrize("index", [1.0, "1", [1, 0.5], ["1"], torch.tensor(1)], ids=repr)
def test_ignore_index_is_nothing_else(name: str, index: Any) -> None:
    with pytest.raises(TypeError, match="ignore_index must be a whole number, a list of them, or None; got"):
        call(name, ignore_index=index)


@pytest.mark.parametrize("name", ["softmax_focal_loss", "poly_loss"])
def test_numbers_of_numpy_are_numbers(name: str) -> None:
    logits, target = random_batch((6, 4))
    loss = getattr(functional, name)
    expected = loss(logits, target, gamma=2.0, label_smoothing=0.25)
    assert torch.equal(loss(logits, target, gamma=np.float32(2), label_smoothing=np.float64(0.25)), expected)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_what_is_projected_are_floating_point_numbers(dtype: torch.dtype) -> None:
    for project in (functional.entmax, functional.entmax15, functional.sparsemax, functional.tempered_softmax):
        with pytest.raises(TypeError, match=f"(logits|embeddings) must be of a floating-point type; got {dtype}"):
            project(torch.ones(2, 3, dtype=dtype))
    with pytest.raises(TypeError, match=f"embeddings must be of a floating-point type; got {dtype}"):
        functional.nt_xent_loss(torch.ones(2, 3, dtype=dtype))


@pytest.mark.parametrize(
    ("project", "option", "value"),
    [("entmax", "alpha", 1.0), ("entmax", "alpha", float("nan")), ("tempered_softmax", "t", 0.5)],
)
def test_projections_name_what_is_out_of_range(project: str, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{option} must be a number in .*; got {value}"):
        getattr(functional, project)(torch.ones(2, 3), value)


@pytest.mark.parametrize("option", ["known", "classes"])
def test_names_of_classes_are_whole_numbers(option: str) -> None:
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    calls = {
        "known": lambda: functional.entropic_open_set_loss(logits, target, known=torch.tensor([0.0, 1.0])),
        "classes": lambda: functional.lovasz_softmax_loss(logits, target, classes=[0.5, 1]),
    }
    with pytest.raises(TypeError, match=rf"{option} must be .*(integer type|whole numbers)"):
        calls[option]()
    assert torch.equal(
        functional.lovasz_softmax_loss(logits, target, classes=[np.int64(0), 1]),
        functional.lovasz_softmax_loss(logits, target, classes=[0, 1]),
    )
