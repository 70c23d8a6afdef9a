"""Lovász-Softmax, Berman et al., CVPR 2018, from set functions."""

from __future__ import annotations

import torch
from torch import Tensor


def jaccard_loss(wrong: set[int], foreground: set[int]) -> float:
    """``1 - IoU`` of a class when the pixels ``wrong`` are mispredicted: ``|wrong| / |foreground or wrong|``."""
    return len(wrong) / len(foreground | wrong) if wrong else 0.0


def lovasz_softmax_loss(
    logits: Tensor,
    target: Tensor,
    *,
    classes: str | list[int] = "present",
    per_image: bool = False,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    """Mean over the classes of ``sum_k m_k (J(first k pixels) - J(first k - 1))``, largest error first."""
    ignored = [ignore_index] if isinstance(ignore_index, int) else ignore_index or []
    z = logits.movedim(1, 0).unsqueeze(-1).flatten(2)
    labels = target.unsqueeze(-1).flatten(1)
    images = [(z[:, i], labels[i]) for i in range(len(labels))] if per_image else [(z.flatten(1), labels.flatten())]
    losses = []
    for pixels, label_of in images:
        kept = torch.tensor([label not in ignored for label in label_of.tolist()], dtype=torch.bool)
        image, y = pixels[:, kept].softmax(dim=0), label_of[kept].tolist()
        if y:
            averaged = {"present": sorted(set(y)), "all": [c for c in range(len(z)) if c not in ignored]}
            averaged = averaged[classes] if isinstance(classes, str) else classes
            losses.append(torch.stack([_class_loss(image[c], y, c) for c in averaged]).mean())
    return torch.stack(losses).mean() if losses else 0 * logits.nan_to_num(0, 0, 0).sum()


def _class_loss(p: Tensor, labels: list[int], c: int) -> Tensor:
    foreground = {i for i, y in enumerate(labels) if y == c}
    errors = [1 - p[i] if i in foreground else p[i] for i in range(len(labels))]
    order = sorted(range(len(labels)), key=lambda i: errors[i].item(), reverse=True)
    jaccard = [jaccard_loss(set(order[:k]), foreground) for k in range(len(order) + 1)]
    return sum(errors[i] * (jaccard[k + 1] - jaccard[k]) for k, i in enumerate(order))
