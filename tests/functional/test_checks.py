"""What is known before anything is computed is checked always: types, shapes and hyperparameters."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from functional.cases import CASES, Case, class_first, class_last, random_batch
from ludwig_losses import functional
from ludwig_losses.functional import _numerics
from synchronising import SynchronisingOperators

# One case of each loss.
LOSSES = {case.name: case for case in reversed(CASES)}
OF_ONE_CLASS = ("deep_svdd_loss", "deep_sad_loss", "drocc_loss")
OF_CLASSES = [name for name in LOSSES if name not in ("sigmoid_focal_loss", "nt_xent_loss", *OF_ONE_CLASS)]
WITH_IGNORE_INDEX = ["softmax_focal_loss", "poly_loss", "dice_loss", "lovasz_softmax_loss", "entmax15_loss"]

_SMOOTHING = [
    ({"label_smoothing": value}, rf"label_smoothing must be a number in \[0, 1\]; got {value}") for value in (-0.1, 1.5)
]
_FOCAL = [
    *_SMOOTHING,
    ({"gamma": -1}, "gamma must be a number >= 0; got -1"),
    ({"gamma": float("inf")}, "gamma must be a number >= 0; got inf"),
    ({"gamma": float("nan")}, "gamma must be a number >= 0; got nan"),
    ({"gamma": 10**400}, "gamma must be a number >= 0; got 1000"),
    ({"reduced_threshold": 0}, r"reduced_threshold must be a number in \(0, 1\]; got 0"),
    ({"reduced_threshold": 1.5}, r"reduced_threshold must be a number in \(0, 1\]; got 1.5"),
    ({"alpha": torch.ones(4)}, r"alpha must have one number for each of the . classes; got a tensor of shape \(4,\)"),
    ({"alpha": torch.ones(())}, r"alpha must have one number for each of the . classes; got a tensor of shape \(\)"),
]
OUT_OF_RANGE = {
    "sigmoid_focal_loss": _FOCAL,
    "softmax_focal_loss": _FOCAL,
    "poly_loss": [
        *_SMOOTHING,
        ({"gamma": -0.5}, "gamma must be a number >= 0; got -0.5"),
        ({"epsilon": -1.01}, "epsilon must be a number >= -1; got -1.01"),
        ({"epsilon": [1, -1]}, r"epsilon\[1\] must be a number >= -0.5; got -1"),
        ({"epsilon": (0.0, 0.0, -0.34)}, r"epsilon\[2\] must be a number >= -0.333333; got -0.34"),
    ],
    "dice_loss": [
        ({"smooth": -1.0}, "smooth must be a number >= 0; got -1.0"),
        ({"tversky_alpha": -0.1}, "tversky_alpha must be a number >= 0; got -0.1"),
        ({"tversky_beta": -0.1}, "tversky_beta must be a number >= 0; got -0.1"),
        ({"focal_tversky_gamma": 0}, "focal_tversky_gamma must be a number > 0; got 0"),
        ({"class_weights": torch.ones(2)}, r"class_weights must have .* the 3 classes; got a tensor of shape \(2,"),
    ],
    "lovasz_softmax_loss": [
        ({"classes": [0, 7]}, r"classes: \[0, 7\], but there is no class 7; there are"),
        ({"classes": [0, -1]}, "there is no class -1"),
    ],
    "nt_xent_loss": [
        ({"temperature": -1}, "temperature must be a number > 0; got -1"),
        ({"temperature": 0.0}, "temperature must be a number > 0; got 0.0"),
        ({"temperature": float("nan")}, "temperature must be a number > 0; got nan"),
        ({"chunk_size": 2.5}, "chunk_size must be a whole number >= 1, or None; got 2.5"),
    ],
    "entmax15_loss": _SMOOTHING,
    "sparsemax_loss": _SMOOTHING,
    "entmax_loss": [
        *_SMOOTHING,
        *(({"alpha": value}, rf"alpha must be a number in \(1, 2\]; got {value}") for value in (1, 2.5, float("nan"))),
    ],
    "bi_tempered_logistic_loss": [
        *_SMOOTHING,
        ({"t1": 1.5}, r"t1 must be a number in \[0, 1\]; got 1.5"),
        ({"t1": float("nan")}, r"t1 must be a number in \[0, 1\]; got nan"),
        ({"t2": 0.5}, r"t2 must be a number in \[1, 10\]; got 0.5"),
    ],
    "entropic_open_set_loss": [
        ({"known": torch.tensor([1, 1])}, r"known names a class twice; got \[1, 1\]"),
        ({"known": torch.tensor([[0, 1]])}, r"known must be \[K\], the indices of one class or more; got .* \(1, 2\)"),
    ],
    "objectosphere_loss": [
        ({"known": torch.tensor([0, 1, 0])}, r"known names a class twice; got \[0, 1, 0\]"),
        ({"xi": -1}, "xi must be a number >= 0; got -1"),
        ({"zeta": -0.1}, "zeta must be a number >= 0; got -0.1"),
        ({"zeta": float("inf")}, "zeta must be a number >= 0; got inf"),
    ],
}
NO_NUMBER = [
    *((name, {"gamma": value}) for name in ("softmax_focal_loss", "poly_loss") for value in ("2", None, True)),
    ("sigmoid_focal_loss", {"gamma": "2"}),
    ("softmax_focal_loss", {"reduced_threshold": "0.5"}),
    ("softmax_focal_loss", {"label_smoothing": torch.tensor(0.1)}),
    ("poly_loss", {"epsilon": [1.0, None]}),
    ("poly_loss", {"epsilon": "1"}),
    ("dice_loss", {"smooth": "1"}),
    ("dice_loss", {"focal_tversky_gamma": None}),
    ("nt_xent_loss", {"temperature": "0.1"}),
    ("entmax_loss", {"alpha": "1.5"}),
    ("sparsemax_loss", {"label_smoothing": None}),
    ("bi_tempered_logistic_loss", {"t1": "1"}),
    ("bi_tempered_logistic_loss", {"t2": None}),
    ("objectosphere_loss", {"xi": "10"}),
]


def call(name: str, **options: Any) -> torch.Tensor:
    shape = (6, 3, 2) if name in ("softmax_focal_loss", "poly_loss", "dice_loss") else None
    return getattr(functional, name)(*LOSSES[name].batch(shape, torch.float32), **options)


@pytest.mark.parametrize(
    ("name", "options", "words"), [(name, *row) for name, rows in OUT_OF_RANGE.items() for row in rows], ids=str
)
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
        TypeError, match=f"(logits|embeddings|distance|score) must be of a floating-point type; got {dtype}"
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


# Losses whose labels are compared, not looked up, and so may be of any type.
LABELS = {
    "sigmoid_focal_loss": ("target", lambda y: functional.sigmoid_focal_loss(torch.randn(4, 2), y)),
    "deep_sad_loss": ("target", lambda y: functional.deep_sad_loss(torch.rand(4), y[:, 0])),
    "nt_xent_loss": ("labels", lambda y: functional.nt_xent_loss(torch.randn(4, 3), y[:, 0])),
    "nt_xent_loss with a memory": (
        "memory_labels",
        lambda y: functional.nt_xent_loss(
            torch.randn(4, 3), torch.arange(4) // 2, memory=torch.randn(4, 3), memory_labels=y[:, 0]
        ),
    ),
}
every_label = pytest.mark.parametrize("name", LABELS)


@every_label
@pytest.mark.parametrize("value", [0.3, -0.5, 1.75, float("nan")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_labels_are_whole_numbers(name: str, value: float, dtype: torch.dtype) -> None:
    labels = torch.zeros(4, 2, dtype=dtype)
    labels[2, 0] = value
    what, call = LABELS[name]
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
def test_whole_labels_are_of_any_type(name: str, dtype: torch.dtype) -> None:
    labels = torch.tensor([[0, 1], [1, 1], [0, 0], [1, 0]])
    _, call = LABELS[name]
    torch.manual_seed(0)
    expected = call(labels)
    torch.manual_seed(0)
    assert torch.equal(call(labels.to(dtype)), expected)


@every_label
def test_labels_are_not_complex(name: str) -> None:
    what, call = LABELS[name]
    with pytest.raises(TypeError, match=f"{what} must be bool or of a real number type; got torch.complex64"):
        call(torch.zeros(4, 2, dtype=torch.complex64))


@every_label
def test_labels_on_an_accelerator_are_not_looked_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    with SynchronisingOperators() as mode:
        LABELS[name][1](torch.full((4, 2), 0.3))
    assert mode.found == []


def test_integer_labels_are_not_looked_at() -> None:
    """Whatever is asked of the numbers of a label costs time in a small batch."""
    for name in ("sigmoid_focal_loss", "deep_sad_loss"):
        with SynchronisingOperators() as mode:
            LABELS[name][1](torch.ones(4, 2, dtype=torch.int64))
        assert mode.found == []


# One case for each way of each loss that looks up classes: of few numbers and of many, of two classes and of more.
LOOK_UPS = [
    *((case, shape) for case in LOSSES.values() for shape in ((2, 3, 4, 5), (2, 2, 90, 100), (4, 3, 60, 60))),
    *((Case("softmax_focal_loss", class_first, ()), shape) for shape in ((6, 4), (8, 4000))),
    (Case("dice_loss", class_first, (), {"focal_tversky_gamma": 2.0}), (2, 3, 4, 5)),
    (Case("dice_loss", class_first, (), {"focal_tversky_gamma": 2.0}), (2, 2, 4, 5)),
    (Case("poly_loss", class_first, (), {"label_smoothing": 0.1}), (2, 3, 4, 5)),
    (Case("softmax_focal_loss", class_first, (), {"alpha": torch.ones(3)}), (2, 3, 4, 5)),
    (Case("lovasz_softmax_loss", class_first, (), {"classes": "all", "per_image": True}), (2, 3, 4, 5)),
    *((Case("entmax_loss", class_last, (), {"alpha": alpha}), (6, 4)) for alpha in (1.1, 1.5, 2.0)),
    (Case("entmax_loss", class_last, (), {"alpha": 1.5, "label_smoothing": 0.2}), (6, 4000)),
    *((Case("bi_tempered_logistic_loss", class_last, (), {"label_smoothing": s}), (6, 4)) for s in (0.0, 0.2)),
]
OF_INDICES = [(case, shape) for case, shape in LOOK_UPS if case.name in OF_CLASSES]


@pytest.mark.parametrize("index", [-100, -1, None])
@pytest.mark.parametrize(("case", "shape"), OF_INDICES, ids=str)
def test_a_target_that_is_no_class_is_named(case: Case, shape: tuple[int, ...], index: int | None) -> None:
    """Whichever way is taken, with its value, the number of classes, and what to write if it shall not count."""
    logits, target = case.batch(shape, torch.float32)
    dim = 1 if case.make_target is class_first else -1
    classes = shape[dim] + (case.name == "corn_loss")
    wrong = classes if index is None else index
    target.view(-1)[-1] = wrong
    words = f"^target has the value {wrong}, which is out of range: the {classes} classes are numbered from 0\\."
    with pytest.raises(IndexError, match=words) as raised:
        case.loss(logits, target)
    has_option = "ignore_index" in inspect.signature(getattr(functional, case.name)).parameters
    assert (f"ignore_index={wrong}" in str(raised.value)) == has_option


@pytest.mark.parametrize("name", WITH_IGNORE_INDEX)
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


@pytest.mark.parametrize("name", ["sigmoid_focal_loss", *WITH_IGNORE_INDEX])
@pytest.mark.parametrize("index", [np.int64(1), np.uint8(1), [np.int64(1)], np.array([1]), (1,), {1}], ids=repr)
def test_ignore_index_is_any_kind_of_whole_number(name: str, index: Any) -> None:
    assert torch.equal(call(name, ignore_index=index), call(name, ignore_index=1))


@pytest.mark.parametrize("name", ["sigmoid_focal_loss", *WITH_IGNORE_INDEX])
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
