import logging

from torch import Tensor

from ludwig_losses.functional import sigmoid_focal_loss, softmax_focal_loss
from ludwig_losses.host.registry import register_loss
from ludwig_losses.host.schema import BINARY, CATEGORY, IMAGE, field, loss_type, parameters_of
from ludwig_losses.losses.base import ClassificationLoss, ClassificationLossConfig
from ludwig_losses.parameters import Feature, Number, PerClass

logger = logging.getLogger(__name__)


class FocalLossConfig(ClassificationLossConfig):
    """Cross-entropy that plays down the examples a model already gets right (Lin et al., ICCV 2017)."""

    type: str = loss_type("focal_loss")

    alpha: float | list[float] | dict[str, float] | None = field(
        PerClass(
            default=0.25,
            minimum=0,
            maximum=1,
            single=True,
            description=(
                "Balance of the classes. A number weighs class 1 (the positive class) with alpha and class 0 with "
                "1 - alpha; with more than two classes one number has no meaning and is not applied. A list or "
                "dict weighs every class. null switches the balance off."
            ),
        )
    )

    gamma: float = field(
        Number(
            default=2.0,
            minimum=0,
            description="Focusing parameter: the higher, the less easy examples count. 0 gives cross-entropy.",
        )
    )

    @property
    def single_alpha(self) -> bool:
        """Whether one number stands for two classes."""
        return self.alpha is not None and not isinstance(self.alpha, (list, tuple, dict))

    def resolve(self, feature: Feature) -> None:
        super().resolve(feature)
        if self.single_alpha and feature.num_classes is not None and feature.num_classes > 2:
            # The default is worth a word, a number that the user chose a warning.
            default = self.alpha == parameters_of(type(self))["alpha"].default
            logger.log(
                logging.INFO if default else logging.WARNING,
                f"output feature '{feature.name}': loss.alpha = {self.alpha:g} is not applied, since one number cannot "
                f"balance {feature.num_classes} classes. Write one number per class, or null.",
            )


@register_loss(FocalLossConfig, features=[BINARY, CATEGORY, IMAGE], aliases=["focal"])
class FocalLoss(ClassificationLoss):
    """Mean focal loss: sigmoid for one logit per example, softmax for one per class."""

    def __init__(self, config: FocalLossConfig) -> None:
        super().__init__(config)
        self.gamma = config.gamma
        self.two_classes_only = config.single_alpha
        self.keep("alpha", [1 - config.alpha, config.alpha] if config.single_alpha else config.alpha)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        if preds.shape == target.shape:
            return self.mean(sigmoid_focal_loss(preds, target, alpha=self.alpha, gamma=self.gamma), target)
        alpha = None if self.two_classes_only and preds.shape[1] != 2 else self.alpha
        return self.mean(softmax_focal_loss(preds, target, alpha=alpha, gamma=self.gamma), target)
