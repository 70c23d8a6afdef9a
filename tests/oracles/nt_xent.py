"""NT-Xent, Chen et al., ICML 2020, by a loop over the ordered pairs."""

from __future__ import annotations

import torch
from torch import Tensor


def nt_xent_loss(embeddings: Tensor, labels: Tensor | None = None, *, temperature: float = 0.07) -> Tensor:
    """Mean of ``-log(exp(s_ij / t) / sum_{k != i} exp(s_ik / t))`` over all ordered pairs of rows with equal labels."""
    rows = range(len(embeddings))
    labels = [i // 2 for i in rows] if labels is None else labels.tolist()
    unit = [row / row.norm() if row.any() else row for row in embeddings]
    losses = []
    for i in rows:
        s = {k: unit[i] @ unit[k] / temperature for k in rows if k != i}
        for j in s:
            if labels[i] == labels[j]:
                losses.append(torch.stack(list(s.values())).logsumexp(0) - s[j])
    return torch.stack(losses).mean() if losses else 0 * embeddings.sum()
