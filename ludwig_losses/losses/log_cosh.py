from typing import ClassVar

import torch
from torch import Tensor

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, rounded
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import NUMBER, TIMESERIES, loss_type
from ludwig_losses.functional import log_cosh_loss
from ludwig_losses.host.registration import register_loss


class LogCoshLossConfig(LossConfig):
    """log cosh of the error: squared where it is small, absolute where it is large, smooth everywhere."""

    type: str = loss_type("log_cosh_loss")

    advice: ClassVar[Advice | None] = Advice(
        question="numbers",
        need="numbers with some gross errors among the targets",
        helps="a few targets are far off, and the squared error follows them",
        hinders="the mean of a target with a long tail counts: its large values are real, not errors",
        start="{type: log_cosh_loss}",
        watch=("mean_absolute_error", "root_mean_squared_error"),
        page="log_cosh",
        evidence="counts",
        found="helped, 10 tables, by mean_absolute_error",
    )

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        error = torch.linspace(-4, 4, 81, dtype=torch.float64)
        losses = {
            "half the squared error": (rounded(error), rounded(error.square() / 2)),
            "absolute error": (rounded(error), rounded(error.abs())),
            "log_cosh_loss": (rounded(error), rounded(log_cosh_loss(error, torch.zeros(81)))),
        }
        return {"log_cosh": [Panel("prediction - target", "loss", losses)]}


@register_loss(LogCoshLossConfig, features=[NUMBER, TIMESERIES])
class LogCoshLoss(Loss):
    """Mean of log cosh over the targets, of predictions in their shape."""

    of_batch_alone = True

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return self.weighted_mean(log_cosh_loss(preds, target), None, target)

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        return target.numel()
