from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, rounded
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import NUMBER, field, loss_type
from ludwig_losses.functional import log_link_mean, poisson_deviance, poisson_nll_loss, tweedie_loss
from ludwig_losses.functional._numerics import full_precision
from ludwig_losses.host.registration import register_loss
from ludwig_losses.metrics.reported.amounts import DevianceMetric
from ludwig_losses.parameters import Number


class AmountLossConfig(LossConfig):
    """Base of the losses that predict the mean of a count or an amount by its logarithm."""

    estimates: ClassVar[bool] = True
    begins: ClassVar[bool] = True
    of_amounts: ClassVar[bool] = True
    normalizations: ClassVar[tuple[str | None, ...] | None] = (None,)
    why_not_normalized: ClassVar[str] = "learns from amounts as they are, with 0 as 0"

    def validates_on_loss(self, feature_type: str) -> bool:
        """The squared error is mostly that of the largest amounts."""
        return True


class PoissonNLLLossConfig(AmountLossConfig):
    """Poisson likelihood: predicts the mean of counts, whose variance grows with it."""

    type: str = loss_type("poisson_nll_loss")

    advice: ClassVar[Advice | None] = Advice(
        question="numbers",
        need="counts, also with many zeros, such as visits, sales or defects",
        helps="targets are counts, many of them small or 0, and predictions have to be means that are never negative",
        hinders="counts are large and far from 0: the squared error of normalised targets learns the same",
        start="{type: poisson_nll_loss}",
        watch=("deviance",),
        page="counts",
        evidence="counts",
        found="helped, 10 tables, by poisson_deviance",
    )

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        mean = torch.linspace(0.05, 12, 120, dtype=torch.float64)

        def curve(loss: Callable[..., Tensor]) -> tuple[list[float], list[float]]:
            return rounded(mean), rounded(loss(mean.log(), torch.full_like(mean, 3.0)))

        losses = {
            "squared error": (rounded(mean), rounded((mean - 3).square() / 6)),
            "poisson_nll_loss": curve(lambda z, y: poisson_deviance(z, y) / 2),
            "tweedie_loss": curve(tweedie_loss),
            "tweedie_loss, power 2": curve(lambda z, y: tweedie_loss(z, y, power=2)),
        }
        return {"counts": [Panel("predicted mean of a target of 3", "loss above its least", losses)]}


class TweedieLossConfig(AmountLossConfig):
    """Tweedie deviance: predicts the mean of amounts, many of them exactly 0 (Smyth & Jorgensen, 2002)."""

    type: str = loss_type("tweedie_loss")

    advice: ClassVar[Advice | None] = Advice(
        question="numbers",
        need="amounts (not whole numbers), many of them exactly 0, such as claims or rainfall",
        helps="targets are 0 or any number above, and their spread grows with their mean",
        hinders="targets may be negative, or all are about the same size",
        start="{type: tweedie_loss, power: 1.5}",
        watch=("deviance",),
        page="counts",
        evidence="counts",
        found="helped, 10 tables, by poisson_deviance",
    )

    power: float = field(
        Number(
            default=1.5,
            minimum=1,
            maximum=2,
            worth_trying=(1.2, 1.8),
            description=(
                "How the variance grows with the mean, variance ~ mean**power: 1 is Poisson, 2 the gamma distribution, "
                "under which no target is 0."
            ),
        )
    )

    @property
    def needs_positive(self) -> bool:
        return self.power == 2


class AmountLoss(Loss):
    """Mean of a loss of the logarithms of means, logits ``[B]`` for targets ``[B]``."""

    of_batch_alone = True
    metrics = (DevianceMetric,)

    def __init__(self, config: AmountLossConfig) -> None:
        super().__init__(config)
        self.means = Means()

    @property
    def estimates(self) -> nn.Module:
        return self.means

    def begin(self, mean: float, std: float) -> None:
        if self.means.start.isnan():
            self.means.start.copy_(torch.tensor(mean).log() if mean > 0 else torch.zeros(()))

    def unreduced(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each target."""
        raise NotImplementedError

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return self.weighted_mean(self.unreduced(self.means.logarithms(preds), target), None, target)


@register_loss(PoissonNLLLossConfig, features=[NUMBER])
class PoissonNLLLoss(AmountLoss):
    """Mean negative log-likelihood of Poisson distributions."""

    def unreduced(self, logits: Tensor, target: Tensor) -> Tensor:
        return poisson_nll_loss(logits, target)

    def deviance(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the deviance of each target."""
        return poisson_deviance(self.means.logarithms(preds), target)


@register_loss(TweedieLossConfig, features=[NUMBER])
class TweedieLoss(AmountLoss):
    """Mean of half the deviances of Tweedie distributions."""

    def __init__(self, config: TweedieLossConfig) -> None:
        super().__init__(config)
        self.power = float(config.power)

    def unreduced(self, logits: Tensor, target: Tensor) -> Tensor:
        return tweedie_loss(logits, target, power=self.power)

    def deviance(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the deviance of each target."""
        return 2 * self.unreduced(self.means.logarithms(preds), target)


class Means(nn.Module):
    """The means of logits ``[B]``, which are distances from the logarithm of a mean to start from; TorchScript can
    compile it."""

    start: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Not a number before a training has begun.
        self.register_buffer("start", torch.tensor(float("nan")))

    def forward(self, logits: Tensor) -> dict[str, Tensor]:
        return {"predictions": log_link_mean(self.logarithms(logits))}

    def logarithms(self, logits: Tensor) -> Tensor:
        """Return the logarithms of the means."""
        return full_precision(logits) + self.start.nan_to_num()
