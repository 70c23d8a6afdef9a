import logging
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, by_probability
from ludwig_losses.declare.config import LABEL_SMOOTHING, TOP_K, ignore_index
from ludwig_losses.declare.labels import Kept, LabelsLoss, are_labels, columns
from ludwig_losses.declare.schema import BINARY, CATEGORY, IMAGE, SEQUENCE, SET, TEXT, field, loss_type
from ludwig_losses.functional import sigmoid_focal_loss, softmax_focal_loss
from ludwig_losses.host.registration import register_loss
from ludwig_losses.losses._tokens import TokenLoss, TokenLossConfig, tokens_as_rows
from ludwig_losses.parameters import Feature, Flag, Number, OptionalNumber, PerClass

logger = logging.getLogger(__name__)


class FocalLossConfig(TokenLossConfig):
    """Cross-entropy that down-weights the examples a model already gets right (Lin et al., ICCV 2017)."""

    type: str = loss_type("focal_loss")

    advice: ClassVar[Advice | None] = Advice(
        need="class imbalance, with many easy examples",
        helps=(
            "most examples are easy, those of the minority class get lost among them, and recall matters more than "
            "precision"
        ),
        hinders=(
            "labels are noisy (it concentrates on what the model gets wrong), classes are balanced, or the "
            "probabilities have to be calibrated and cross-entropy is not overconfident"
        ),
        start="{type: focal_loss, alpha: 0.75, gamma: 2.0}",
        watch=("recall", "roc_auc"),
        page="focal",
        evidence="many_tables",
        found="no difference, 23 tables, by average_precision",
    )

    alpha: float | list[float] | dict[str, float] | None = field(
        PerClass(
            default=0.25,
            worth_trying=(0.5, 0.75),
            worth_trying_on=(BINARY,),
            minimum=0,
            maximum=1,
            single=True,
            weights=True,
            description=(
                "Balance of the classes. A number weights class 1 (the positive class) by alpha and class 0 by 1 - "
                "alpha; with more than two classes a single number is ambiguous and is ignored. On a set feature it "
                "weights the rows that have a label by alpha, the others by 1 - alpha. A list or dict weights every "
                "class or label. null switches the balance off."
            ),
        )
    )

    gamma: float = field(
        Number(
            default=2.0,
            worth_trying=(0.5, 1.0, 5.0),
            minimum=0,
            maximum=20,
            description="Focusing parameter: the higher, the less easy examples contribute. 0 gives cross-entropy.",
        )
    )

    label_smoothing: float = field(LABEL_SMOOTHING)

    reduced_threshold: float | None = field(
        OptionalNumber(
            default=None,
            above=0,
            maximum=1,
            description=(
                "Reduced focal loss: while the probability p of the true class is below the threshold the factor is 1, "
                "from there on ((1 - p) / threshold)**gamma; try 0.5. null gives focal loss."
            ),
        )
    )

    normalize: bool = field(
        Flag(
            default=False,
            features=(BINARY, CATEGORY, IMAGE),
            description=(
                "Divide by the number of foreground elements (all but class 0; at least 1), as RetinaNet does, "
                "instead of by the number of elements or the sum of their class weights."
            ),
        )
    )

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        ignore_index()
    )

    top_k: float = field(TOP_K)  # type: ignore[misc]  # Here it is a parameter.

    def check(self) -> None:
        super().check()
        if self.normalize and self.top_k < 1:
            raise ValueError(
                f"normalize: true divides by the foreground, top_k: {self.top_k:g} by the hardest elements. "
                "Leave out one of them."
            )

    @property
    def single_alpha(self) -> bool:
        """Whether one number stands for two classes."""
        return self.alpha is not None and not isinstance(self.alpha, (list, tuple, dict))

    def resolve(self, feature: Feature) -> None:
        super().resolve(feature)
        several = feature.num_classes is not None and feature.num_classes > 2 and not feature.of_labels
        if self.single_alpha and several:
            # A user who wrote the number expects it to be applied; the default is nobody's choice.
            logger.log(
                logging.INFO if self.is_default("alpha") else logging.WARNING,
                f"{feature.place('alpha')}: {self.alpha:g} is not applied, since one number cannot "
                f"balance {feature.num_classes} classes. Write one number per class, or null.",
            )

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        return {"focal": by_probability({f"gamma {g:g}": partial(softmax_focal_loss, gamma=g) for g in (0.5, 1, 2, 5)})}


@register_loss(FocalLossConfig, features=[BINARY, CATEGORY, IMAGE, SEQUENCE, SET, TEXT], aliases=["focal"])
class FocalLoss(TokenLoss, LabelsLoss):
    """Mean focal loss: sigmoid for one logit per example or label, softmax for one per class."""

    alpha: Tensor | None

    def __init__(self, config: FocalLossConfig) -> None:
        super().__init__(config)
        self.normalize = config.normalize
        self.options: dict[str, Any] = {
            "gamma": config.gamma,
            "label_smoothing": config.label_smoothing,
            "reduced_threshold": config.reduced_threshold,
            "ignore_index": config.ignore_index,
        }
        self.two_classes_only = config.single_alpha
        alpha: Any = config.alpha
        self.register_numbers("alpha", [1 - alpha, alpha] if config.single_alpha else alpha)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        if are_labels(preds, target):
            return self.mean_of_labels(preds, target)
        if preds.shape == target.shape:
            return self.reduce(sigmoid_focal_loss(preds, target, alpha=self.alpha, **self.options), target)
        logits, classes = tokens_as_rows(preds, target)
        alpha = None if self.two_classes_only and logits.shape[1] != 2 else self.alpha
        loss = softmax_focal_loss(logits, classes, alpha=alpha, **self.options)
        return self.reduce(loss.view(target.shape), target)

    def reduce(self, loss: Tensor, target: Tensor) -> Tensor:
        """Return the mean, or the weighted sum by the number of foreground elements."""
        counted = self.counted(target)
        if not self.normalize:
            return self.mean(loss, target, counted)
        weight = self.weight(target, counted)
        total = loss.sum() if weight is None else (weight * loss).sum()
        return total / self.divide_by(foreground(target, counted), target).clamp_min(1)

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        if not self.normalize:
            return super().denominator(preds, target)
        if are_labels(preds, target):
            return foreground(columns(target, self.kept(preds)), None)
        return foreground(target, self.counted(target))

    def of_labels(self, logits: Tensor, target: Tensor, kept: Kept) -> Tensor:
        options = self.options | {"ignore_index": None}
        if self.two_classes_only:
            return sigmoid_focal_loss(logits, target, alpha=self.alpha, **options)
        loss = sigmoid_focal_loss(logits, target, **options)
        return loss if self.alpha is None else loss * columns(self.alpha, kept)

    def reduce_labels(self, loss: Tensor, target: Tensor, kept: Kept) -> Tensor:
        if not self.normalize:
            return super().reduce_labels(loss, target, kept)
        weighted = loss if self.class_weights is None else loss * columns(self.class_weights, kept)
        return weighted.sum() / self.divide_by(foreground(columns(target, kept), None), target).clamp_min(1)


def foreground(target: Tensor, counted: Tensor | None) -> Tensor:
    """Return how many of the elements that are not ignored are of another class than 0."""
    return torch.count_nonzero(target if counted is None else (target != 0) & counted)
