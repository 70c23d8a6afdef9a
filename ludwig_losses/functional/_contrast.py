"""NT-Xent with a memory of past embeddings, or with anchors instead of pairs weighing equally."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ludwig_losses.functional._numerics import summation_dtype

# Similarities at a time, unless a chunk size says how many: 16 MB of float32.
SIMILARITIES = 2**22


def contrast(
    unit: Tensor, labels: Tensor, others: Tensor, *, temperature: float, chunk_size: int | None, per_anchor: bool
) -> Tensor:
    """Return the mean cost of the positive pairs, or of the anchors that have any.

    Args:
        unit: ``[B, D]``, rows of length 1, which are the anchors.
        labels: ``[B]``, or ``[B + M]`` if the others have labels too.
        others: ``[M, D]``, rows of length 1 without a gradient, to compare the anchors with besides each other.
    """
    if chunk_size is None:
        chunk_size = max(SIMILARITIES // max(len(unit) + len(others), 1), 1)
    with_gradient = unit.requires_grad and torch.is_grad_enabled()
    return _contrast(unit, labels, others.detach(), temperature, chunk_size, per_anchor, with_gradient)[0]


# A custom operator: torch.compile takes its loop whole, and it computes the gradient along with the value.
@torch.library.custom_op("ludwig_losses::contrast", mutates_args=())
def _contrast(
    unit: Tensor,
    labels: Tensor,
    others: Tensor,
    temperature: float,
    chunk_size: int,
    per_anchor: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Loss and its derivative by the anchors (empty unless asked for)."""
    everyone = torch.cat([unit, others])
    gradient = torch.zeros_like(unit if with_gradient else unit[:0])
    total, counted = unit.new_zeros((), dtype=summation_dtype(unit.device)), labels.new_zeros((), dtype=torch.long)
    # Autocast would take the products in half precision.
    with torch.autocast(unit.device.type, enabled=False):
        for start in range(0, len(unit), chunk_size):
            rows = slice(start, start + chunk_size)
            own = unit[rows] / temperature
            s = own @ everyone.T
            # A lone row has no one to be compared with: its (unused) normaliser must stay finite.
            s.diagonal(start).fill_(torch.finfo(s.dtype).min)
            positive = torch.zeros_like(s)
            positive[:, : len(labels)] = labels[: len(unit)][rows, None] == labels
            positive.diagonal(start).zero_()
            partners = positive.sum(dim=1, keepdim=True)
            counted += (partners > 0).sum() if per_anchor else partners.sum().long()
            if per_anchor:
                positive /= partners.clamp_min(1)
                partners = partners.clamp_max(1)
            normaliser = s.logsumexp(dim=1, keepdim=True)
            total += (partners * normaliser).sum() - torch.dot(s.flatten(), positive.flatten())
            if with_gradient:
                slope = (s - normaliser).exp_().mul_(partners).sub_(positive)
                gradient[rows] += slope @ everyone / temperature
                gradient.addmm_(slope[:, : len(unit)].T, own)
    counted = counted.clamp_min(1)
    return (total / counted).to(unit.dtype), gradient.div_(counted)


@_contrast.register_fake
def _(
    unit: Tensor, labels: Any, others: Any, temperature: Any, chunk_size: Any, per_anchor: Any, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    return unit.new_empty(()), torch.empty_like(unit if with_gradient else unit[:0])


# An operator without a derivative of its own: a second derivative fails loudly instead of being 0.
@torch.library.custom_op("ludwig_losses::contrast_gradient", mutates_args=())
def _contrast_gradient(grad: Tensor, gradient: Tensor) -> Tensor:
    """``grad * gradient``."""
    return grad * gradient


@_contrast_gradient.register_fake
def _(grad: Tensor, gradient: Tensor) -> Tensor:
    return torch.empty_like(gradient)


def save_gradient(ctx: Any, inputs: Any, output: Any) -> None:
    """Keep the derivative that an operator has computed along with its value."""
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def multiply_gradient(ctx: Any, grad_loss: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    """The backward pass of an operator whose first argument alone has a derivative."""
    gradient = None if grad_loss is None else _contrast_gradient(grad_loss, *ctx.saved_tensors)
    return gradient, *[None] * (len(ctx.needs_input_grad) - 1)


_contrast.register_autograd(multiply_gradient, setup_context=save_gradient)
