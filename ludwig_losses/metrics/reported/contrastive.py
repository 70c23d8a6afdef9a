"""How good embeddings are that were trained by contrast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ludwig_losses.functional.nt_xent import consecutive_pairs
from ludwig_losses.metrics.catalogue import lower_is_better
from ludwig_losses.metrics.functional.contrastive import empty_sums, pair_sums, pair_values
from ludwig_losses.metrics.reported.base import MetricOfLoss


class ContrastiveMetric(MetricOfLoss):
    """``alignment``, ``uniformity`` and ``pair_accuracy`` of embeddings, see :func:`pair_values`.

    Rows are compared with those of their own batch only, so ``pair_accuracy`` depends on ``eval_batch_size``: the
    larger a batch, the harder it is. Sums go over all batches. Metrics without pairs are missing.
    """

    NAMES = ("alignment", "uniformity", "pair_accuracy")
    LOWER_IS_BETTER = lower_is_better(NAMES)

    def __init__(self, loss: Any, **kwargs: Any) -> None:
        super().__init__(loss, **kwargs)
        for name, value in empty_sums(torch.zeros(())).items():
            self.add_state(name, default=value, dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        labels = self.loss_function.labels(target)
        if labels is None:
            labels = consecutive_pairs(len(preds), preds.device)
        for name, value in pair_sums(preds.float(), labels).items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        return pair_values({name: getattr(self, name) for name in self._defaults})
