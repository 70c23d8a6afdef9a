"""What is measured: for each loss its data, the limit that its time is compared with, and every implementation."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

os.environ["LUDWIG_LOSSES_DISABLE"] = "1"  # Ludwig's own losses are measured, too

import ludwig.schema  # noqa: F401  (must come before its modules)
import torch
from ludwig.modules import loss_modules
from torch import Tensor
from torch.nn import functional as F

import plain
from ludwig_losses import functional
from ludwig_losses.functional._numerics import weighted_mean
from ludwig_losses.functional.corn import corn_tasks

DEVICE = os.environ.get("DEVICE", "cpu")
# Peers that are left out, by the names of the tables: ``WITHOUT=kornia,SMP``. All others have to be installed.
WITHOUT = frozenset(filter(None, os.environ.get("WITHOUT", "").split(",")))


class _LeftOut:
    """Stands for every function of a library that is left out."""

    def __getattr__(self, name: str) -> _LeftOut:
        return self

    def __call__(self, *_: Any, **__: Any) -> _LeftOut:
        return self


def _peer(name: str, module: str) -> Any:
    return _LeftOut() if name in WITHOUT else importlib.import_module(module)


coral = _peer("coral-pytorch", "coral_pytorch.losses")
entmax = _peer("entmax", "entmax")
kornia = _peer("kornia", "kornia")
lightly = _peer("lightly", "lightly.loss")
monai = _peer("MONAI", "monai.losses")
metric_learning = _peer("pytorch-metric-learning", "pytorch_metric_learning.losses")
smp = _peer("SMP", "segmentation_models_pytorch.losses")
timm = _peer("timm", "timm.loss")
torchvision = _peer("torchvision", "torchvision")

Shape = tuple[int, ...]
Loss = Callable[[Tensor, "Tensor | None"], Tensor]


def classes_first(shape: Shape, deviation: float) -> tuple[Tensor, Tensor]:
    return deviation * torch.randn(shape), torch.randint(shape[1], shape[:1] + shape[2:])


def half_trained(shape: Shape, deviation: float) -> tuple[Tensor, Tensor]:
    """Logits of a network that is sure, and right for about nine pixels of ten."""
    logits, target = classes_first(shape, deviation)
    guess = torch.where(torch.rand(target.shape) < 0.1, torch.randint(shape[1], target.shape), target)
    return logits.scatter_add_(1, guess.unsqueeze(1), torch.full_like(logits, 10.0)), target


def elements(shape: Shape, deviation: float) -> tuple[Tensor, Tensor]:
    return deviation * torch.randn(shape), torch.randint(2, shape).float()


def embeddings(shape: Shape, deviation: float) -> tuple[Tensor, Tensor]:
    """Rows and the labels of consecutive pairs."""
    return deviation * torch.randn(shape), torch.arange(shape[0]) // 2


def numbers(shape: Shape, deviation: float) -> tuple[Tensor, Tensor]:
    """Predictions, and a target for each row of them."""
    return deviation * torch.randn(shape), torch.randn(shape[:1])


def counts(shape: Shape, deviation: float) -> tuple[Tensor, Tensor]:
    return deviation * torch.randn(shape), torch.randint(4, shape).float()


def ranks(shape: Shape, deviation: float) -> tuple[Tensor, Tensor]:
    """One rank more than there are logits."""
    return deviation * torch.randn(shape), torch.randint(shape[1] + 1, shape[:1])


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Args:
        sizes: further shapes, for the plot.
        bar: the ratio to the limit that is aimed at, if any.
    """

    name: str
    shape: Shape
    losses: dict[str, Loss]
    bar: float | None
    limit: Loss = F.cross_entropy
    limit_name: str = "cross-entropy"
    make: Callable[[Shape, float], tuple[Tensor, Tensor]] = classes_first
    deviation: float = 1.0
    sizes: tuple[Shape, ...] = ()
    axis: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        return f"{self.name} {' x '.join(map(str, self.shape))}"

    @property
    def small(self) -> Shape:
        """A batch in which classes are absent, and predictions uneven."""
        return (3, self.shape[1], 4, 5) if len(self.shape) == 4 else (8, *self.shape[1:])

    def data(self, shape: Shape | None = None) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        logits, target = (x.to(DEVICE) for x in self.make(shape or self.shape, self.deviation))
        return logits.requires_grad_(), target


def mean_of(loss: Callable[..., Tensor]) -> Loss:
    return lambda logits, target: weighted_mean(loss(logits, target))


