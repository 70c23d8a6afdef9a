"""How good embeddings are that were trained by contrast."""

from __future__ import annotations

from typing import Any

import torch
from ludwig.modules.loss_modules import create_loss
from torch import Tensor
from torch.nn.functional import normalize

from ludwig_losses.functional.nt_xent import consecutive_pairs
from ludwig_losses.host.metrics import PackMetric

# Similarities at a time: 16 MB of float32.
_CHUNK = 2**22


class ContrastiveMetric(PackMetric):
    """``alignment``, ``uniformity`` and ``pair_accuracy`` of embeddings ``f`` of length 1.

    ``alignment`` is the mean of ``|f_i - f_j|**2`` over the positive pairs, from 0 to 4; ``uniformity`` the logarithm
    of the mean of ``exp(-2 |f_i - f_j|**2)`` over all pairs of different rows, from -8 to 0 (Wang & Isola, ICML 2020).
    Both are the better the lower. ``pair_accuracy`` is the share of the rows with a partner whose nearest other row (by
    cosine; the first one of several) is a partner.

    Rows are compared with those of their own batch only, so ``pair_accuracy`` depends on ``eval_batch_size``: the
    larger a batch, the harder it is. Sums go over all batches. What the data has no pairs for is left out.
    """

    NAMES = ("alignment", "uniformity", "pair_accuracy")
    LOWER_IS_BETTER = ("alignment", "uniformity")

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__()
        self.loss_function = create_loss(config)
        for sums, count in (("distance", "partners"), ("potential", "pairs"), ("hits", "anchors")):
            self.add_state(sums, default=torch.tensor(0.0), dist_reduce_fx="sum")
            self.add_state(count, default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        unit = normalize(preds.detach().float(), dim=1)
        labels = self.loss_function.labels(target)
        if labels is None:
            labels = consecutive_pairs(len(unit), unit.device)
        for start in range(0, len(unit), max(_CHUNK // len(unit), 1) if len(unit) else 1):
            self._add(unit, labels, start, max(_CHUNK // len(unit), 1))

    def _add(self, unit: Tensor, labels: Tensor, start: int, count: int) -> None:
        """Add the pairs of some of the rows with all others."""
        rows = slice(start, start + count)
        with torch.autocast(unit.device.type, enabled=False):
            similarity = unit[rows] @ unit.T
        distance = (2 - 2 * similarity).clamp_min(0)
        positive = labels[rows, None] == labels
        positive.diagonal(start).fill_(False)
        potential = (-2 * distance).exp()
        potential.diagonal(start).zero_()
        nearest = similarity.diagonal_scatter(torch.full_like(similarity.diagonal(start), -torch.inf), start)
        has_partner = positive.any(dim=1)
        hit = positive.gather(1, nearest.argmax(dim=1, keepdim=True)).squeeze(1)
        self.distance += (distance * positive).sum()
        self.partners += positive.sum()
        self.potential += potential.sum()
        self.pairs += potential.numel() - len(potential)
        self.hits += (hit & has_partner).sum()
        self.anchors += has_partner.sum()

    def compute(self) -> dict[str, Tensor]:
        values = {
            "alignment": self.distance / self.partners,
            "uniformity": (self.potential / self.pairs).log(),
            "pair_accuracy": self.hits / self.anchors,
        }
        counts = torch.stack([self.partners, self.pairs, self.anchors]).tolist()
        return {name: value for (name, value), count in zip(values.items(), counts, strict=True) if count}
