"""Each loss as a direct transcription of its paper to plain PyTorch: the reference of the values, and a competitor."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    nll = F.cross_entropy(logits, target, reduction="none")
    return ((1 - torch.exp(-nll)) ** gamma * nll).mean()


def binary_focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    nll = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((1 - torch.exp(-nll)) ** gamma * nll).mean()


def poly(logits: Tensor, target: Tensor, epsilon: float = 1.0) -> Tensor:
    nll = F.cross_entropy(logits, target, reduction="none")
    return (nll + epsilon * (1 - torch.exp(-nll))).mean()


def poly_labels(logits: Tensor, target: Tensor, epsilon: float = 1.0) -> Tensor:
    nll = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (nll + epsilon * (1 - torch.exp(-nll))).mean()


def dice(
    logits: Tensor,
    target: Tensor,
    smooth: float = 1.0,
    ignore_index: int | None = None,
    class_weights: Tensor | None = None,
) -> Tensor:
    p = logits.softmax(dim=1).flatten(2)
    counted = None if ignore_index is None else target != ignore_index
    target = target if counted is None else target * counted
    g = F.one_hot(target.flatten(1), logits.shape[1]).movedim(-1, 1).to(p)
    if counted is not None:
        p, g = (x * counted.flatten(1).unsqueeze(1) for x in (p, g))
    loss = 1 - (2 * (p * g).sum(2) + smooth) / (p.sum(2) + g.sum(2) + smooth)
    return loss.mean() if class_weights is None else ((loss * class_weights).sum(1) / class_weights.sum()).mean()


def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    p, labels = logits.softmax(dim=1).movedim(1, 0).flatten(1), target.flatten()
    losses = []
    for c in labels.unique():
        foreground = (labels == c).to(p)
        errors, order = (foreground - p[c]).abs().sort(descending=True)
        hit = foreground[order]
        jaccard = 1 - (hit.sum() - hit.cumsum(0)) / (hit.sum() + (1 - hit).cumsum(0))
        losses.append(errors @ torch.diff(jaccard, prepend=jaccard.new_zeros(1)))
    return torch.stack(losses).mean()


def nt_xent(embeddings: Tensor, _: Tensor | None, temperature: float = 0.07) -> Tensor:
    unit = F.normalize(embeddings)
    similarity = (unit @ unit.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(unit), device=unit.device) ^ 1)


def entmax15(logits: Tensor, target: Tensor) -> Tensor:
    return _fenchel_young(logits, target, 1.5)


def sparsemax(logits: Tensor, target: Tensor) -> Tensor:
    return _fenchel_young(logits, target, 2.0)


def _fenchel_young(z: Tensor, y: Tensor, a: float) -> Tensor:
    """By bisection; the projection is a constant of the gradient, which so comes out as ``p - e_y``."""
    with torch.no_grad():
        x = (a - 1) * (z - z.amax(1, keepdim=True))
        low, high = torch.full_like(x[:, :1], -1), torch.zeros_like(x[:, :1])
        for _ in range(30):
            middle = (low + high) / 2
            left = (x - middle).clamp_min(0).pow(1 / (a - 1)).sum(1, keepdim=True) > 1
            low, high = torch.where(left, middle, low), torch.where(left, high, middle)
        p = (x - low).clamp_min(0).pow(1 / (a - 1))
        p = p / p.sum(1, keepdim=True)
        entropy = (1 - p.pow(a).sum(1)) / (a * (a - 1))
    return ((p * z).sum(1) - z.gather(1, y.unsqueeze(1)).squeeze(1) + entropy).mean()


def bi_tempered(logits: Tensor, target: Tensor, t1: float, t2: float) -> Tensor:
    """With the fixed point iteration of the paper's appendix; autograd goes through it."""
    top = logits.amax(1, keepdim=True)
    scaled = start = logits - top
    for _ in range(30):
        total = _exp_t(scaled, t2).sum(1, keepdim=True)
        scaled = start * total ** (1 - t2)
    normaliser = -_log_t(1 / _exp_t(scaled, t2).sum(1, keepdim=True), t2) + top
    q = _exp_t(logits - normaliser, t2)
    y = F.one_hot(target, logits.shape[1]).to(q)
    terms = y * (_log_t(y + 1e-10, t1) - _log_t(q, t1)) - (y ** (2 - t1) - q ** (2 - t1)) / (2 - t1)
    return terms.sum(1).mean()


def quantile(predictions: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    below = target.unsqueeze(-1) - predictions
    return torch.maximum(levels * below, (levels - 1) * below).mean()


def gaussian(logits: Tensor, target: Tensor, beta: float) -> Tensor:
    """The value of the likelihood with the gradient that ``beta`` gives it."""
    mean, std = logits[..., 0], F.softplus(logits[..., 1]) + 1e-3
    nll = std.log() + ((target - mean) / std) ** 2 / 2 + math.log(2 * math.pi) / 2
    if beta == 0:
        return nll.mean()
    weighted = std.detach() ** (2 * beta) * nll
    return (nll.detach() + weighted - weighted.detach()).mean()


def poisson(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.exp() - target * logits + torch.lgamma(target + 1)).mean()


def tweedie(logits: Tensor, target: Tensor, power: float = 1.5) -> Tensor:
    p = power
    of_mean = torch.exp((2 - p) * logits) / (2 - p) - target * torch.exp((1 - p) * logits) / (1 - p)
    return (of_mean + target ** (2 - p) / ((1 - p) * (2 - p))).mean()


def log_cosh(predictions: Tensor, target: Tensor) -> Tensor:
    u = predictions - target
    return (u + F.softplus(-2 * u) - math.log(2)).mean()


def asymmetric(
    logits: Tensor, target: Tensor, gamma_pos: float = 1, gamma_neg: float = 4, clip: float = 0.05
) -> Tensor:
    p = logits.sigmoid()
    shifted = (p - clip).clamp_min(0)
    of_negative = (1 - target) * shifted**gamma_neg * (1 - shifted).log()
    return -(target * (1 - p) ** gamma_pos * p.log() + of_negative).mean()


def logit_adjusted(logits: Tensor, target: Tensor, priors: Tensor) -> Tensor:
    return F.cross_entropy(logits + priors.log(), target)


def logit_adjusted_labels(logits: Tensor, target: Tensor, priors: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits + priors.logit(), target)


def generalized_cross_entropy(logits: Tensor, target: Tensor, q: float = 0.7) -> Tensor:
    p = logits.softmax(1).gather(1, target.unsqueeze(1))
    return ((1 - p**q) / q).mean()


def top_k_focal(logits: Tensor, target: Tensor, share: float, gamma: float = 2.0) -> Tensor:
    nll = F.cross_entropy(logits, target, reduction="none")
    loss = (1 - torch.exp(-nll)) ** gamma * nll
    return loss.flatten().topk(round(share * loss.numel())).values.mean()


def corn(logits: Tensor, target: Tensor) -> Tensor:
    """Divided by the number of all (element, task) pairs, as in the paper."""
    task, rank = torch.arange(logits.shape[1], device=logits.device), target.unsqueeze(1)
    asked = task <= rank
    return (F.binary_cross_entropy_with_logits(logits, (rank > task).to(logits), reduction="none") * asked).sum() / (
        asked.sum()
    )


def _log_t(u: Tensor, t: float) -> Tensor:
    return (u ** (1 - t) - 1) / (1 - t)


def _exp_t(u: Tensor, t: float) -> Tensor:
    return (1 + (1 - t) * u) ** (1 / (1 - t))
