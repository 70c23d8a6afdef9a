from torch import Tensor

from ludwig_losses.functional import poly_loss
from ludwig_losses.host.registry import register_loss
from ludwig_losses.host.schema import CATEGORY, field, loss_type
from ludwig_losses.losses.base import ClassificationLoss, ClassificationLossConfig
from ludwig_losses.parameters import Number


class PolyLossConfig(ClassificationLossConfig):
    """Cross-entropy plus a term in the miss probability 1 - p (Leng et al., ICLR 2022)."""

    type: str = loss_type("poly_loss")

    epsilon: float = field(
        Number(
            default=1.0,
            minimum=-1,
            description="Coefficient of 1 - p for the true class. 0 gives cross-entropy; try -1 to 2.",
        )
    )


@register_loss(PolyLossConfig, features=[CATEGORY], aliases=["poly"])
class PolyLoss(ClassificationLoss):
    """Mean Poly-1 loss; class weights multiply the whole loss."""

    def __init__(self, config: PolyLossConfig) -> None:
        super().__init__(config)
        self.epsilon = config.epsilon

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return self.mean(poly_loss(preds, target, epsilon=self.epsilon), target)
