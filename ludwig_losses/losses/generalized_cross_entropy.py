from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, by_probability
from ludwig_losses.declare.config import TOP_K, ignore_index
from ludwig_losses.declare.schema import BINARY, CATEGORY, IMAGE, SEQUENCE, TEXT, field, loss_type
from ludwig_losses.functional import generalized_cross_entropy_loss
from ludwig_losses.functional._numerics import class_logits
from ludwig_losses.host.registration import register_loss
from ludwig_losses.losses._tokens import TokenLoss, TokenLossConfig, tokens_as_rows
from ludwig_losses.parameters import Number


class GeneralizedCrossEntropyConfig(TokenLossConfig):
    """Between cross-entropy and the mean absolute error, for noisy labels (Zhang & Sabuncu, NeurIPS 2018)."""

    type: str = loss_type("generalized_cross_entropy")

    advice: ClassVar[Advice | None] = Advice(
        need="noisy labels, with one parameter to tune, also in masks and tokens",
        helps="many labels are wrong, and the predictions should stay those of a softmax",
        hinders=(
            "labels are right (the probabilities become worse), or there are many classes: with q near 1 it learns "
            "slowly, or not at all"
        ),
        start="{type: generalized_cross_entropy, q: 0.7}",
        watch=("accuracy",),
        page="generalized_cross_entropy",
        evidence="many_tables",
        found="helped, 12 tables, by accuracy",
    )

    q: float = field(
        Number(
            default=0.7,
            above=0,
            maximum=1,
            description="From near 0 (cross-entropy) to 1 (1 - p). The loss of an example is at most 1 / q.",
        )
    )

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        ignore_index()
    )

    top_k: float = field(TOP_K)  # type: ignore[misc]  # Here it is a parameter.

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        losses = {f"q {q:g}": partial(generalized_cross_entropy_loss, q=q) for q in (0.3, 0.7, 1.0)}
        return {"generalized_cross_entropy": by_probability(losses)}


@register_loss(GeneralizedCrossEntropyConfig, features=[BINARY, CATEGORY, IMAGE, SEQUENCE, TEXT])
class GeneralizedCrossEntropy(TokenLoss):
    """Mean generalized cross-entropy; a binary feature's logit ``z`` is the pair ``[0, z]``."""

    def __init__(self, config: GeneralizedCrossEntropyConfig) -> None:
        super().__init__(config)
        self.options: dict[str, Any] = {"q": config.q, "ignore_index": config.ignore_index}

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        loss = generalized_cross_entropy_loss(*tokens_as_rows(class_logits(preds), target), **self.options)
        return self.mean(loss.view(target.shape), target, self.counted(target))
