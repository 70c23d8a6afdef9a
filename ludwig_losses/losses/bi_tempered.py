from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, by_lead
from ludwig_losses.declare.config import LABEL_SMOOTHING, TOP_K, ignore_index
from ludwig_losses.declare.labels import Kept, LabelsLoss, are_labels
from ludwig_losses.declare.probabilities import Probabilities
from ludwig_losses.declare.schema import BINARY, CATEGORY, SEQUENCE, SET, TEXT, field, loss_type
from ludwig_losses.functional import bi_tempered_logistic_loss, tempered_softmax
from ludwig_losses.functional._numerics import class_logits
from ludwig_losses.functional.bi_tempered import loss_and_probabilities
from ludwig_losses.host.registration import register_loss
from ludwig_losses.losses._tokens import TokenLoss, TokenLossConfig
from ludwig_losses.parameters import Number


class TemperedSoftmaxCrossEntropyConfig(TokenLossConfig):
    """Bi-tempered logistic loss: cross-entropy that is robust to noisy labels (Amid et al., NeurIPS 2019)."""

    type: str = loss_type("tempered_softmax_cross_entropy")

    advice: ClassVar[Advice | None] = Advice(
        need="noisy labels",
        helps="20 % of the labels or more are wrong at random, most of all where training lasts long",
        hinders="labels are right: the measured setting then made the probabilities worse",
        start="{type: tempered_softmax_cross_entropy, t1: 0.2, t2: 2.0}",
        watch=("accuracy",),
        page="bi_tempered",
        evidence="many_tables",
        found="helped, 12 tables, by accuracy",
    )

    t1: float = field(
        Number(
            default=1.0,
            minimum=0,
            worth_trying=(0.5, 0.8),
            maximum=1,
            description="Temperature of the logarithm: below 1 the loss of an example is bounded by 1 / (1 - t1).",
        )
    )

    t2: float = field(
        Number(
            default=1.0,
            minimum=1,
            worth_trying=(1.2, 2.0),
            maximum=10,
            description="Temperature of the softmax: above 1 the probabilities have heavy tails.",
        )
    )

    label_smoothing: float = field(LABEL_SMOOTHING)

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        ignore_index()
    )

    top_k: float = field(TOP_K)  # type: ignore[misc]  # Here it is a parameter.

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        pairs = ((0.8, 1.0), (0.8, 1.2), (0.5, 1.5), (0.2, 2.0))
        losses = {f"t1 {t1:g}, t2 {t2:g}": partial(bi_tempered_logistic_loss, t1=t1, t2=t2) for t1, t2 in pairs}
        return {"bi_tempered": by_lead(losses, reach=8)}


@register_loss(TemperedSoftmaxCrossEntropyConfig, features=[BINARY, CATEGORY, SEQUENCE, SET, TEXT])
class TemperedSoftmaxCrossEntropy(TokenLoss, LabelsLoss):
    """Mean bi-tempered logistic loss; the logit ``z`` of a binary feature, or of a label, is the pair ``[0, z]``."""

    def __init__(self, config: TemperedSoftmaxCrossEntropyConfig) -> None:
        super().__init__(config)
        self.options: dict[str, Any] = {
            name: getattr(config, name) for name in ("t1", "t2", "label_smoothing", "ignore_index")
        }
        self.probabilities = TemperedProbabilities(config.t2)
        self.label_probabilities = TemperedLabels(config.t2)

    @classmethod
    def projects(cls, config: TemperedSoftmaxCrossEntropyConfig) -> bool:
        return config.t2 != 1

    @property
    def projection(self) -> nn.Module:
        return self.probabilities

    @property
    def label_projection(self) -> nn.Module:
        return self.label_probabilities

    def of_labels(self, logits: Tensor, target: Tensor, kept: Kept) -> Tensor:
        options = self.options | {"ignore_index": None}
        return loss_and_probabilities(pairs_of_labels(logits), target.long(), **options)[0]

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        if are_labels(preds, target):
            return self.mean_of_labels(preds, target)
        loss, p = loss_and_probabilities(class_logits(preds), target, **self.options)
        if preds.dim() > 1:
            self.probabilities.remember(preds, p)
        return self.mean(loss, target, self.counted(target))


class TemperedProbabilities(Probabilities):
    """Tempered softmax, or the probability of True of a binary feature."""

    def __init__(self, t: float) -> None:
        super().__init__(power=t)
        self.t = t

    def project(self, logits: Tensor) -> Tensor:
        p = tempered_softmax(class_logits(logits), self.t)
        return p[:, 1] if logits.dim() == 1 else p


class TemperedLabels(nn.Module):
    """The tempered probability of each label; TorchScript can compile it."""

    def __init__(self, t: float) -> None:
        super().__init__()
        self.t = t

    def forward(self, logits: Tensor) -> Tensor:
        return tempered_softmax(pairs_of_labels(logits), self.t)[..., 1]


def pairs_of_labels(logits: Tensor) -> Tensor:
    """Return ``[0, z]`` for the logit of each label, ``[B, L, 2]``."""
    return torch.stack([torch.zeros_like(logits), logits], dim=-1)
