"""Base classes of metrics, which are updated with batch after batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from ludwig.modules.metric_modules import LudwigMetric
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

# Small tensors are joined at this number: each needs some hundred bytes beside its values.
_MANY = 2**12


class PackMetric(LudwigMetric):
    """Base of the metrics that this package adds to Ludwig's; one may have several values, each with a name."""

    NAMES: ClassVar[tuple[str, ...]] = ()
    # The names whose values are better when lower.
    LOWER_IS_BETTER: ClassVar[tuple[str, ...]] = ()
    # Ludwig moves every metric for every batch; see host/model/metrics.py.
    stays_in_place = True

    @classmethod
    def can_report(cls, feature: Any) -> bool:
        """Ludwig would make one for each name, and does not know what it needs: the loss, or the classes."""
        return False


class FeatureMetric(PackMetric):
    """Base of metrics of all output features of some types, whatever the loss."""

    features: ClassVar[tuple[str, ...]]
    # What is compared with the targets, Ludwig's PREDICTIONS, LOGITS or a further column of the predictions.
    tensor: ClassVar[str]

    @classmethod
    def suits(cls, feature: Any) -> bool:
        """Whether one of Ludwig's output features of these types has the metric."""
        return True

    @classmethod
    def for_feature(cls, feature: Any) -> FeatureMetric:
        """Return the metric of one of Ludwig's output features."""
        return cls()


class MetricOfLoss(PackMetric):
    """Base of metrics of the features that are trained with certain losses."""

    def __init__(self, loss: Any, **kwargs: Any) -> None:
        """Take the loss whose predictions are measured."""
        super().__init__(**kwargs)
        self.loss_function = loss


class RowsMetric(PackMetric):
    """Base of metrics that are computed from all rows at once, and keep some numbers of each row until then."""

    columns: int
    rows: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        # Flattened, so a rank without rows gathers the same shape.
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def keep_rows(self, *columns: Tensor) -> None:
        """Keep numbers of the rows of a batch, or of one row."""
        self.rows.append(torch.stack(columns, dim=-1).flatten())
        if len(self.rows) == _MANY:
            self.rows[:] = [torch.cat(self.rows)]

    def kept_rows(self) -> tuple[Tensor, ...] | None:
        """Return the numbers of the rows of all batches, and of all ranks, if there are any."""
        if not len(self.rows):  # a list, or one tensor once ranks have gathered
            return None
        return dim_zero_cat(self.rows).view(-1, self.columns).unbind(dim=1)


class MeansMetric(RowsMetric):
    """Base of metrics that average a mean over batches, or several, so that each is that over all batches as one.

    A batch is weighted by the divisor of its mean. A batch whose mean is NaN is ignored: Ludwig's own loss for
    sequences is NaN for a single row.
    """

    def keep_means(self, means: Sequence[tuple[Tensor, float | Tensor]]) -> None:
        """Keep the means of a batch, each with its denominator."""
        columns: list[Tensor] = []
        made: dict[float, Tensor] = {}  # Most means of a batch have the same denominator.
        for mean, denominator in means:
            value = mean.float()
            if isinstance(denominator, Tensor):
                columns += [value, denominator]
                continue
            if denominator not in made:
                made[denominator] = value.new_full((), denominator)
            columns += [value, made[denominator]]
        self.keep_rows(*columns)

    def kept_means(self) -> tuple[Tensor, Tensor]:
        """Return the means ``[M, N]`` of all batches, and their denominators, which are 0 where a mean is no number."""
        columns = self.kept_rows()
        if columns is None:
            return torch.zeros(self.columns // 2, 0), torch.zeros(self.columns // 2, 0)
        values, denominators = torch.stack(columns[0::2]), torch.stack(columns[1::2])
        return values, denominators.masked_fill(values.isnan(), 0)

    def average(self, values: Tensor, denominators: Tensor) -> Tensor:
        """Return the mean ``[M]`` over all batches as one; NaN where no batch has a number."""
        total = denominators.sum(dim=1)
        # Losses divide by 1 where every element is ignored.
        sums = (values * denominators.where(denominators > 0, 1)).nansum(dim=1)
        return sums / total.where(total > 0, (~values.isnan()).any(dim=1))
