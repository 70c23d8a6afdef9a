"""How well a model tells examples of known classes from others."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.metrics.functional.open_set import open_set_values
from ludwig_losses.metrics.reported.base import MetricOfLoss, RowsMetric


class OpenSetMetric(MetricOfLoss, RowsMetric):
    """``open_set_auroc`` and ``oscr`` of the score by which unknown examples can be rejected, and
    ``closed_set_accuracy``, see :func:`open_set_values`."""

    NAMES = ("open_set_auroc", "oscr", "closed_set_accuracy")
    columns = 3

    def update(self, preds: Tensor, target: Tensor) -> None:
        if self.loss_function.background is None:
            return
        score, predicted = self.loss_function.judge(preds)
        counted, true = self.loss_function.counted(target), target.to(score)
        # Sorted out at the end, where it is known how many they are.
        true = true if counted is None else true.masked_fill(~counted, torch.nan)
        self.keep_rows(score, predicted.to(score), true)

    def compute(self) -> dict[str, Tensor]:
        rows = self.kept_rows()
        if rows is None:
            return {}
        score, predicted, true = torch.stack(rows)[:, ~rows[2].isnan()]
        return open_set_values(score, predicted, true, self.loss_function.background)
