"""How well a model tells examples of known classes from others."""

from __future__ import annotations

import torch
from torch import Tensor

from ludwig_losses.metrics.functional._ranking import as_probabilities, order_of


def open_set_values(score: Tensor, predicted: Tensor, true: Tensor, background: list[int]) -> dict[str, Tensor]:
    """Return ``open_set_auroc``, ``oscr`` and ``closed_set_accuracy``; nothing where the rows are all of known classes,
    or none is.

    ``open_set_auroc`` is the probability that an example of a known class has a higher score than an unknown one.
    ``oscr`` asks in addition that the known example is classified correctly; it equals the area under the curve of the
    correct classification rate over the false positive rate (Dhamija et al., NeurIPS 2018, section 4).
    ``closed_set_accuracy`` is the share of the known examples that are classified correctly, whatever their score.

    Args:
        score: ``[N]``, the higher, the more likely an example is of a known class.
        predicted: ``[N]``, indices of known classes.
        true: ``[N]``, class indices.
        background: indices of the classes that stand for everything unknown.
    """
    is_known = ~torch.isin(true, torch.tensor(background).to(true))
    is_correct = predicted == true
    if is_known.all() or not is_known.any():
        return {}
    # Seconds, which most tables of a comparison do not need.
    from torchmetrics.functional.classification import binary_auroc

    rank = as_probabilities(order_of(score))
    # A misclassified known example ranks below every unknown one.
    of_correct = rank.where(~is_known | is_correct, 0.0)
    return {
        "open_set_auroc": binary_auroc(rank, is_known.int()),
        "oscr": binary_auroc(of_correct, is_known.int()),
        "closed_set_accuracy": is_correct[is_known].float().mean(),
    }
