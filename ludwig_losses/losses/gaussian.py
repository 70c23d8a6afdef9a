from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, rounded
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import NUMBER, TIMESERIES, field, loss_type
from ludwig_losses.functional import gaussian_nll_loss, mean_and_std
from ludwig_losses.host.registration import register_loss
from ludwig_losses.metrics.reported.intervals import IntervalMetric
from ludwig_losses.parameters import Number

# The quantiles that metrics of intervals judge.
_LEVELS = [0.05, 0.5, 0.95]


class GaussianNLLLossConfig(LossConfig):
    """Normal likelihood: predicts a mean and a standard deviation (with the beta of Seitzer et al., ICLR 2022)."""

    type: str = loss_type("gaussian_nll_loss")
    estimates: ClassVar[bool] = True
    begins: ClassVar[bool] = True
    normalizations: ClassVar[tuple[str | None, ...] | None] = (None, "zscore", "minmax", "iq")
    why_not_normalized: ClassVar[str] = (
        "predicts a standard deviation, which has no counterpart in the units of the data under a logarithm (the "
        "quantiles of quantile_loss do)"
    )

    advice: ClassVar[Advice | None] = Advice(
        question="numbers",
        need="a mean and how sure it is, as a standard deviation",
        helps="the size of the errors depends on the inputs, and they are about normally distributed",
        hinders="targets are skewed, or an interval has to hold: quantile_loss with calibrate assumes no distribution",
        start="{type: gaussian_nll_loss}",
        watch=("interval_coverage", "interval_score", "root_mean_squared_error"),
        page="gaussian",
        evidence="counts",
        found="no difference, 10 tables, by root_mean_squared_error",
    )

    beta: float = field(
        Number(
            default=0.5,
            minimum=0,
            maximum=1,
            worth_trying=(0.0, 1.0),
            description=(
                "How much a target with a large standard deviation counts in the training: 0 is the plain likelihood, "
                "1 trains the mean as the squared error does."
            ),
        )
    )

    @property
    def outputs(self) -> int | None:
        return 2

    @property
    def spreads(self) -> list[str]:
        return ["std"]

    def validates_on_loss(self, feature_type: str) -> bool:
        """The squared error does not judge the standard deviation."""
        return True

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        error = torch.linspace(-4, 4, 81, dtype=torch.float64)

        raw = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).expm1().log()
        losses = {
            f"standard deviation {std}": (
                rounded(error),
                rounded(gaussian_nll_loss(torch.stack([error, z.expand(81)], dim=-1), torch.zeros(81))),
            )
            for std, z in zip((0.5, 1.0, 2.0), raw, strict=True)
        }
        slopes = {
            f"beta {beta:g}": (rounded(error), rounded(error * 2.0 ** (2 * beta - 2))) for beta in (0.0, 0.5, 1.0)
        }
        return {
            "gaussian": [Panel("prediction - target", "loss", losses)],
            "gaussian_beta": [Panel("prediction - target", "gradient of the mean, standard deviation 2", slopes)],
        }


@register_loss(GaussianNLLLossConfig, features=[NUMBER, TIMESERIES])
class GaussianNLLLoss(Loss):
    """Mean negative log-likelihood of normal distributions, of logits ``[..., 2]`` for targets ``[...]``."""

    levels: Tensor
    of_batch_alone = True
    metrics = (IntervalMetric,)

    def __init__(self, config: GaussianNLLLossConfig) -> None:
        super().__init__(config)
        self.beta = float(config.beta)
        self.register_numbers("levels", _LEVELS)
        self.distribution = Normal()

    @property
    def estimates(self) -> nn.Module:
        return self.distribution

    @property
    def intervals(self) -> "Normal":
        """What metrics of intervals judge."""
        return self.distribution

    def begin(self, mean: float, std: float) -> None:
        if self.distribution.mean.isnan():
            self.distribution.mean.fill_(mean)
            self.distribution.std.fill_(std or 1.0)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        mean, std = self.distribution.units()
        nll = gaussian_nll_loss(preds, (target - mean) / std, beta=self.beta)
        return self.weighted_mean(nll, None, target) + std.log()

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        return target.numel()


class Normal(nn.Module):
    """Mean and standard deviation of logits ``[..., 2]``, which are of targets in units of their own; TorchScript can
    compile it."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Of the training targets; not numbers before a training has begun.
        self.register_buffer("mean", torch.tensor(float("nan")))
        self.register_buffer("std", torch.tensor(float("nan")))
        self.distances = [NormalDist().inv_cdf(level) for level in _LEVELS]

    def forward(self, logits: Tensor) -> dict[str, Tensor]:
        mean, std = self.units()
        found = std * mean_and_std(logits)
        return {"predictions": mean + found[..., 0], "std": found[..., 1]}

    def units(self) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation of the training targets, 0 and 1 where they are not known."""
        return self.mean.nan_to_num(nan=0.0), self.std.nan_to_num(nan=1.0)

    def of(self, logits: Tensor) -> Tensor:
        """Return the quantiles ``[..., 3]`` whose interval has 90 % of the targets inside."""
        found = self(logits)
        mean, std = found["predictions"], found["std"]
        return torch.stack([mean + distance * std for distance in self.distances], dim=-1)
