"""Base classes of metrics, which are updated with batch after batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from ludwig.modules.metric_modules import LudwigMetric
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat


def move(original: Callable, metric: LudwigMetric, *args: Any, **kwargs: Any) -> LudwigMetric:
    """Move a metric; one that stays in place is not moved to the device where it is.

    Ludwig moves every metric for every batch, and torchmetrics then takes up each tensor of each state.
    """
    is_there = getattr(metric, "stays_in_place", False) and args == (metric.device,) and not kwargs
    return metric if is_there else original(metric, *args, **kwargs)


class PackMetric(LudwigMetric):
    """Base of the metrics that the pack adds to those of Ludwig."""

    stays_in_place = True

    @classmethod
    def can_report(cls, feature: Any) -> bool:
        """Ludwig would make one for each name, and does not know what it needs: the loss, or the classes."""
        return False


class RowsMetric(PackMetric):
    """Base of metrics that are computed of all rows at once, and keep some numbers of each row until then."""

    columns: ClassVar[int]
    rows: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        # One dimension: so it is for a rank that has no rows.
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def keep(self, *columns: Tensor) -> None:
        """Keep numbers of the rows of a batch."""
        self.rows.append(torch.stack(columns, dim=1).flatten())

    def kept(self) -> tuple[Tensor, ...] | None:
        """Return the numbers of the rows of all batches, and of all ranks, if there are any."""
        if not len(self.rows):  # a list, or one tensor once ranks have gathered
            return None
        return dim_zero_cat(self.rows).view(-1, self.columns).unbind(dim=1)
