"""NT-Xent: the contrastive loss of SimCLR."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import full_precision

_ZERO_NORM = 1e-12


def consecutive_pairs(rows: int, device: torch.device | None = None) -> Tensor:
    """Return the labels ``[0, 0, 1, 1, ...]`` that pair rows ``2i`` and ``2i + 1``; an odd last row stays alone."""
    return torch.arange(rows, device=device) // 2


def nt_xent_loss(embeddings: Tensor, labels: Tensor | None = None, *, temperature: float = 0.07) -> Tensor:
    r"""Normalised temperature-scaled cross-entropy, averaged over all ordered pairs with equal labels.

    With ``s_ij`` the cosine similarity of rows ``i`` and ``j``, every ordered positive pair ``(i, j)`` costs
    ``-log(exp(s_ij / temperature) / sum_{k != i} exp(s_ik / temperature))``. A row without a partner is a negative
    for the others and anchors nothing.

    Args:
        embeddings: ``[B, D]``; a row of zeros is similar to nothing (cosine 0).
        labels: ``[B]``, integers; rows with equal labels are positives. ``None`` pairs rows ``2i`` and ``2i + 1``.
        temperature: > 0.

    Returns:
        A scalar, float32 (float64 for float64 embeddings). A batch without a pair gives 0 with a zero gradient.

    Raises:
        ValueError: the embeddings are not ``[B, D]`` or the labels not ``[B]``.

    Source: Chen et al., "A Simple Framework for Contrastive Learning", ICML 2020, equation 1; with more than two
    rows per label, the "out" form of Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, weighing
    pairs (not anchors) equally.
    """
    if embeddings.ndim != 2 or (labels is not None and labels.shape != embeddings.shape[:1]):
        raise ValueError(
            "embeddings must be [B, D] and labels [B]; got embeddings "
            f"{tuple(embeddings.shape)} and labels {None if labels is None else tuple(labels.shape)}."
        )
    if labels is None:
        labels = consecutive_pairs(embeddings.shape[0], embeddings.device)
    # Autocast would take the product of the embeddings in half precision.
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = _unit_rows(full_precision(embeddings))
        similarity = unit @ unit.T / temperature
    itself = torch.eye(len(labels), dtype=torch.bool, device=embeddings.device)
    positive = (labels.unsqueeze(0) == labels.unsqueeze(1)) & ~itself
    # A lone row has no one to be compared with: its (unused) normaliser must stay finite.
    others = similarity.masked_fill(itself, torch.finfo(similarity.dtype).min)
    pair_loss = others.logsumexp(dim=1, keepdim=True) - similarity
    return torch.where(positive, pair_loss, 0).sum() / positive.sum().clamp_min(1)


def _unit_rows(rows: Tensor) -> Tensor:
    """Scale each row to length 1 without overflow; rows of zeros stay zero, with a finite gradient."""
    largest = rows.detach().abs().amax(dim=1, keepdim=True) if rows.shape[1] else rows.new_zeros(len(rows), 1)
    rows = rows / torch.where(largest > _ZERO_NORM, largest, 1)
    norm = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(norm > _ZERO_NORM, norm, 1)
