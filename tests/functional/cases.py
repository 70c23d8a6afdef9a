"""Every public loss, with the options, shapes and oracle that the tests of the shared contract need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

import oracles
from ludwig_losses import functional

Loss = Callable[[Tensor, "Tensor | None"], Tensor]
Shape = tuple[int, ...]
MakeTarget = Callable[[Shape, torch.Generator], "Tensor | None"]


def class_first(shape: Shape, generator: torch.Generator) -> Tensor:
    """Class indices for logits ``[B, C, ...]``."""
    return torch.randint(shape[1], shape[:1] + shape[2:], generator=generator)


def class_last(shape: Shape, generator: torch.Generator) -> Tensor:
    """Class indices for logits ``[..., C]``."""
    return torch.randint(shape[-1], shape[:-1], generator=generator)


def ranks(shape: Shape, generator: torch.Generator) -> Tensor:
    """Ranks for logits ``[..., K - 1]``, of which there are ``K``."""
    return torch.randint(shape[-1] + 1, shape[:-1], generator=generator)


def per_element(shape: Shape, generator: torch.Generator) -> Tensor:
    """0 or 1 for each logit."""
    return torch.randint(2, shape, generator=generator)


def per_row(shape: Shape, generator: torch.Generator) -> Tensor:
    """A label for each row, about three rows to a label."""
    return torch.randint(1 + shape[0] // 3, shape[:1], generator=generator)


def consecutive(shape: Shape, generator: torch.Generator) -> None:
    """No labels: rows ``2i`` and ``2i + 1`` are a pair."""


def anomaly_labels(shape: Shape, generator: torch.Generator) -> Tensor:
    """Unlabelled (-1), normal (0) or anomalous (1)."""
    return torch.randint(-1, 2, shape, generator=generator)


def other_scores(shape: Shape, generator: torch.Generator) -> Tensor:
    """The scores of other rows."""
    return 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


def nothing(shape: Shape, generator: torch.Generator) -> None:
    """The loss takes no target."""


def random_batch(
    shape: Shape, make_target: MakeTarget = class_first, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor | None]:
    """Return normal logits with a deviation of 3, and targets; the same ones for the same shape."""
    generator = torch.Generator().manual_seed(sum(shape))
    logits = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits.to(dtype), make_target(shape, generator)


@dataclass(frozen=True)
class Case:
    """A loss with options."""

    name: str
    make_target: MakeTarget
    shapes: tuple[Shape, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> Loss:
        return self._with_options(getattr(functional, self.name))

    @property
    def oracle(self) -> Loss:
        return self._with_options(getattr(oracles, self.name))

    def _with_options(self, function: Callable[..., Tensor]) -> Loss:
        if self.make_target is nothing:
            return lambda logits, target: function(logits, **self.options)
        return partial(function, **self.options)

    def batch(self, shape: Shape | None = None, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor | None]:
        """Return random logits, of the last shape unless told otherwise, and targets."""
        logits, target = random_batch(shape or self.shapes[-1], self.make_target, dtype)
        return (logits.abs() if self.name in _OF_DISTANCES else logits), target

    def __str__(self) -> str:
        shown = [f"{k}={v.tolist() if isinstance(v, Tensor) else v}" for k, v in self.options.items()]
        return "-".join([self.name, *shown, *(["consecutive"] if self.make_target is consecutive else [])])


_ELEMENTS = ((7,), (1,), (4, 3), (2, 3, 4), (2, 1, 3, 4))
_CLASS_FIRST = ((6, 4), (1, 2), (3, 4, 5), (2, 3, 4, 5))
_CLASS_FIRST_OF_FOUR = ((6, 4), (1, 4), (3, 4, 5), (2, 4, 3, 5))
_IMAGES = ((2, 4, 6), (1, 2, 3, 3), (3, 4, 4, 5))
_CLASS_LAST = ((6, 4), (3,), (1, 2), (2, 5, 7), (2, 2, 3, 6))
_MANY_LOGITS = ((6, 4), (5,), (2, 5, 7), (2, 2, 3, 6))
# With the classes of _KNOWN the last class is always one that is not known.
_OPEN_SET = ((6, 5), (5,), (1, 5), (2, 5, 7), (2, 2, 3, 6))
_ROWS = ((8, 4), (1, 3), (2, 3), (9, 5))

_ROWS_OF_5 = ((8, 5), (1, 5), (2, 5), (9, 5))

_BATCHES = ((7,), (1,), (12,))
_OF_DISTANCES = ("deep_svdd_loss", "deep_sad_loss")

_MEMORY = torch.tensor([[1.0, 2, 0, 0, -1], [0, 0, 0, 0, 0], [3, 0, 1, 1, 0], [-1, 0, 0, 1, 0]])
_MEMORY_LABELS = torch.tensor([0, 1, 0, 7])
_TWO_WEIGHTS = torch.tensor([0.75, 0.25])
_CLASS_WEIGHTS = torch.tensor([0.75, 0.25, 1.5, 0.5])
# Every option of the Dice family and some that go together, for any number of classes; and those of Lovász-Softmax.
_DICE_OPTIONS = (
    {"squared_denominator": True},
    {"include_background": False},
    {"per_image": False},
    {"jaccard": True, "smooth": 0.1},
    {"tversky_alpha": 0.3, "tversky_beta": 0.7},
    {"tversky_alpha": 0.3, "tversky_beta": 0.7, "focal_tversky_gamma": 4 / 3},
    {"focal_tversky_gamma": 0.5, "squared_denominator": True, "jaccard": True},
    {"log_dice": True, "smooth": 0.01},
    {"generalized": True},
    {"generalized": True, "per_image": False, "include_background": False, "log_dice": True},
)
_DICE_OPTIONS_OF_FOUR_CLASSES = (
    {"ignore_index": 1},
    {"ignore_index": [0, 2], "per_image": False},
    {"ignore_index": 1, "squared_denominator": True, "class_weights": _CLASS_WEIGHTS},
    {"ignore_index": 2, "generalized": True},
    {"class_weights": _CLASS_WEIGHTS, "include_background": False},
)
_FOUR_CLASSES = ((1, 4, 3, 3), (3, 4, 4, 5))
_LOVASZ_OPTIONS = ({"classes": "all"}, {"classes": [0]}, {"per_image": True})
_LOVASZ_OPTIONS_OF_FOUR_CLASSES = (
    {"ignore_index": 1},
    {"ignore_index": [0, 2], "per_image": True},
    {"ignore_index": 2, "classes": "all", "per_image": True},
    {"ignore_index": 2, "classes": [3, 1]},
)
_KNOWN = torch.tensor([0, 2, 3])
_KNOWN_UNSORTED = torch.tensor([3, 1])
_ONE_KNOWN = torch.tensor([2])
_EACH_KNOWN = (_KNOWN, _KNOWN_UNSORTED, _ONE_KNOWN)

_FOCAL_OPTIONS = (
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.2, "gamma": 0.5},
    {"reduced_threshold": 0.5},
    {"reduced_threshold": 0.3, "gamma": 0.5},
)
_POLY_OPTIONS = (
    {"label_smoothing": 0.1},
    {"epsilon": [1.0, -0.5, 0.25]},
    {"gamma": 2.0},
    {"gamma": 2.0, "epsilon": -1.0, "label_smoothing": 0.2},
    {"gamma": 0.5, "epsilon": [2.0, 0.5], "ignore_index": [0, 2]},
)

CASES = [
    *(Case("sigmoid_focal_loss", per_element, _ELEMENTS, {"gamma": gamma}) for gamma in (0.0, 0.5, 1.0, 2.0)),
    Case("sigmoid_focal_loss", per_element, _ELEMENTS, {"alpha": _TWO_WEIGHTS}),
    *(Case("softmax_focal_loss", class_first, _CLASS_FIRST, {"gamma": gamma}) for gamma in (0.0, 0.5, 1.0, 2.0)),
    Case("softmax_focal_loss", class_first, _CLASS_FIRST_OF_FOUR, {"alpha": _CLASS_WEIGHTS}),
    *(Case("poly_loss", class_first, _CLASS_FIRST, {"epsilon": epsilon}) for epsilon in (-1.0, 1.0, 2.5)),
    *(Case("sigmoid_focal_loss", per_element, _ELEMENTS, options) for options in _FOCAL_OPTIONS),
    Case("sigmoid_focal_loss", per_element, _ELEMENTS, {"alpha": _TWO_WEIGHTS, "label_smoothing": 0.3}),
    Case("sigmoid_focal_loss", per_element, _ELEMENTS, {"ignore_index": 1, "reduced_threshold": 0.4}),
    *(Case("softmax_focal_loss", class_first, _CLASS_FIRST, options) for options in _FOCAL_OPTIONS),
    Case("softmax_focal_loss", class_first, _CLASS_FIRST_OF_FOUR, {"alpha": _CLASS_WEIGHTS, "label_smoothing": 0.3}),
    Case("softmax_focal_loss", class_first, _CLASS_FIRST, {"ignore_index": [0, 2], "reduced_threshold": 0.4}),
    *(Case("poly_loss", class_first, _CLASS_FIRST, options) for options in _POLY_OPTIONS),
    *(Case("dice_loss", class_first, _IMAGES, {"smooth": smooth}) for smooth in (0.0, 0.1, 1.0)),
    *(Case("dice_loss", class_first, _IMAGES, options) for options in _DICE_OPTIONS),
    *(Case("dice_loss", class_first, _FOUR_CLASSES, options) for options in _DICE_OPTIONS_OF_FOUR_CLASSES),
    Case("lovasz_softmax_loss", class_first, _CLASS_FIRST),
    *(Case("lovasz_softmax_loss", class_first, _CLASS_FIRST, options) for options in _LOVASZ_OPTIONS),
    *(Case("lovasz_softmax_loss", class_first, _FOUR_CLASSES, options) for options in _LOVASZ_OPTIONS_OF_FOUR_CLASSES),
    *(Case("nt_xent_loss", per_row, _ROWS, {"temperature": temperature}) for temperature in (0.07, 0.5)),
    Case("nt_xent_loss", consecutive, _ROWS),
    Case("nt_xent_loss", per_row, _ROWS, {"average": "anchors"}),
    Case("nt_xent_loss", consecutive, _ROWS_OF_5, {"memory": _MEMORY, "temperature": 0.5}),
    *(
        Case("nt_xent_loss", per_row, _ROWS_OF_5, {"average": average, "memory": _MEMORY, "memory_labels": labels})
        for average, labels in (("pairs", _MEMORY_LABELS), ("anchors", _MEMORY_LABELS), ("anchors", None))
    ),
    Case("corn_loss", ranks, _CLASS_LAST),
    Case("entmax15_loss", class_last, _CLASS_LAST),
    Case("sparsemax_loss", class_last, _CLASS_LAST),
    *(Case("entmax_loss", class_last, _CLASS_LAST, {"alpha": alpha}) for alpha in (1.01, 1.3, 1.5, 1.8)),
    # With the two logits of _CLASS_LAST the prediction is nearly the label: terms near 1 cancel to a loss near 0.
    Case("entmax_loss", class_last, _MANY_LOGITS, {"alpha": 1.05, "label_smoothing": 0.1}),
    Case("entmax_loss", class_last, _CLASS_LAST, {"alpha": 1.7, "ignore_index": [0, 2]}),
    Case("entmax15_loss", class_last, _CLASS_LAST, {"label_smoothing": 0.3}),
    Case("sparsemax_loss", class_last, _CLASS_LAST, {"label_smoothing": 0.1, "ignore_index": 1}),
    Case("entropic_open_set_loss", class_last, _CLASS_LAST),
    *(Case("entropic_open_set_loss", class_last, _OPEN_SET, {"known": known}) for known in _EACH_KNOWN),
    Case("objectosphere_loss", class_last, _CLASS_LAST),
    *(Case("objectosphere_loss", class_last, _OPEN_SET, {"known": known}) for known in _EACH_KNOWN),
    # Random logits have about this magnitude: some of the known examples fall short of it. The gradient for the others,
    # 2 * zeta * F, fits float16 for its largest logits up to a zeta of about 0.5.
    Case("objectosphere_loss", class_last, _OPEN_SET, {"known": _KNOWN, "xi": 5.0, "zeta": 0.3}),
    Case("objectosphere_loss", class_last, _OPEN_SET, {"known": _KNOWN_UNSORTED, "xi": 0.0, "zeta": 0.01}),
    Case("objectosphere_loss", class_last, _OPEN_SET, {"known": _KNOWN, "zeta": 0.0}),
    Case("bi_tempered_logistic_loss", class_last, _CLASS_LAST),
    *(
        Case("bi_tempered_logistic_loss", class_last, _CLASS_LAST, {"t1": t1, "t2": t2})
        for t1, t2 in ((0.0, 1.0), (0.7, 1.0), (1.0, 1.4), (1.0, 4.0), (0.8, 1.4), (0.2, 4.0))
    ),
    *(
        Case("bi_tempered_logistic_loss", class_last, _CLASS_LAST, {"t1": t1, "t2": t2, "label_smoothing": smoothing})
        for t1, t2, smoothing in ((1.0, 1.0, 0.1), (1.0, 1.4, 0.1), (0.8, 1.0, 0.1), (0.2, 4.0, 0.3))
    ),
    Case("deep_svdd_loss", nothing, _BATCHES, {"nu": 0.0}),
    Case("deep_svdd_loss", nothing, _BATCHES, {"nu": 0.0, "cutoff": 1.7}),
    *(Case("deep_svdd_loss", nothing, _BATCHES, {"nu": nu, "radius2": r}) for nu, r in ((0.1, 2.0), (1.0, 0.0))),
    Case("deep_svdd_loss", nothing, _BATCHES, {"nu": 0.1, "radius2": 0.5, "cutoff": torch.tensor(1.7)}),
    Case("deep_sad_loss", anomaly_labels, _BATCHES),
    Case("deep_sad_loss", anomaly_labels, _BATCHES, {"eta": 0.3, "eps": 0.1}),
    Case("deep_sad_loss", anomaly_labels, _BATCHES, {"eta": 2.0, "cutoff": 1.7}),
    *(Case("drocc_loss", other_scores, _BATCHES, {"mu": mu}) for mu in (0.0, 1.0, 2.5)),
    Case("drocc_loss", other_scores, _BATCHES, {"mu": 0.5, "cutoff": -0.3}),
]


def value_and_gradient(loss: Loss, logits: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the loss and the gradient of its sum, each element weighted differently."""
    leaf = logits.detach().requires_grad_()
    value = loss(leaf, target)
    return value.detach(), gradient_of(value, leaf)


def gradient_of(value: Tensor, leaf: Tensor) -> Tensor:
    """Return the gradient of the sum of a loss, each element weighted differently."""
    weights = torch.linspace(0.5, 1.5, value.numel()).reshape(value.shape).to(value)
    (gradient,) = torch.autograd.grad(value, leaf, weights)
    return gradient


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Assert equal shapes and, whatever the dtypes, values equal to a tolerance relative to the largest of them.

    Losses are sums of terms near 1: the rounding of one that nearly vanishes is relative to those, hence the floor.
    """
    scale = max([0.01, *expected.detach().abs().flatten().tolist()])
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale, check_dtype=False)
