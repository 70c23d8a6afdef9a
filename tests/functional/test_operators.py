"""How many operators a loss starts on an accelerator, forward and backward, and how much memory its tensors take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from counting import operators
from ludwig_losses import functional
from oracles._inputs import MakeTarget, amounts, class_first, class_last, consecutive, per_element, ranks


def partly_ignored(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Every third row of pixels is of class 255."""
    return class_first(shape, generator).index_fill_(1, torch.arange(0, shape[2], 3), 255)


def half_absent(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The upper half of the classes is in no image."""
    return class_first(shape, generator) % (shape[1] // 2)


focal, binary_focal = functional.softmax_focal_loss, functional.sigmoid_focal_loss
entmax15, sparsemax = functional.entmax15_loss, functional.sparsemax_loss
tempered = partial(functional.bi_tempered_logistic_loss, t1=0.5, t2=1.5)
dice, lovasz = functional.dice_loss, functional.lovasz_softmax_loss
ignoring_dice, ignoring_lovasz = partial(dice, ignore_index=255), partial(lovasz, ignore_index=255)
weighted_dice = {classes: partial(dice, class_weights=torch.linspace(0.5, 1.5, classes)) for classes in (2, 21)}
weighted_ignoring_dice = partial(weighted_dice[21], ignore_index=255)
SHARES = torch.linspace(0.01, 0.1, 10)
quantile = partial(functional.quantile_loss, quantiles=torch.tensor([0.05, 0.5, 0.95]))
gaussian, plain_gaussian = (partial(functional.gaussian_nll_loss, beta=beta) for beta in (0.5, 0))
tweedie = {power: partial(functional.tweedie_loss, power=power) for power in (1.0, 1.5, 2.0)}
adjusted = partial(functional.logit_adjusted_loss, priors=SHARES)
adjusted_labels = partial(functional.sigmoid_logit_adjusted_loss, priors=SHARES)


def number_for_each(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A number above 0 for each logit."""
    return amounts((*shape, 1), generator).float()


def hardest_half(logits: Tensor, target: Tensor) -> Tensor:
    """The mean of the focal losses that are largest."""
    return functional.top_k_mean(focal(logits, target), top_k=0.5)


def hardest_half_of_counted(logits: Tensor, target: Tensor) -> Tensor:
    """The same where a class is ignored."""
    return functional.top_k_mean(focal(logits, target, ignore_index=3), target != 3, top_k=0.5)


TWO, MANY = (4, 2, 64, 64), (2, 21, 32, 32)

# The loss, the shape of its logits, its target; at most so many operators, and bytes in multiples of the logits.
BARS = [
    ("entmax-1.5", entmax15, (128, 10), class_first, 32, 3.5),
    ("entmax-1.5", entmax15, (256, 1000), class_first, 32, 3.01),
    ("entmax-1.5", entmax15, (256, 32_000), class_first, 32, 3.01),
    ("sparsemax", sparsemax, (128, 10), class_first, 23, 3.5),
    ("sparsemax", sparsemax, (256, 1000), class_first, 23, 3.01),
    ("sparsemax", sparsemax, (256, 32_000), class_first, 23, 3.01),
    ("tempered", tempered, (128, 10), class_first, 70, 45),
    ("focal", focal, (128, 10), class_first, 20, 3.2),
    ("focal", focal, (4096, 100), class_first, 20, 2.1),
    ("binary focal", binary_focal, (128,), per_element, 17, 7),
    ("binary focal", binary_focal, (2**20,), per_element, 17, 7),
    ("poly", functional.poly_loss, (128, 10), class_first, 17, 3.2),
    ("poly", functional.poly_loss, (4096, 100), class_first, 17, 2.1),
    ("NT-Xent", functional.nt_xent_loss, (128, 64), consecutive, 30, 7.1),
    ("NT-Xent", functional.nt_xent_loss, (1024, 64), consecutive, 30, 35),
    ("Dice, two classes", dice, TWO, class_first, 30, 3),
    ("Dice, two classes, one absent", dice, TWO, half_absent, 30, 3),
    ("Dice, two classes, ignored pixels", ignoring_dice, TWO, partly_ignored, 30, 5),
    ("Dice, two classes, weights", weighted_dice[2], TWO, class_first, 30, 3),
    ("Dice, 21 classes", dice, MANY, class_first, 30, 3),
    ("Dice, 21 classes, half of them absent", dice, MANY, half_absent, 30, 3),
    ("Dice, 21 classes, ignored pixels", ignoring_dice, MANY, partly_ignored, 30, 3),
    ("Dice, 21 classes, an ignored class", partial(dice, ignore_index=7), MANY, class_first, 30, 3),
    ("Dice, 21 classes, without background", partial(dice, include_background=False), MANY, class_first, 30, 3),
    ("Dice, 21 classes, ignored pixels and weights", weighted_ignoring_dice, MANY, partly_ignored, 30, 3),
    ("Dice, 21 classes, weights", weighted_dice[21], MANY, class_first, 30, 3),
    ("Lovász, two classes", lovasz, TWO, class_first, 50, 8),
    ("Lovász, 21 classes", lovasz, MANY, class_first, 50, 7.5),
    ("Lovász, 21 classes, ignored pixels", ignoring_lovasz, MANY, partly_ignored, 50, 7.5),
    ("Lovász, 21 classes, of each image", partial(lovasz, per_image=True), MANY, class_first, 50, 7.5),
    ("Lovász, 21 classes, one chosen", partial(lovasz, classes=[3]), MANY, class_first, 50, 7.5),
    ("quantile", quantile, (4096, 3), amounts, 13, 3.5),
    ("Gaussian", gaussian, (4096, 2), amounts, 23, 4.1),
    ("Gaussian, beta 0", plain_gaussian, (4096, 2), amounts, 23, 4.1),
    # In float64, of one number for each row.
    ("Poisson", functional.poisson_nll_loss, (4096,), number_for_each, 19, 14),
    ("Tweedie", tweedie[1.5], (4096,), number_for_each, 28, 14),
    ("Tweedie, power 1", tweedie[1.0], (4096,), number_for_each, 20, 14),
    ("Tweedie, power 2", tweedie[2.0], (4096,), number_for_each, 22, 14),
    ("log-cosh", functional.log_cosh_loss, (4096,), number_for_each, 11, 4.1),
    ("asymmetric", functional.asymmetric_loss, (4096, 10), per_element, 33, 10.5),
    ("logit-adjusted", adjusted, (4096, 10), class_first, 11, 3.2),
    ("logit-adjusted, labels", adjusted_labels, (4096, 10), per_element, 12, 5.1),
    ("poly, labels", functional.sigmoid_poly_loss, (4096, 10), per_element, 14, 6.1),
    ("generalized cross-entropy", functional.generalized_cross_entropy_loss, (4096, 10), class_first, 15, 2.6),
    ("focal, hardest half", hardest_half, (4096, 10), class_first, 33, 2.5),
    ("focal, hardest half of those that count", hardest_half_of_counted, (4096, 10), class_first, 70, 3.7),
    ("CORN", functional.corn_loss, (4096, 9), ranks, 17, 4),
    ("entropic open-set", functional.entropic_open_set_loss, (4096, 10), class_last, 10, 3.3),
]


@pytest.mark.parametrize(
    ("loss", "shape", "make_target", "most_operators", "most_memory"),
    [pytest.param(*row, id=f"{name} {' x '.join(map(str, row[1]))}") for name, *row in BARS],
)
def test_starts_few_operators_and_takes_little_memory(
    loss: Callable[..., Tensor],
    shape: tuple[int, ...],
    make_target: MakeTarget,
    most_operators: int,
    most_memory: float | None,
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(shape, generator=generator), make_target(shape, generator)
    counted = operators.count(loss, logits, target.float() if make_target is per_element else target)
    assert len(counted.operators) <= most_operators, counted.operators
    assert most_memory is None or counted.peak <= most_memory * logits.nbytes


def test_the_count_sees_what_is_computed_and_freed() -> None:
    """Views and allocations start nothing; a tensor counts from when it is made until it is freed."""
    x = torch.ones(1000)
    with operators.Count() as counted:
        y = torch.empty(10, 100)
        y.copy_(x.view(10, 100).t().reshape(10, 100))  # the transposed view has to be copied
        z = (y + 1) + 1
        del y
    assert counted.operators == ["clone", "copy_", "add", "add"]
    assert counted.live == z.nbytes == 4000
    assert counted.peak == 3 * 4000


def test_an_accelerator_is_only_pretended_while_counting() -> None:
    operators.count(dice, torch.randn(2, 3, 4), torch.zeros(2, 4, dtype=torch.long))
    assert {"cpu"} == operators._numerics.HOST_DEVICES
