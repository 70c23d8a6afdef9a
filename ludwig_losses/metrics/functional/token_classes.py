"""How well the single classes of tokens are predicted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ludwig_losses.functional._numerics import is_counted

# In larger vocabularies the classes of tokens are not reported one by one, and a comparison does not count them.
MOST_CLASSES = 64


def token_class_counts(predicted: Tensor, true: Tensor, num_classes: int, ignored: tuple[int, ...]) -> Tensor:
    """Return how many tokens are of each class, are predicted as it, and are both, of those that are not ignored.

    Args:
        predicted: ``[B, S]``, class indices; a position beyond ``S`` is predicted as no class.
        true: ``[B, T]``, class indices.
        num_classes: ``C``, of the result ``[3, C]``.
        ignored: classes whose tokens are ignored, padding among them.
    """
    true, length = true.long(), true.shape[1]
    predicted = pad(predicted.long()[:, :length], (0, max(length - predicted.shape[1], 0)), value=num_classes)
    counted = cast(Tensor, is_counted(true, ignored))  # None only where nothing was named
    cells = true.where(counted, num_classes), predicted.where(counted, num_classes)
    both = cells[0].where(cells[0] == cells[1], num_classes)
    # What is no class has an additional cell. No bincount, which would synchronise on an accelerator.
    counts = [true.new_zeros(num_classes + 1) for _ in range(3)]
    for count, cell in zip(counts, (*cells, both), strict=True):
        count.scatter_add_(0, cell.flatten(), torch.ones_like(cell).flatten())
    return torch.stack(counts)[:, :num_classes]


def token_class_values(
    counts: Tensor, excluded: tuple[int, ...], names: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Return the F1 of the classes by the counts of their tokens; nothing without a token of a class.

    With ``TP``, ``FP`` and ``FN`` the tokens of a class that are right, wrongly predicted and missed, ``token_f1_NAME``
    is ``2 TP / (2 TP + FP + FN)`` of a class, ``token_macro_f1`` the mean over the classes that are present or
    predicted, and ``token_micro_f1`` the same ratio of the sums over all classes. A token of an excluded class that is
    predicted as another one counts among the ``FP`` of that.

    Args:
        counts: ``[3, C]``, see :func:`token_class_counts`.
        excluded: classes that are no labels, as symbols that Ludwig adds and ignored ones.
        names: of all classes; ``None`` where they are not known: then ``token_f1_4`` is that of class 4.
    """
    is_label = torch.ones(counts.shape[1], dtype=torch.bool, device=counts.device)
    is_label[[index for index in excluded if index < len(is_label)]] = False
    true, predicted, right = counts.double()
    kept = is_label & (true + predicted > 0)
    if not kept.any():
        return {}
    f1 = 2 * right / (true + predicted)
    micro = 2 * right[kept].sum() / (true + predicted)[kept].sum()
    values = {"token_macro_f1": f1[kept].mean(), "token_micro_f1": micro}
    single = kept.nonzero().flatten().tolist() if len(kept) <= MOST_CLASSES else []
    values |= {f"token_f1_{_name(c, names)}": f1[c] for c in single}
    return {name: value.float() for name, value in values.items()}


def _name(index: int, names: Sequence[str] | None) -> str:
    """Return the name of a class; its index where that has characters that MLflow refuses in names of metrics."""
    if names is None:
        return str(index)
    return names[index] if re.fullmatch(r"[\w.\-:/ ]+", names[index]) else f"index_{index}"


def token_class_rows(
    truth: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]], labels: list[int]
) -> np.ndarray:
    """Return :func:`token_class_counts` of each row, ``[N, 3, L]``, of the classes that are labels.

    Args:
        truth, predicted: class indices, without padding; what is predicted beyond the end of a row does not count.
    """
    counts = np.zeros((len(truth), 3, len(labels)), dtype=np.int32)
    place = {label: index for index, label in enumerate(labels)}
    for row, true, said in zip(counts, truth, predicted, strict=True):
        for position, token in enumerate(true):
            other = said[position] if position < len(said) else None
            if token in place:
                row[0, place[token]] += 1
                row[2, place[token]] += token == other
            if other in place:
                row[1, place[other]] += 1
    return counts


def token_class_f1(counts: np.ndarray, present: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the F1 of the labels by the sums of such rows, ``[..., 3, L]``.

    Args:
        present: ``[3, L]``, whether a label occurs, is predicted, is right. Macro F1 is the mean over those that occur
            or are predicted; the F1 of a single one is that of those that occur.
    """
    true, predicted, right = np.moveaxis(counts.astype(float), -2, 0)
    used = present[0] | present[1]
    with np.errstate(invalid="ignore"):
        f1 = 2 * right / (true + predicted)
        micro = 2 * right.sum(axis=-1) / (true + predicted).sum(axis=-1)
    if not used.any():
        return {}
    values = {"token_macro_f1": np.nanmean(f1[..., used], axis=-1), "token_micro_f1": micro}
    return values | {f"token_f1[{names[c]}]": f1[..., c] for c in np.flatnonzero(present[0]).tolist()}
