"""Bi-tempered logistic loss, Amid et al., NeurIPS 2019, with the normaliser found by bisection."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from oracles import _hostile as hostile
from oracles import _inputs as inputs
from oracles._facts import BESIDE_CLASS_WEIGHTS, CLASS_WEIGHTS, LABEL_SMOOTHING, Declared, Function
from oracles._rows import per_row, smoothed_label


def tempered_softmax(logits: Tensor, t: float = 1.0) -> Tensor:
    rows = logits.reshape(-1, logits.shape[-1])
    return torch.stack([_log_q(z, t).exp() for z in rows]).reshape(logits.shape)


def bi_tempered_logistic_loss(
    logits: Tensor,
    target: Tensor,
    *,
    t1: float = 1.0,
    t2: float = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int | list[int] | None = None,
) -> Tensor:
    """``sum_i y_i (log_t1 y_i - log_t1 q_i) - (y_i**(2 - t1) - q_i**(2 - t1)) / (2 - t1)``, class by class."""

    def log_t1(log_u: Tensor) -> Tensor:
        return log_u if t1 == 1 else (((1 - t1) * log_u).exp() - 1) / (1 - t1)

    def loss(z: Tensor, true_class: int) -> Tensor:
        log_q = _log_q(z, t2)
        total = torch.zeros((), dtype=z.dtype)
        for i, y in enumerate(smoothed_label(z, true_class, label_smoothing)):
            if y > 0:
                total = total + y * (log_t1(torch.tensor(y, dtype=z.dtype).log()) - log_t1(log_q[i]))
            total = total - (y ** (2 - t1) - ((2 - t1) * log_q[i]).exp()) / (2 - t1)
        return total

    return per_row(loss, logits, target, class_dim=-1, ignore_index=ignore_index)


def _log_q(z: Tensor, t: float) -> Tensor:
    """``log exp_t(z - lambda)`` of one row, with ``exp_t(-u) = (1 + (t - 1) u) ** (-1 / (t - 1))``."""
    # From the largest logit on, so that a large constant in all of them does not cost digits.
    x = z - z.detach().max()
    if t == 1:
        return x - x.logsumexp(0)
    kept = x[x > -torch.inf]
    normaliser = _normaliser(kept.detach(), t)
    # By the implicit function theorem the derivative of the normaliser is the escort distribution, q**t normalised.
    escort = (t * _log_exp_t(kept.detach() - normaliser, t)).softmax(0)
    return _log_exp_t(x - normaliser - (escort * (kept - kept.detach())).sum(), t)


def _normaliser(x: Tensor, t: float) -> float:
    """Bisection down to neighbouring numbers: at 0 the largest term alone is 1, at the other end each is <= 1 / C."""
    gaps = x.numpy()
    low, high = 0.0, math.expm1((t - 1) * math.log(len(x))) / (t - 1)
    while low < (middle := (low + high) / 2) < high:
        p = np.exp(-np.log1p((t - 1) * (middle - gaps)) / (t - 1))
        low, high = (middle, high) if p.sum() > 1 else (low, middle)
    return low


def _log_exp_t(u: Tensor, t: float) -> Tensor:
    return -((1 - t) * u).log1p() / (t - 1)


FUNCTIONS = {
    "bi_tempered_logistic_loss": Function(
        cases=inputs.each(
            inputs.class_last,
            inputs.CLASS_LAST,
            {},
            *(
                {"t1": t1, "t2": t2}
                for t1, t2 in ((0.0, 1.0), (0.7, 1.0), (1.0, 1.4), (1.0, 4.0), (0.8, 1.4), (0.2, 4.0))
            ),
            *(
                {"t1": t1, "t2": t2, "label_smoothing": smoothing}
                for t1, t2, smoothing in ((1.0, 1.0, 0.1), (1.0, 1.4, 0.1), (0.8, 1.0, 0.1), (0.2, 4.0, 0.3))
            ),
            {"t1": 0.5, "t2": 1.4, "ignore_index": [0, 2]},
        ),
        hostile=hostile.Subject(
            hostile.CLASS_LAST,
            {
                "t1": lambda d: d.choice((0.0, 0.3, 0.8, 1.0)),
                "t2": lambda d: d.choice((1.0, 1.2, 2.0, 4.0)),
                **hostile.CLASSIFICATION,
            },
        ),
        wrong_shapes=inputs.WRONG_FOR_CLASS_LAST,
        out_of_range=(
            *LABEL_SMOOTHING,
            ({"t1": 1.5}, r"t1 must be a number in \[0, 1\]; got 1.5"),
            ({"t1": float("nan")}, r"t1 must be a number in \[0, 1\]; got nan"),
            ({"t2": 0.5}, r"t2 must be a number in \[1, 10\]; got 0.5"),
        ),
        no_number=({"t1": "1"}, {"t2": None}),
        look_ups=tuple(({"label_smoothing": smoothing}, (6, 4)) for smoothing in (0.0, 0.2)),
        differentiable_once=True,
    ),
    "tempered_softmax": Function(
        hostile=hostile.Subject(hostile.CLASS_LAST, {"t": lambda d: d.choice((1.0, 1.2, 2.0, 4.0))}, has_target=False),
    ),
}

LOSSES = {
    "tempered_softmax_cross_entropy": Declared(
        options={
            "binary": {"t1": 0.5, "t2": 1.5},
            "category": {"t1": 0.8, "t2": 2.0, "label_smoothing": 0.1},
            "sequence": {"t1": 0.5, "t2": 1.5},
            "set": {"t1": 0.5, "t2": 1.5},
            "text": {"t1": 0.8, "t2": 2.0, "label_smoothing": 0.1},
        },
        changes={
            **CLASS_WEIGHTS,
            "ignore_index": "b",
            "top_k": 0.5,
            "padding_index": 1,
            "t1": 0.5,
            "t2": 2.0,
            "label_smoothing": 0.2,
        },
        beside=BESIDE_CLASS_WEIGHTS,
        predicts=(
            *(("category", {"t1": 0.5, "t2": t2}) for t2 in (1.0, 1.5)),
            ("binary", {"t2": 2.0}),
            ("text", {"t2": 2.0}),
            ("set", {"t2": 2.0}),
        ),
        validates_by=(
            ("category", {}, "accuracy"),
            ("category", {"ignore_index": 0}, "loss"),
            ("binary", {}, "roc_auc"),
            ("sequence", {}, "loss"),
            ("set", {}, "jaccard"),
        ),
    ),
}
