"""The losses of other libraries: equal to ours where they are right; where they are not, the oracle says so.

The entmax package is met in test_fenchel_young.py, the open-set packages in test_open_set.py.
"""

from __future__ import annotations

from functools import partial

import lightly.loss
import monai.losses
import pytest
import pytorch_metric_learning.losses as metric_learning
import segmentation_models_pytorch.losses as smp
import timm.loss
import torch
import torchvision
from torch import Tensor

import oracles
from functional.cases import (
    Loss,
    MakeTarget,
    Shape,
    assert_close,
    class_first,
    consecutive,
    per_element,
    per_row,
    random_batch,
    value_and_gradient,
)
from ludwig_losses import functional

IMAGES = ((3, 4, 6, 5), (1, 2, 9, 8), (2, 7, 3, 3))


def assert_same(
    peer: Loss, ours: Loss, *shapes: Shape, make_target: MakeTarget = class_first, tolerance: float = 1e-12
) -> None:
    """Assert equal values and gradients."""
    for shape in shapes:
        logits, target = random_batch(shape, make_target)
        value, gradient = value_and_gradient(ours, logits, target)
        expected, expected_gradient = value_and_gradient(peer, logits, target)
        assert_close(value, expected, tolerance)
        assert_close(gradient, expected_gradient, tolerance)


def assert_peer_is_wrong(peer: Loss, name: str, logits: Tensor, target: Tensor | None, **options: float) -> None:
    """Assert that the oracle agrees with ours, and not with the peer."""
    expected = getattr(oracles, name)(logits, target, **options).mean()
    assert_close(getattr(functional, name)(logits, target, **options).mean(), expected, 1e-12)
    assert abs(peer(logits, target) - expected) > 0.02 * expected


def with_channel(loss: Loss) -> Loss:
    """MONAI wants masks with a channel."""
    return lambda logits, target: loss(logits, target.unsqueeze(1))


def pair_labels(rows: Tensor) -> Tensor:
    return torch.arange(len(rows)) // 2


def three_of_each(shape: Shape, generator: torch.Generator) -> Tensor:
    """Labels with three rows each, in random order."""
    return torch.randperm(shape[0], generator=generator) // 3


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.25, 1.0])
def test_focal_of_torchvision(alpha: float, gamma: float) -> None:
    def peer(logits: Tensor, target: Tensor) -> Tensor:
        return torchvision.ops.sigmoid_focal_loss(logits, target.double(), alpha=alpha, gamma=gamma)

    weights = None if alpha < 0 else torch.tensor([1 - alpha, alpha], dtype=torch.float64)
    ours = partial(functional.sigmoid_focal_loss, alpha=weights, gamma=gamma)
    assert_same(peer, ours, (20,), (5, 6), make_target=per_element, tolerance=1e-11)


@pytest.mark.parametrize(("gamma_pos", "gamma_neg", "clip"), [(1, 4, 0.05), (0, 2, 0.2), (2, 2, 0), (0.5, 1, 0.05)])
def test_asymmetric_of_timm(gamma_pos: float, gamma_neg: float, clip: float) -> None:
    # It computes in float32.
    options = {"gamma_pos": gamma_pos, "gamma_neg": gamma_neg, "clip": clip}
    peer = timm.loss.AsymmetricLossMultiLabel(**options, eps=0.0, reduction="mean")

    def ours(logits: Tensor, target: Tensor) -> Tensor:
        return functional.asymmetric_loss(logits, target, **options).mean()

    assert_same(peer, ours, (5, 6), (20, 3), make_target=per_element, tolerance=2e-5)


def test_asymmetric_of_timm_learns_nothing_from_what_is_quite_wrong() -> None:
    logits, target = torch.tensor([[-25.0, 2.0]], dtype=torch.float64), torch.tensor([[1, 0]])
    _, cut_off = value_and_gradient(lambda z, y: timm.loss.AsymmetricLossMultiLabel()(z, y.double()), logits, target)
    _, gradient = value_and_gradient(functional.asymmetric_loss, logits, target)
    assert cut_off[0, 0].abs() < 1e-9 and gradient[0, 0] < -0.1


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("alpha", [None, [0.1, 0.2, 0.3, 0.4]], ids=["no balance", "balance"])
def test_focal_of_monai(alpha: list[float] | None, gamma: float) -> None:
    loss = with_channel(monai.losses.FocalLoss(gamma=gamma, alpha=alpha, to_onehot_y=True, use_softmax=True))
    weights = None if alpha is None else torch.tensor(alpha)

    def ours(logits: Tensor, target: Tensor) -> Tensor:
        return functional.softmax_focal_loss(logits, target, alpha=weights, gamma=gamma).mean()

    # Its mean is over the classes, too, of which all but the true one cost nothing. It computes in float32.
    assert_same(lambda z, y: z.shape[1] * loss(z, y), ours, (3, 4, 6, 5), (1, 4, 2, 2), tolerance=1e-6)


