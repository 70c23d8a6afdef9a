"""How well a model tells examples of known classes from others."""

from __future__ import annotations

from typing import Any

import torch
from ludwig.modules.loss_modules import create_loss
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from ludwig_losses.host.metrics import RowsMetric


class OpenSetMetric(RowsMetric):
    """``open_set_auroc`` and ``oscr`` of the score by which unknown examples can be rejected.

    ``open_set_auroc`` is the probability that an example of a known class has a higher score than an unknown one.
    ``oscr`` asks in addition that the known example is classified correctly; it equals the area under the curve of the
    correct classification rate over the false positive rate (Dhamija et al., NeurIPS 2018, section 4). Both are left
    out where the data has no unknown example, or none of a known class.
    """

    NAMES = ("open_set_auroc", "oscr")
    columns = 3

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__()
        self.loss_function = create_loss(config)

    def update(self, preds: Tensor, target: Tensor) -> None:
        if self.loss_function.background is None:
            return
        score, predicted = self.loss_function.judge(preds)
        self.keep(score, predicted.to(score), target.to(score))

    def compute(self) -> dict[str, Tensor]:
        rows = self.kept()
        if rows is None:
            return {}
        score, predicted, true = rows
        is_known = ~torch.isin(true, torch.tensor(self.loss_function.background).to(true))
        is_correct = predicted == true
        if is_known.all() or not is_known.any():
            return {}
        # Ranks instead of scores: torchmetrics takes what lies outside of [0, 1] for logits.
        rank = 1 + torch.unique(score, return_inverse=True)[1]
        scale = 1 + rank.max()
        values = (rank / scale, torch.where(is_known & ~is_correct, 0, rank) / scale)
        return {name: binary_auroc(value, is_known.int()) for name, value in zip(self.NAMES, values, strict=True)}
