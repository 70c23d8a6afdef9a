"""NT-Xent, Chen et al., ICML 2020, by a loop over the ordered pairs."""

from __future__ import annotations

import torch
from torch import Tensor


def nt_xent_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 0.07,
    average: str = "pairs",
    memory: Tensor | None = None,
    memory_labels: Tensor | None = None,
) -> Tensor:
    """Mean of ``-log(exp(s_ij / t) / sum_{k != i} exp(s_ik / t))`` over all ordered pairs of rows with equal labels.

    ``j`` and ``k`` also go through the memory; ``average="anchors"`` takes the mean over ``j`` first.
    """
    rows = range(len(embeddings))
    labels = [i // 2 for i in rows] if labels is None else labels.tolist()
    past = [] if memory is None else [row.to(embeddings.dtype) for row in memory.detach()]
    labels += [None] * len(past) if memory_labels is None else memory_labels.tolist()
    unit = [row / row.norm() if row.any() else row for row in [*embeddings, *past]]
    losses = []
    for i in rows:
        s = {k: unit[i] @ unit[k] / temperature for k in range(len(unit)) if k != i}
        costs = [torch.stack(list(s.values())).logsumexp(0) - s[j] for j in s if labels[i] == labels[j]]
        if average == "anchors" and costs:
            costs = [torch.stack(costs).mean()]
        losses += costs
    return torch.stack(losses).mean() if losses else 0 * embeddings.sum()
