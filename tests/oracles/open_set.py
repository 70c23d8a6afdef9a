"""Entropic open-set and Objectosphere, Dhamija et al., NeurIPS 2018, by a loop over examples and classes."""

from __future__ import annotations

import torch
from torch import Tensor

from oracles._rows import per_row


def entropic_open_set_loss(logits: Tensor, target: Tensor, *, known: Tensor | None = None) -> Tensor:
    """Knowns ``-log S_y``, all others ``-(1 / C) sum_c log S_c``, ``S`` the softmax over the competing classes."""
    competing, is_known = _classes(logits, known)

    def loss(z: Tensor, y: int) -> Tensor:
        total = torch.stack([z[c] for c in competing]).logsumexp(0)
        nll = {c: total - z[c] for c in competing}
        return nll[y] if y in is_known else sum(nll.values()) / len(nll)

    return per_row(loss, logits, target, class_dim=-1)


def objectosphere_loss(
    logits: Tensor,
    target: Tensor,
    *,
    known: Tensor | None = None,
    xi: float = 10.0,
    zeta: float = 0.1,
    features: Tensor | None = None,
) -> Tensor:
    """Entropic open-set plus ``zeta`` times: knowns ``max(xi - ||F||, 0)**2``, all others ``||F||**2``."""
    competing, is_known = _classes(logits, known)

    def wish(f: Tensor, y: int) -> Tensor:
        squares = sum(x * x for x in f if x > -torch.inf)
        if y not in is_known:
            return squares
        # At 0 the norm has a corner: the gradient that torch gives it there is 0.
        size = squares.sqrt() if squares > 0 else squares
        return (xi - size) ** 2 if size < xi else 0 * size

    vectors = logits[..., competing] if features is None else features
    entropic = entropic_open_set_loss(logits, target, known=known)
    return entropic + zeta * per_row(wish, vectors, target, class_dim=-1)


def known_softmax(logits: Tensor, known: Tensor) -> Tensor:
    competing, _ = _classes(logits, known)
    rows = []
    for z in logits.reshape(-1, logits.shape[-1]):
        total = z[competing].logsumexp(0)
        rows.append(torch.stack([(z[c] - total).exp() if c in competing else 0 * total for c in range(len(z))]))
    return torch.stack(rows).reshape(logits.shape)


def _classes(logits: Tensor, known: Tensor | None) -> tuple[list[int], set[int]]:
    """Return the classes whose logits compete, and those that are known: where only one is known, all compete."""
    everything = list(range(logits.shape[-1]))
    listed = everything if known is None else known.tolist()
    return (everything if len(listed) == 1 else listed), set(listed)
