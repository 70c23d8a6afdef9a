"""What the losses of sequence and text features share: padding is ignored, and each token is a row of logits."""

from torch import Tensor

from ludwig_losses.declare.config import ClassificationLossConfig
from ludwig_losses.declare.loss import ClassificationLoss
from ludwig_losses.declare.schema import SEQUENCE, TEXT, field
from ludwig_losses.parameters import Feature, Index


class TokenLossConfig(ClassificationLossConfig):
    """Base of the losses that are also for the tokens of sequence and text features."""

    padding_index: int | None = field(
        Index(
            default=None,
            features=(TEXT, SEQUENCE),
            description="Index of the padding symbol, which is ignored; null takes it from the vocabulary.",
        )
    )

    def resolve(self, feature: Feature) -> None:
        super().resolve(feature)
        if self.padding_index is None:
            self.padding_index = feature.padding
        elif feature.num_classes is not None and self.padding_index >= feature.num_classes:
            raise ValueError(
                f"{feature.place('padding_index')}: got {self.padding_index}, but the vocabulary has "
                f"only {feature.num_classes} symbols. Write a smaller index, or null."
            )


class TokenLoss(ClassificationLoss):
    """Mean over the tokens of a batch that are neither padding nor ignored, or over the elements of other features."""

    def __init__(self, config: TokenLossConfig) -> None:
        super().__init__(config)
        self.padding_index = config.padding_index

    def counted(self, target: Tensor) -> Tensor | None:
        counted = super().counted(target)
        if self.padding_index is None:
            return counted
        not_padding = target != self.padding_index
        return not_padding if counted is None else not_padding & counted


def tokens_as_rows(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits ``[B * T, V]`` and targets ``[B * T]`` of tokens ``[B, T, V]``; others as they are.

    Only tokens have three dimensions: the logits of categories have two, those of images four.
    """
    return (preds.flatten(0, 1), target.flatten()) if preds.dim() == 3 else (preds, target)
