"""The base of losses that also take several labels a row, each with a sigmoid of its own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ludwig_losses.declare.config import ClassificationLossConfig
from ludwig_losses.declare.loss import ClassificationLoss
from ludwig_losses.functional._numerics import ignored_classes

# Which labels count: all of them for ``None``, those from one index to another, or those with some indices ``[K]``.
Kept = slice | Tensor | None


def are_labels(preds: Tensor, target: Tensor) -> bool:
    """Whether a batch is of several labels a row: logits and targets ``[B, L]``."""
    return preds.dim() == 2 and preds.shape == target.shape


class LabelsLoss(ClassificationLoss):
    """Base of the modules that also average a loss over rows and labels.

    Class weights are those of labels, whether a row has the label or not. Ignored labels, and the columns of symbols
    that Ludwig adds to the vocabulary, are left out.
    """

    def __init__(self, config: ClassificationLossConfig) -> None:
        super().__init__(config)
        self._kept: tuple[Any, slice | Tensor] | None = None

    def of_labels(self, logits: Tensor, target: Tensor, kept: Kept) -> Tensor:
        """Return the loss of each row and label.

        Args:
            logits, target: ``[B, K]``.
            kept: which of all labels these are.
        """
        raise NotImplementedError

    def mean_of_labels(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return ``sum(w * loss) / sum(w)`` over rows and labels, with ``w`` the weights of the labels."""
        kept = self.kept(preds)
        loss = self.of_labels(columns(preds, kept), columns(target, kept), kept)
        return self.reduce_labels(loss, target, kept)

    def reduce_labels(self, loss: Tensor, target: Tensor, kept: Kept) -> Tensor:
        """Return the weighted mean of the loss of each row and label."""
        weight = None if self.class_weights is None else columns(self.class_weights, kept).expand_as(loss)
        return self.weighted_mean(loss, weight, target)

    def kept(self, preds: Tensor) -> Kept:
        """Return which labels are not ignored."""
        if self.ignored is None:
            return None
        key = preds.shape[1], preds.device
        if self._kept is None or self._kept[0] != key:
            labels = range(preds.shape[1])
            bounds = [-1, *sorted(index for index in {*ignored_classes(self.ignored)} if index in labels), len(labels)]
            spans = [slice(low + 1, high) for low, high in pairwise(bounds) if high > low + 1]
            self._kept = key, spans[0] if len(spans) == 1 else _indices(spans, preds.device)
        return self._kept[1]

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        if not are_labels(preds, target):
            return super().denominator(preds, target)
        kept = self.kept(preds)
        if self.class_weights is None:
            return columns(preds, kept).numel()
        return len(target) * columns(self.class_weights, kept).sum()


def _indices(spans: list[slice], device: torch.device) -> Tensor:
    # Made on the device of the logits: a copy of a list would wait for it.
    return torch.cat([torch.arange(span.start, span.stop, device=device) for span in spans or [slice(0, 0)]])


def columns(x: Tensor, kept: Kept) -> Tensor:
    """Return the entries of the last dimension that are kept."""
    if kept is None:
        return x
    return x[..., kept] if isinstance(kept, slice) else x.index_select(-1, kept)
