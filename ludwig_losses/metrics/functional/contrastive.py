"""How good embeddings are that were trained by contrast."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

# Similarities at a time: 16 MB of float32.
_CHUNK = 2**22

# What is summed, and over how many: squared distances over pairs of partners, potentials over all pairs, hits over rows
# that have a partner.
SUMS = (("distance", "partners"), ("potential", "pairs"), ("hits", "anchors"))


def pair_sums(vectors: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the sums from which :func:`pair_values` follow, of rows that are compared with each other.

    Args:
        vectors: ``[N, D]``.
        labels: ``[N]``; rows with the same label are partners.
    """
    chunks = [{name: value.sum() for name, value in part.items()} for part in _parts(vectors, labels)]
    pairs = labels.new_full((), len(vectors) * (len(vectors) - 1), dtype=torch.long)
    if len(chunks) == 1:  # as most batches are; then there is nothing to add up
        return {**chunks[0], "pairs": pairs}
    sums = empty_sums(vectors) | {"pairs": pairs}
    return {name: sum((chunk[name] for chunk in chunks if name in chunk), start=zero) for name, zero in sums.items()}


def row_sums(vectors: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the share ``[N]`` of each row in the sums of :func:`pair_sums`."""
    parts = [
        {name: value.view(len(value), -1).sum(dim=1) for name, value in part.items()}
        for part in _parts(vectors, labels)
    ]
    pairs = labels.new_full((len(vectors),), len(vectors) - 1, dtype=torch.long)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} | {"pairs": pairs}


def _parts(vectors: Tensor, labels: Tensor) -> Iterator[dict[str, Tensor]]:
    """Yield what the pairs of some rows with all others, or these rows, add to the sums."""
    unit = normalize(vectors.detach(), dim=1)
    count = max(_CHUNK // max(len(unit), 1), 1)
    for start in range(0, len(unit), count):
        yield _summands(unit, labels, start, count)


def empty_sums(like: Tensor) -> dict[str, Tensor]:
    """Return the sums over no rows; of numbers, that is in the type of a tensor, and of how many there are."""
    return {
        name: torch.zeros((), dtype=like.dtype if name in ("distance", "potential") else torch.long, device=like.device)
        for pair in SUMS
        for name in pair
    }


def _summands(unit: Tensor, labels: Tensor, start: int, count: int) -> dict[str, Tensor]:
    """Return what is summed, of the pairs ``[R, N]`` of some rows with all others, or of these rows ``[R]``."""
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
    return {
        "distance": distance * positive,
        "partners": positive,
        "potential": potential,
        "hits": hit & has_partner,
        "anchors": has_partner,
    }


def pair_values(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``alignment``, ``uniformity`` and ``pair_accuracy`` of embeddings ``f`` of length 1.

    ``alignment`` is the mean of ``|f_i - f_j|**2`` over the positive pairs, from 0 to 4; ``uniformity`` the logarithm
    of the mean of ``exp(-2 |f_i - f_j|**2)`` over all pairs of different rows, from -8 to 0 (Wang & Isola, ICML 2020).
    ``pair_accuracy`` is the share of the rows with a partner whose nearest other row (by cosine; the first one of
    several) is a partner. Metrics without pairs are missing.
    """
    values = {
        "alignment": sums["distance"] / sums["partners"],
        "uniformity": (sums["potential"] / sums["pairs"]).log(),
        "pair_accuracy": sums["hits"] / sums["anchors"],
    }
    counts = torch.stack([sums[count] for _, count in SUMS]).tolist()
    return {name: value for (name, value), count in zip(values.items(), counts, strict=True) if count}
