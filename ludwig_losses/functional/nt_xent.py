"""NT-Xent: the contrastive loss of SimCLR."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor

from ludwig_losses.functional._contrast import loss_and_gradient
from ludwig_losses.functional._derivatives import is_differentiated, with_gradient
from ludwig_losses.functional._numerics import (
    check_floating,
    check_number,
    check_whole_numbers,
    full_precision,
    is_static,
    unit_rows,
)

# Rows that are no longer than this count as zeros, which have no direction: torch.nn.functional.normalize's number.
_ZERO_NORM = 1e-12


def consecutive_pairs(rows: int, device: torch.device | None = None) -> Tensor:
    """Return the labels ``[0, 0, 1, 1, ...]`` that pair rows ``2i`` and ``2i + 1``; an odd last row stays alone."""
    return torch.arange(rows, device=device) // 2


def nt_xent_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float | Tensor = 0.07,
    chunk_size: int | None = None,
    average: str = "pairs",
    memory: Tensor | None = None,
    memory_labels: Tensor | None = None,
) -> Tensor:
    r"""Normalised temperature-scaled cross-entropy, averaged over all ordered pairs with equal labels.

    With ``s_ij`` the cosine similarity of rows ``i`` and ``j``, every ordered positive pair ``(i, j)`` costs
    ``-log(exp(s_ij / temperature) / sum_{k != i} exp(s_ik / temperature))``. A row without a partner is a negative
    for the others and anchors nothing.

    Args:
        embeddings: ``[B, D]``; a row of zeros is similar to nothing (cosine 0).
        labels: ``[B]``, whole numbers; rows with equal labels are positives. ``None`` pairs rows ``2i`` and ``2i + 1``.
        temperature: > 0; a tensor of one floating-point number gets a gradient, too.
        chunk_size: how many rows are compared with all others at a time, >= 1; memory grows with ``B * chunk_size``,
            the result is the same. ``None`` chooses it so that a few times 16 MB are enough for any batch.
        average: ``"pairs"`` weighs all ordered pairs equally, ``"anchors"`` all rows that have a partner: the mean over
            rows of the mean over their partners. Where each row has one partner there is no difference.
        memory: ``[M, D]``, past embeddings. They stand in the sum over ``k`` of every row, anchor nothing and get no
            gradient.
        memory_labels: ``[M]``; past embeddings with the label of a row are its positives. ``None`` makes all of them
            negatives.

    Returns:
        A scalar, float32 (float64 for float64 embeddings), differentiable once. A batch without a pair gives 0 with
        a zero gradient.

    Raises:
        TypeError: embeddings or memory are no floating-point numbers, or ``temperature`` is no number.
        ValueError: the embeddings are not ``[B, D]`` or the labels not ``[B]``, ``temperature`` or ``chunk_size`` is
            out of range, ``average`` is another word, the memory does not fit, or (on a CPU) a floating-point label is
            no whole number.

    Source: Chen et al., "A Simple Framework for Contrastive Learning", ICML 2020, equation 1; with more than two
    rows per label, the "out" form of Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2,
    exactly so with ``average="anchors"``. A memory without labels: He et al., "Momentum Contrast", CVPR 2020, without
    the second encoder; with labels: Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020.

    Examples:
        >>> import torch
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> nt_xent_loss(embeddings, temperature=0.5)
        tensor(0.2899)
        >>> nt_xent_loss(embeddings, torch.tensor([0, 1, 0, 1]), temperature=0.5)  # other rows are partners
        tensor(2.0819)
    """
    if embeddings.ndim != 2 or (labels is not None and labels.shape != embeddings.shape[:1]):
        raise ValueError(
            "embeddings must be [B, D] and labels [B]; got embeddings "
            f"{tuple(embeddings.shape)} and labels {None if labels is None else tuple(labels.shape)}."
        )
    check_floating("embeddings", embeddings)
    for name, given in (("labels", labels), ("memory_labels", memory_labels)):
        if given is not None:
            check_whole_numbers(name, given)
    _check_temperature(temperature)
    if chunk_size is not None and not (isinstance(chunk_size, Integral) and chunk_size >= 1):
        raise ValueError(f"chunk_size must be a whole number >= 1, or None; got {chunk_size!r}.")
    _check_options(embeddings, labels, average, memory, memory_labels)
    count = embeddings.shape[0]
    # While torch compiles, the number of rows may be a symbol, and then is neither even nor odd.
    if labels is None and (torch.compiler.is_compiling() or not count or count % 2):
        labels = consecutive_pairs(count, embeddings.device)
    if labels is not None and memory_labels is not None:
        labels = torch.cat([labels, memory_labels])
    rows = full_precision(embeddings)
    unit, length = unit_rows(rows.detach(), zero_norm=_ZERO_NORM)
    others = None if memory is None else unit_rows(memory.detach().to(unit.dtype), zero_norm=_ZERO_NORM)[0]
    wanted = is_differentiated(rows)
    loss, by_unit, by_log_temperature = loss_and_gradient(
        unit,
        labels,
        others,
        temperature=temperature.detach().to(unit) if isinstance(temperature, Tensor) else temperature,
        chunk_size=chunk_size,
        per_anchor=average == "anchors",
        wanted=wanted,
    )
    loss = with_gradient(loss, rows, _gradient_by_rows(by_unit, unit, length)) if wanted else loss
    if by_log_temperature is None or not isinstance(temperature, Tensor) or not temperature.requires_grad:
        return loss
    # Adds 0, and the derivative by the temperature.
    by_temperature = by_log_temperature.to(temperature) / temperature.detach()
    return loss + with_gradient(torch.zeros_like(temperature.detach()), temperature, by_temperature).to(loss)


def _check_temperature(temperature: float | Tensor) -> None:
    if not isinstance(temperature, Tensor):
        check_number("temperature", temperature, above=0)
        return
    check_floating("temperature", temperature)
    if temperature.ndim:
        raise ValueError(f"temperature must be one number, a tensor of shape (); got {tuple(temperature.shape)}.")
    if not is_static(temperature):
        check_number("temperature", temperature.item(), above=0)


def _check_options(
    embeddings: Tensor, labels: Tensor | None, average: str, memory: Tensor | None, memory_labels: Tensor | None
) -> None:
    if memory is not None:
        check_floating("memory", memory)
    if average not in ("pairs", "anchors"):
        raise ValueError(f"average must be 'pairs' or 'anchors'; got {average!r}.")
    if memory is not None and (memory.ndim != 2 or memory.shape[1] != embeddings.shape[1]):
        raise ValueError(f"memory must be [M, {embeddings.shape[1]}], as embeddings; got {tuple(memory.shape)}.")
    if memory_labels is not None and (memory is None or labels is None or memory_labels.shape != memory.shape[:1]):
        raise ValueError(
            "memory_labels must be [M], one for each row of memory, and need labels; got memory_labels "
            f"{tuple(memory_labels.shape)}, memory {None if memory is None else tuple(memory.shape)} and labels "
            f"{None if labels is None else tuple(labels.shape)}."
        )


def _gradient_by_rows(by_unit: Tensor, unit: Tensor, length: Tensor) -> Tensor:
    """Return the derivative by the rows ``r``, given the derivative ``g`` by the rows of length 1, ``u = r / |r|``.

    Longer rows point in the same direction: the part of ``g`` along ``u`` changes nothing, so ``(g - u <u, g>) / |r|``.
    """
    return torch.addcmul(by_unit, unit, (by_unit * unit).sum(dim=1, keepdim=True), value=-1).div_(length)
