from typing import ClassVar

import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, rounded
from ludwig_losses.declare.config import VALUE, LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import NUMBER, TIMESERIES, field, loss_type
from ludwig_losses.functional import ordered_quantiles, quantile_loss
from ludwig_losses.host.registration import register_loss
from ludwig_losses.parameters import Levels


class QuantileLossConfig(LossConfig):
    """Pinball loss: predicts quantiles, and so intervals, that never cross (Koenker & Bassett, 1978)."""

    type: str = loss_type("quantile_loss")
    estimates: ClassVar[bool] = True

    advice: ClassVar[Advice | None] = Advice(
        question="numbers",
        need="a number with an interval, or one that is rather too high than too low",
        helps="you need to know how far off a prediction may be, or the two directions of error differ in price",
        hinders="only the mean counts: a median is not the mean of a skewed target",
        start="{type: quantile_loss, quantiles: [0.05, 0.5, 0.95]}",
        watch=(),
        page="quantile",
    )

    quantiles: float | list[float] = field(
        Levels(
            default=[0.05, 0.5, 0.95],
            description=(
                "The quantiles to predict, each in a column of its own. The predictions are the one that is nearest to "
                "the median."
            ),
        )
    )

    @property
    def levels(self) -> list[float]:
        """The quantiles as a list."""
        return list(self.quantiles) if isinstance(self.quantiles, (list, tuple)) else [self.quantiles]

    @property
    def outputs(self) -> int | None:
        return len(self.levels)

    @property
    def columns(self) -> dict[str, str]:
        return dict.fromkeys(map(column_of, self.levels), VALUE)

    def validates_on_loss(self, feature_type: str) -> bool:
        """The squared error is least for the mean."""
        return True

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        error = torch.linspace(-3, 3, 61, dtype=torch.float64)
        losses = {
            f"quantile {level}": (
                rounded(error),
                rounded(quantile_loss(error[:, None], torch.zeros(61), quantiles=torch.tensor([level]))),
            )
            for level in (0.1, 0.5, 0.9)
        }
        return {"quantile": [Panel("prediction - target", "loss", losses)]}


def column_of(level: float) -> str:
    """Return the name of the column of a quantile."""
    return f"quantile_{level:g}"


@register_loss(QuantileLossConfig, features=[NUMBER, TIMESERIES])
class QuantileLoss(Loss):
    """Mean pinball loss over quantiles and targets, of logits ``[..., K]`` for targets ``[...]``."""

    of_batch_alone = True

    def __init__(self, config: QuantileLossConfig) -> None:
        super().__init__(config)
        self.register_numbers("levels", config.levels)
        self.intervals = Quantiles(config.levels)

    @property
    def estimates(self) -> nn.Module:
        return self.intervals

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        loss = quantile_loss(ordered_quantiles(preds), target, quantiles=self.levels)
        return self.weighted_mean(loss, None, target)

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        return target.numel()


class Quantiles(nn.Module):
    """The quantiles of logits ``[..., K]``, each under the name of its column; TorchScript can compile it."""

    def __init__(self, levels: list[float]) -> None:
        super().__init__()
        self.names = [column_of(level) for level in levels]
        self.middle = min(range(len(levels)), key=lambda index: abs(levels[index] - 0.5))

    def forward(self, logits: Tensor) -> dict[str, Tensor]:
        q = self.of(logits)
        found = {"predictions": q[..., self.middle]}
        for index, name in enumerate(self.names):
            found[name] = q[..., index]
        return found

    def of(self, logits: Tensor) -> Tensor:
        """Return the quantiles ``[..., K]``."""
        return ordered_quantiles(logits)
