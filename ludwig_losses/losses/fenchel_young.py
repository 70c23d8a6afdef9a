from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, by_lead, simplex
from ludwig_losses.declare.config import LABEL_SMOOTHING, ignore_index
from ludwig_losses.declare.probabilities import Probabilities
from ludwig_losses.declare.schema import CATEGORY, SEQUENCE, TEXT, field, loss_type
from ludwig_losses.functional import entmax15, entmax_loss, sparsemax
from ludwig_losses.functional.fenchel_young import loss_and_probabilities
from ludwig_losses.functional.projections import project
from ludwig_losses.host.registration import register_loss
from ludwig_losses.losses._tokens import TokenLoss, TokenLossConfig
from ludwig_losses.parameters import Number


class FenchelYoungLossConfig(TokenLossConfig):
    """Base of the losses whose predictions are sparse."""

    # The exponent of the projection.
    alpha: ClassVar[float]

    label_smoothing: float = field(LABEL_SMOOTHING)

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        ignore_index()
    )

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        names = {1.25: "alpha 1.25", 1.5: "entmax-1.5", 2.0: "sparsemax"}
        losses = {name: partial(entmax_loss, alpha=alpha) for alpha, name in names.items()}
        regions = simplex({"softmax": partial(torch.softmax, dim=-1), "entmax-1.5": entmax15, "sparsemax": sparsemax})
        return {"entmax": by_lead(losses), "simplex": regions}


class FenchelYoungLoss(TokenLoss):
    """Mean Fenchel-Young loss over examples, or over the tokens that are not padding."""

    def __init__(self, config: FenchelYoungLossConfig) -> None:
        super().__init__(config)
        self.options: dict[str, Any] = {
            name: getattr(config, name) for name in ("alpha", "label_smoothing", "ignore_index")
        }
        self.probabilities = EntmaxProbabilities(config.alpha)

    @property
    def projection(self) -> nn.Module:
        return self.probabilities

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        loss, p = loss_and_probabilities(preds, target, **self.options)
        self.probabilities.remember(preds, p)
        return self.mean(loss, target, self.counted(target))


class EntmaxProbabilities(Probabilities):
    """Entmax with an alpha."""

    def __init__(self, alpha: float) -> None:
        super().__init__(power=2.0 - alpha)
        self.alpha = alpha

    def project(self, logits: Tensor) -> Tensor:
        return project(logits, self.alpha)


class Entmax15LossConfig(FenchelYoungLossConfig):
    """Trains moderately sparse predictions: entmax-1.5 instead of softmax (Peters et al., ACL 2019)."""

    type: str = loss_type("entmax_1.5_loss")

    alpha: ClassVar[float] = 1.5

    advice: ClassVar[Advice | None] = Advice(
        need="many classes, few of them plausible for an example",
        helps="predictions should be a short list: all other classes have a probability of exactly 0",
        hinders="you report log loss: it is infinite where the true class has probability 0, unless it is clipped",
        start="{type: entmax_1.5_loss}",
        watch=("accuracy", "hits_at_k"),
        page="entmax",
        evidence="many_classes",
        found="helped on 1 of 2 data sets",
    )

    @classmethod
    def name(cls) -> str:
        return "Entmax-1.5 Loss"


@register_loss(Entmax15LossConfig, features=[CATEGORY, TEXT, SEQUENCE], aliases=["entmax15"])
class Entmax15Loss(FenchelYoungLoss):
    """Fenchel-Young loss of entmax-1.5."""


class SparsemaxLossConfig(FenchelYoungLossConfig):
    """Trains sparse predictions: sparsemax instead of softmax (Martins & Astudillo, ICML 2016)."""

    type: str = loss_type("sparsemax_loss")

    alpha: ClassVar[float] = 2.0

    advice: ClassVar[Advice | None] = Advice(
        need="many classes, and the sparsest predictions",
        helps="entmax-1.5 gives more classes a probability than you want",
        hinders="the order of the unlikely classes matters: most of them have probability 0, and get no gradient",
        start="{type: sparsemax_loss}",
        watch=("accuracy", "hits_at_k"),
        page="entmax",
        evidence="many_classes",
        found="helped on 1 of 2 data sets",
    )


@register_loss(SparsemaxLossConfig, features=[CATEGORY, TEXT, SEQUENCE], aliases=["sparsemax"])
class SparsemaxLoss(FenchelYoungLoss):
    """Fenchel-Young loss of sparsemax."""


class EntmaxLossConfig(FenchelYoungLossConfig):
    """Trains predictions of tunable sparsity, between softmax and sparsemax (Peters et al., ACL 2019)."""

    type: str = loss_type("entmax_loss")

    advice: ClassVar[Advice | None] = Advice(
        need="many classes, and a sparsity to tune",
        helps="the number of classes above 0 should be tuned, between softmax and sparsemax",
        hinders="alpha 1.5 or 2 suffices: entmax_1.5_loss and sparsemax_loss have one hyperparameter less",
        start="{type: entmax_loss, alpha: 1.3}",
        watch=("accuracy", "hits_at_k"),
        page="entmax",
    )

    alpha: float = field(  # type: ignore[misc]  # Here it is a parameter.
        Number(
            default=1.5,
            worth_trying=(1.2, 1.8),
            above=1,
            maximum=2,
            description="The larger, the sparser: near 1 softmax, 1.5 entmax-1.5, 2 sparsemax.",
        )
    )


@register_loss(EntmaxLossConfig, features=[CATEGORY, TEXT, SEQUENCE])
class EntmaxLoss(FenchelYoungLoss):
    """Fenchel-Young loss of entmax with any alpha."""