def ludwig_own(name: str, **options) -> Loss:
    return getattr(loss_modules, name)(SimpleNamespace(**options))


def _gram(x: Tensor, _: Tensor) -> Tensor:
    return _Gram.apply(x)


class _Gram(torch.autograd.Function):
    """``x @ x.T`` and its backward for a dense gradient, here the product itself."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        product = x @ x.T
        ctx.save_for_backward(x, product)
        return product[0, 0].clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        x, product = ctx.saved_tensors
        return product @ x + product.T @ x


def _lightly(x: Tensor, _: Tensor) -> Tensor:
    return lightly.NTXentLoss(temperature=0.07)(x[0::2], x[1::2])


def _monai_masks(loss: Loss) -> Loss:
    return lambda logits, target: loss(logits, target.unsqueeze(1))


FOCAL = {
    "ludwig-losses": mean_of(functional.softmax_focal_loss),
    "plain": plain.focal,
    # Their means are over the classes too.
    "kornia": lambda z, y: z.shape[1] * kornia.losses.focal_loss(z, y, alpha=None, reduction="mean"),
    "SMP": smp.FocalLoss("multiclass"),
    "Ludwig": ludwig_own("FocalLoss", alpha=0.25, gamma=2.0),
}
MONAI_FOCAL = monai.FocalLoss(to_onehot_y=True, use_softmax=True)
IMAGE_FOCAL = {
    **FOCAL,
    "MONAI": lambda z, y: z.shape[1] * MONAI_FOCAL(z, y.unsqueeze(1)),
}
BINARY_FOCAL = {
    "ludwig-losses": mean_of(functional.sigmoid_focal_loss),
    "plain": plain.binary_focal,
    "torchvision": partial(torchvision.ops.sigmoid_focal_loss, alpha=-1, reduction="mean"),
    "kornia": lambda z, y: kornia.losses.binary_focal_loss_with_logits(z[None, None], y[None, None], None).mean(),
    "SMP": smp.FocalLoss("binary"),
    "MONAI": lambda z, y: monai.FocalLoss()(z[None, None], y[None, None]),
    # Its balance cannot be switched off; 0.5 halves the loss.
    "Ludwig": lambda z, y: 2 * ludwig_own("FocalLoss", alpha=0.5, gamma=2.0)(z, y),
}
POLY = {
    "ludwig-losses": mean_of(functional.poly_loss),
    "plain": plain.poly,
    "Ludwig": ludwig_own("PolyLoss", epsilon=1.0),
}
DICE = {
    "ludwig-losses": functional.dice_loss,
    "plain": plain.dice,
    "MONAI": _monai_masks(monai.DiceLoss(to_onehot_y=True, softmax=True, smooth_nr=1, smooth_dr=1)),
    "SMP": smp.DiceLoss("multiclass", smooth=1.0),
    "kornia": partial(kornia.losses.dice_loss, average="macro"),
    "Ludwig": ludwig_own("DiceLoss", smooth=1.0),
}
LOVASZ = {
    "ludwig-losses": functional.lovasz_softmax_loss,
    "plain": plain.lovasz,
    "SMP": smp.LovaszLoss("multiclass"),
    "kornia": kornia.losses.lovasz_softmax_loss,
    "Ludwig": ludwig_own("LovaszSoftmaxLoss"),
}
NT_XENT = {
    "ludwig-losses": lambda x, _: functional.nt_xent_loss(x),
    "ludwig-losses, chunk_size 1024": lambda x, _: functional.nt_xent_loss(x, chunk_size=1024),
    "plain": plain.nt_xent,
    "lightly": _lightly,
    "Ludwig": ludwig_own("NTXentLoss", temperature=0.07),
}
# pytorch-metric-learning needs 68 GB at a batch of 4096.
SMALL_NT_XENT = {**NT_XENT, "pytorch-metric-learning": metric_learning.NTXentLoss(temperature=0.07)}
ENTMAX = {
    "ludwig-losses": mean_of(functional.entmax15_loss),
    "plain": plain.entmax15,
    "entmax": mean_of(entmax.entmax15_loss),
    "Ludwig": ludwig_own("Entmax15Loss"),
}
SPARSEMAX = {
    "ludwig-losses": mean_of(functional.sparsemax_loss),
    "plain": plain.sparsemax,
    "entmax": mean_of(entmax.sparsemax_loss),
    "Ludwig": ludwig_own("SparsemaxLoss"),
}

TEMPERED = {
    "ludwig-losses": mean_of(partial(functional.bi_tempered_logistic_loss, t1=0.5, t2=1.5)),
    "plain": partial(plain.bi_tempered, t1=0.5, t2=1.5),
}


def shares(classes: int) -> Tensor:
    return torch.linspace(0.01, 0.1, classes, device=DEVICE)


def _hardest_half(logits: Tensor, target: Tensor) -> Tensor:
    return functional.top_k_mean(functional.softmax_focal_loss(logits, target), top_k=0.5)


def _adjusted(classes: int) -> dict[str, Loss]:
    priors = shares(classes)
    ours = mean_of(partial(functional.logit_adjusted_loss, priors=priors))
    return {"ludwig-losses": ours, "plain": partial(plain.logit_adjusted, priors=priors)}


def _adjusted_labels(classes: int) -> dict[str, Loss]:
    priors = shares(classes)
    ours = mean_of(partial(functional.sigmoid_logit_adjusted_loss, priors=priors))
    return {"ludwig-losses": ours, "plain": partial(plain.logit_adjusted_labels, priors=priors)}


# Ludwig takes rows of logits for those of classes.
FOCAL_OF_LABELS = {name: loss for name, loss in BINARY_FOCAL.items() if name != "Ludwig"}
POLY_OF_LABELS = {"ludwig-losses": mean_of(functional.sigmoid_poly_loss), "plain": plain.poly_labels}
ASYMMETRIC = {
    "ludwig-losses": mean_of(functional.asymmetric_loss),
    "plain": plain.asymmetric,
    "timm": timm.AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=1, clip=0.05, reduction="mean"),
}
GENERALIZED = {
    "ludwig-losses": mean_of(functional.generalized_cross_entropy_loss),
    "plain": plain.generalized_cross_entropy,
}
HARDEST_HALF = {"ludwig-losses": _hardest_half, "plain": partial(plain.top_k_focal, share=0.5)}


def newer(shape: Shape) -> list[Work]:
    """Losses of several labels a row, of long tails and of wrong labels, for ``[rows, classes]``."""
    labels = partial(
        Work,
        shape=shape,
        bar=None,
        limit=F.binary_cross_entropy_with_logits,
        limit_name="binary cross-entropy",
        make=elements,
    )
    classes = partial(Work, shape=shape, bar=None)
    return [
        labels("focal, labels", losses=FOCAL_OF_LABELS),
        labels("poly, labels", losses=POLY_OF_LABELS),
        labels("asymmetric, labels", losses=ASYMMETRIC),
        labels("logit-adjusted, labels", losses=_adjusted_labels(shape[1])),
        classes("logit-adjusted", losses=_adjusted(shape[1])),
        classes("generalized cross-entropy", losses=GENERALIZED),
        classes("focal, hardest half", losses=HARDEST_HALF),
    ]


_PIXELS = tuple((1, 21, side, side) for side in (32, 64, 128, 256, 512))
_VOCABULARIES = tuple((64, size) for size in (100, 1000, 10_000, 100_000))
_image = partial(Work, sizes=_PIXELS, axis="pixels (21 classes)")
_gram_work = partial(Work, limit=_gram, limit_name="x @ x.T", make=embeddings)

WORKS = [
    Work("focal, category", (4096, 1000), FOCAL, 1.15),
    _image("focal, image", (8, 21, 128, 128), IMAGE_FOCAL, 1.15),
    Work(
        "focal, binary",
        (1_048_576,),
        BINARY_FOCAL,
        1.8,
        limit=F.binary_cross_entropy_with_logits,
        limit_name="binary cross-entropy",
        make=elements,
        sizes=tuple((10**k,) for k in (3, 4, 5, 6)),
        axis="elements",
    ),
    Work("poly", (4096, 1000), POLY, 1.15, sizes=tuple((10**k, 100) for k in (1, 2, 3, 4)), axis="rows (100 classes)"),
    Work("focal, hardest half", (8, 21, 128, 128), HARDEST_HALF, None),
    _image("Dice", (8, 21, 128, 128), DICE, 1.25),
    Work("Dice", (4, 2, 256, 256), DICE, 1.0),
    _image("Lovász", (8, 21, 128, 128), LOVASZ, 5),
    Work("Lovász, half trained", (8, 21, 128, 128), LOVASZ, None, make=half_trained),
    Work("Lovász", (4, 2, 256, 256), LOVASZ, 5),
    Work("Lovász", (2, 150, 128, 128), LOVASZ, 8),
    Work("Lovász, half trained", (2, 150, 128, 128), LOVASZ, None, make=half_trained),
    _gram_work("NT-Xent", (256, 128), SMALL_NT_XENT, None),
    _gram_work(
        "NT-Xent", (4096, 128), NT_XENT, 1.6, sizes=tuple((2**k, 128) for k in (7, 8, 9, 10, 11, 12)), axis="rows"
    ),
    *(
        Work(name, shape, losses, bar, deviation=2.0, sizes=sizes, axis="classes (64 rows)")
        for name, losses in (("entmax-1.5", ENTMAX), ("sparsemax", SPARSEMAX))
        for shape, bar, sizes in (
            ((256, 32_000), 2.2, _VOCABULARIES),
            ((256, 1000), 4.0, ()),
            ((4096, 100), 4.5, ()),
        )
    ),
    *newer((4096, 1000)),
]

# What most training runs of Ludwig have: tables in small batches, where calling operators costs more than computing.
SMALL_BATCHES = (32, 128, 512)
WORKS += [
    work
    for rows in SMALL_BATCHES
    for work in (
        Work("focal, category", (rows, 10), FOCAL, None),
        Work(
            "focal, binary",
            (rows,),
            BINARY_FOCAL,
            None,
            limit=F.binary_cross_entropy_with_logits,
            limit_name="binary cross-entropy",
            make=elements,
        ),
        Work("poly", (rows, 10), POLY, None),
        Work("entmax-1.5", (rows, 10), ENTMAX, None),
        Work("sparsemax", (rows, 10), SPARSEMAX, None),
        Work("tempered", (rows, 10), TEMPERED, 4.0),
        _gram_work("NT-Xent", (rows, 64), SMALL_NT_XENT, None),
        *newer((rows, 10)),
    )
]
WORKS += [Work("Dice", (4, 2, 64, 64), DICE, None), Work("Lovász", (4, 2, 64, 64), LOVASZ, 5)]

LEVELS = torch.tensor([0.05, 0.5, 0.95])


def _torchs_gaussian(logits: Tensor, target: Tensor) -> Tensor:
    mean, std = logits[..., 0], F.softplus(logits[..., 1]) + 1e-3
    return F.gaussian_nll_loss(mean, target, std**2, full=True)


def _corn(logits: Tensor, target: Tensor) -> Tensor:
    return functional.corn_loss(logits, target).sum() / corn_tasks(target, logits.shape[1]).sum()


def _counted(name: str, shape: Shape, ours: Loss, peer: Loss, make: Callable = classes_first, **others: Loss) -> Work:
    return Work(name, shape, {"ludwig-losses": ours, "plain": peer, **others}, None, make=make)


def _ours(loss: Callable[..., Tensor], **options: Any) -> Loss:
    return mean_of(partial(loss, **options))


# Counted by operators.py, and not timed: losses of which there is not much more than a formula.
FORMULAS = [
    _counted(
        "quantile",
        (4096, 3),
        _ours(functional.quantile_loss, quantiles=LEVELS),
        partial(plain.quantile, levels=LEVELS),
        numbers,
    ),
    _counted("Gaussian", (4096, 2), _ours(functional.gaussian_nll_loss), partial(plain.gaussian, beta=0.5), numbers),
    _counted(
        "Gaussian, beta 0",
        (4096, 2),
        _ours(functional.gaussian_nll_loss, beta=0),
        partial(plain.gaussian, beta=0),
        numbers,
        torch=_torchs_gaussian,
    ),
    _counted(
        "Poisson",
        (4096,),
        _ours(functional.poisson_nll_loss),
        plain.poisson,
        counts,
        torch=partial(F.poisson_nll_loss, full=True),
    ),
    _counted("Tweedie", (4096,), _ours(functional.tweedie_loss), plain.tweedie, counts),
    _counted("log-cosh", (4096,), _ours(functional.log_cosh_loss), plain.log_cosh, numbers),
    _counted(
        "CORN",
        (4096, 9),
        _corn,
        plain.corn,
        ranks,
        **{"coral-pytorch": lambda z, y: coral.corn_loss(z, y, z.shape[1] + 1)},
    ),
]

for work in (*WORKS, *FORMULAS):
    for peer in WITHOUT:
        work.losses.pop(peer, None)
