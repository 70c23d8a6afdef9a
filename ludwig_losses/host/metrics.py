"""Base classes of metrics, which are updated with batch after batch."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from ludwig.modules.metric_modules import LudwigMetric
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat


class StaysInPlace:
    """Base of metrics that do not look at all that they consist of when they are moved to the device where they are.

    Ludwig moves every metric for every batch; torchmetrics then takes up each tensor of each state.
    """

    device: torch.device

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move to another device, or change the type."""
        return self if args == (self.device,) and not kwargs else super().to(*args, **kwargs)  # type: ignore[misc]


class PackMetric(StaysInPlace, LudwigMetric):
    """Base of the metrics that the pack adds to those of Ludwig."""

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
        """Keep numbers of the rows of a batch, in few tensors: what is as long as the new ones, or shorter, joins
        them."""
        rows = torch.stack(columns, dim=1).flatten()
        while self.rows and len(self.rows[-1]) <= len(rows):
            rows = torch.cat([self.rows.pop(), rows])
        self.rows.append(rows)

    def kept(self) -> tuple[Tensor, ...] | None:
        """Return the numbers of the rows of all batches, and of all ranks, if there are any."""
        if not len(self.rows):  # a list, or one tensor once ranks have gathered
            return None
        return dim_zero_cat(self.rows).view(-1, self.columns).unbind(dim=1)