def test_focal_of_segmentation_models_is_not_a_softmax() -> None:
    # "multiclass" there is one sigmoid per class, against all others.
    peer = smp.FocalLoss("multiclass")
    assert_peer_is_wrong(peer, "softmax_focal_loss", *random_batch((2, 4, 6, 5)))


@pytest.mark.parametrize("smooth", [0.1, 1.0, 10.0])
def test_dice_of_monai(smooth: float) -> None:
    peer = with_channel(monai.losses.DiceLoss(to_onehot_y=True, softmax=True, smooth_nr=smooth, smooth_dr=smooth))
    assert_same(peer, partial(functional.dice_loss, smooth=smooth), *IMAGES)


BATCHED = {"per_image": False, "include_background": False}
MONAI_FAMILY = [
    ("DiceLoss", {"squared_pred": True, "smooth_nr": 1, "smooth_dr": 1}, {"squared_denominator": True}),
    ("DiceLoss", {"jaccard": True, "smooth_nr": 1, "smooth_dr": 1}, {"jaccard": True}),
    # Its smoothing is added to the index without the factor 2.
    (
        "TverskyLoss",
        {"alpha": 0.3, "beta": 0.7, "smooth_nr": 0.5, "smooth_dr": 0.5, "batch": True, "include_background": False},
        {"tversky_alpha": 0.3, "tversky_beta": 0.7, **BATCHED},
    ),
    # It does not normalise the weights of the classes, so that its smoothing means something else.
    ("GeneralizedDiceLoss", {"smooth_nr": 0, "smooth_dr": 0}, {"generalized": True, "smooth": 0.0}),
]


@pytest.mark.parametrize(("name", "theirs", "options"), MONAI_FAMILY, ids=[str(entry[2]) for entry in MONAI_FAMILY])
def test_dice_family_of_monai(name: str, theirs: dict, options: dict) -> None:
    peer = with_channel(getattr(monai.losses, name)(to_onehot_y=True, softmax=True, **theirs))
    # It makes its masks, and what it derives from them, in float32.
    assert_same(peer, partial(functional.dice_loss, **options), *IMAGES, tolerance=1e-6)


@pytest.mark.parametrize("smooth", [0.1, 1.0])
def test_dice_of_segmentation_models_for_one_image_with_every_class(smooth: float) -> None:
    # It adds the smoothing to the overlap and to half the sum of the masks, so that it counts twice.
    peer = smp.DiceLoss("multiclass", smooth=smooth / 2)
    assert_same(peer, partial(functional.dice_loss, smooth=smooth), (1, 3, 9, 8), (1, 2, 5, 5))


def test_dice_of_segmentation_models_takes_absent_classes_for_perfect() -> None:
    # Whatever is predicted for a class that the batch does not have costs 0, and the mean still divides by it.
    logits, target = random_batch((1, 4, 6, 5))
    assert_peer_is_wrong(smp.DiceLoss("multiclass", smooth=0.5), "dice_loss", logits, target.clamp_max(2))


def test_lovasz_of_segmentation_models() -> None:
    # It counts in float32, and takes nothing else.
    loss = smp.LovaszLoss("multiclass")
    assert_same(lambda z, y: loss(z.float(), y), functional.lovasz_softmax_loss, *IMAGES, tolerance=1e-5)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent_of_lightly(temperature: float) -> None:
    loss = lightly.loss.NTXentLoss(temperature=temperature)
    ours = partial(functional.nt_xent_loss, temperature=temperature)
    assert_same(lambda rows, _: loss(rows[0::2], rows[1::2]), ours, (2, 3), (8, 5), (20, 4), make_target=consecutive)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent_of_metric_learning_for_pairs(temperature: float) -> None:
    loss = metric_learning.NTXentLoss(temperature=temperature)
    ours = partial(functional.nt_xent_loss, temperature=temperature)
    assert_same(lambda rows, _: loss(rows, pair_labels(rows)), ours, (8, 5), (20, 4), make_target=consecutive)


def test_nt_xent_of_metric_learning_leaves_out_other_positives() -> None:
    # The sum below the line is over all other rows; there it is over the negatives and the one positive only.
    rows, labels = random_batch((12, 5), three_of_each)
    assert_peer_is_wrong(metric_learning.NTXentLoss(temperature=0.5), "nt_xent_loss", rows, labels, temperature=0.5)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_supervised_contrastive_loss_of_metric_learning(temperature: float) -> None:
    # It weighs anchors alike, ours pairs: the same where all labels have as many rows.
    peer = metric_learning.SupConLoss(temperature=temperature)
    ours = partial(functional.nt_xent_loss, temperature=temperature)
    assert_same(peer, ours, (9, 5), (18, 4), make_target=three_of_each)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_supervised_contrastive_loss_of_metric_learning_for_labels_of_any_number(temperature: float) -> None:
    peer = metric_learning.SupConLoss(temperature=temperature)
    ours = partial(functional.nt_xent_loss, temperature=temperature, average="anchors")
    assert_same(peer, ours, (9, 5), (18, 4), make_target=per_row)
