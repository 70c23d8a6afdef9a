"""What Ludwig's own losses divide by, as terms of a compound loss: there they are averaged as the other terms are."""

from __future__ import annotations

from ludwig.modules import loss_modules
from torch import Tensor, nn


def denominator(loss: nn.Module, preds: Tensor, target: Tensor) -> int | Tensor:
    """Return what the loss of a batch is a mean over: its elements, or the weights of those that count."""
    target = _seen(loss, target)
    cross_entropy = getattr(loss, "loss_fn", None)
    if not isinstance(cross_entropy, nn.CrossEntropyLoss):
        return target.numel()
    if target.is_floating_point():  # soft labels, for which torch does not divide by the class weights
        return target.numel() // target.shape[1]
    target = target.long()
    counted = target != cross_entropy.ignore_index
    if cross_entropy.weight is None:
        return counted.sum()
    return (cross_entropy.weight[target * counted] * counted).sum()


def is_root(loss: nn.Module) -> bool:
    """Whether a loss is the square root of a mean: then its squares are averaged."""
    return _is(loss, "RMSELoss", "RMSPELoss")


def _seen(loss: nn.Module, target: Tensor) -> Tensor:
    """Return the targets that a loss looks at."""
    if _is(loss, "SequenceSoftmaxCrossEntropyLoss"):
        return target[1:]  # all but the first row of a batch
    return target[:, 1:] if _is(loss, "NextTokenSoftmaxCrossEntropyLoss") else target


def _is(loss: nn.Module, *names: str) -> bool:
    """Whether a loss is one of Ludwig's with one of these names, as far as Ludwig has them."""
    return isinstance(loss, tuple(getattr(loss_modules, name) for name in names if hasattr(loss_modules, name)))
