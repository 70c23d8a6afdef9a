from itertools import count
from typing import ClassVar

import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, rounded
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.remembered import Remembered
from ludwig_losses.declare.schema import NUMBER, TIMESERIES, field, loss_type
from ludwig_losses.functional import conformal_offset, conformal_rank, ordered_quantiles, quantile_loss
from ludwig_losses.host.registration import register_loss
from ludwig_losses.metrics.reported.intervals import IntervalMetric
from ludwig_losses.parameters import Flag, Levels, OptionalNumber


class QuantileLossConfig(LossConfig):
    """Pinball loss: predicts quantiles, and so intervals, that never cross (Koenker & Bassett, 1978)."""

    type: str = loss_type("quantile_loss")
    estimates: ClassVar[bool] = True

    advice: ClassVar[Advice | None] = Advice(
        question="numbers",
        need="a number with an interval, or one that is rather too high than too low",
        helps="you need to know how far off a prediction may be, or the two directions of error differ in price",
        hinders="only the mean counts: a median is not the mean of a skewed target",
        start="{type: quantile_loss, quantiles: [0.05, 0.5, 0.95], calibrate: true}",
        watch=("pinball_loss", "interval_coverage", "interval_width"),
        page="quantile",
        evidence="intervals",
        found="calibrated intervals within 1 point of their level in the mean, 5 tables",
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

    calibrate: bool = field(
        Flag(
            default=False,
            description=(
                "Widen or narrow the interval of each pair of outer quantiles by the validation rows, so that it has "
                "the share of new rows inside that its quantiles promise (conformalized quantile regression)."
            ),
        )
    )

    calibration_share: float | None = field(
        OptionalNumber(
            default=None,
            above=0,
            maximum=1,
            description=(
                "With calibrate: the share of the validation rows that calibrates and does nothing else, drawn at "
                "random: metrics, early stopping and the choice of the best epoch see the other rows only. null: all "
                "validation rows do both."
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
    def columns(self) -> list[str]:
        return [*map(column_of, self.levels)]

    @property
    def calibrates(self) -> bool:
        return self.calibrate

    @property
    def why_alone(self) -> str:
        wrong = "they judge the predictions, and pull a quantile that is no median to the middle. Add 0.5 to quantiles."
        return "" if 0.5 in self.levels else wrong

    def check(self) -> None:
        super().check()
        if self.calibrate and len(self.levels) < 2:
            raise ValueError(
                f"calibrate: true needs an interval, but quantiles: {self.quantiles} has one number. Write for "
                f"instance quantiles: [0.05, 0.5, 0.95], or remove calibrate."
            )
        share = self.calibration_share
        if share is not None and not self.calibrate:
            raise ValueError(f"calibration_share: {share} belongs to calibrate: true. Add that, or remove it.")
        if share == 1:
            raise ValueError(
                "calibration_share: 1 leaves no validation rows that choose the best epoch. Write a smaller number, as "
                "0.5; without calibration_share all validation rows calibrate and choose."
            )

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

    levels: Tensor
    of_batch_alone = True
    metrics = (IntervalMetric,)
    metrics_need = "two quantiles or more"

    def __init__(self, config: QuantileLossConfig) -> None:
        super().__init__(config)
        self.register_numbers("levels", config.levels)
        self.quantile_columns = dict(zip(config.columns, config.levels, strict=True))
        self.calibrates = config.calibrate
        self.calibration_share = config.calibration_share
        self.intervals = Quantiles(config.levels)
        self.fewest_rows = max((rows_for(share) for share in self.intervals.shares), default=1)

    @property
    def estimates(self) -> nn.Module:
        return self.intervals

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        q = ordered_quantiles(preds)
        self.intervals.remember(preds, q)
        return self.weighted_mean(quantile_loss(q, target, quantiles=self.levels), None, target)

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        return target.numel()

    def prepare(self, shape: tuple[int, ...]) -> None:
        if self.calibrates:
            self.intervals.register_buffer("offsets", torch.zeros(len(self.intervals.shares), *shape))

    def calibrate(self, logits: Tensor, target: Tensor) -> None:
        q, offsets = ordered_quantiles(logits), self.intervals.offsets
        if offsets is None:
            return
        for pair, share in enumerate(self.intervals.shares):
            offset = conformal_offset(q[..., pair], q[..., -1 - pair], target.to(q), level=share)
            offsets[pair].copy_(offset)

    def reporter(self, metric: str) -> Loss | None:
        return super().reporter(metric) if self.intervals.shares or metric == "pinball_loss" else None


def rows_for(share: float) -> int:
    """Return the fewest rows by which an interval for a share can be calibrated."""
    return next(rows for rows in count(1) if conformal_rank(rows, share) <= rows)


class Quantiles(nn.Module):
    """The quantiles of logits ``[..., K]``, each under the name of its column; TorchScript can compile it."""

    offsets: Tensor | None

    def __init__(self, levels: list[float]) -> None:
        super().__init__()
        self.names = [column_of(level) for level in levels]
        self.middle = min(range(len(levels)), key=lambda index: abs(levels[index] - 0.5))
        # What share of the targets each pair of quantiles promises to have inside, the outermost first.
        self.shares = [levels[-1 - pair] - levels[pair] for pair in range(len(levels) // 2)]
        self.register_buffer("offsets", None)
        self._memory = Remembered()

    def remember(self, logits: Tensor, q: Tensor) -> None:
        """Keep the quantiles of the logits of a batch, before any calibration, for the metrics of the batch."""
        self._memory.values(logits)["q"] = q.detach()

    def forward(self, logits: Tensor) -> dict[str, Tensor]:
        q = self.of(logits)
        found = {"predictions": q[..., self.middle]}
        for index, name in enumerate(self.names):
            found[name] = q[..., index]
        return found

    def of(self, logits: Tensor) -> Tensor:
        """Return the quantiles ``[..., K]``, calibrated if the loss calibrates."""
        if not torch.jit.is_scripting():
            known = self.known(logits)
            if known is not None:
                return self.calibrated(known)
        return self.calibrated(ordered_quantiles(logits))

    def known(self, logits: Tensor) -> Tensor | None:
        """Return the quantiles that were kept, where no gradient is asked for."""
        differentiated = logits.requires_grad and torch.is_grad_enabled()
        return None if differentiated else self._memory.values(logits).get("q")

    def calibrated(self, q: Tensor) -> Tensor:
        """Return calibrated quantiles, if the loss calibrates."""
        offsets = self.offsets
        return q if offsets is None else widened(q, offsets.to(q.dtype))


def widened(q: Tensor, offsets: Tensor) -> Tensor:
    """Return quantiles whose pairs are widened by offsets, or narrowed, as far as they stay in order: an interval that
    would not contain those inside of it, or its middle, is as wide as they are, and so has more targets inside."""
    last = q.shape[-1] - 1
    columns = [q[..., index] for index in range(last + 1)]
    low = high = (columns[last // 2] + columns[(last + 1) // 2]) / 2
    for pair in range(len(offsets) - 1, -1, -1):
        low = torch.minimum(columns[pair] - offsets[pair], low)
        high = torch.maximum(columns[last - pair] + offsets[pair], high)
        columns[pair], columns[last - pair] = low, high
    return torch.stack(columns, dim=-1)
