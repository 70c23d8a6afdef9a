from torch import Tensor

from ludwig_losses.functional import poly_loss
from ludwig_losses.functional._numerics import weighted_mean
from ludwig_losses.host.registry import register_loss
from ludwig_losses.host.schema import CATEGORY, config_class, field, loss_type
from ludwig_losses.losses.base import ClassificationLossConfig, Loss
from ludwig_losses.parameters import Number


@config_class
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

    @classmethod
    def name(cls) -> str:
        return "Poly Loss"


@register_loss(PolyLossConfig, features=[CATEGORY], aliases=["poly"])
class PolyLoss(Loss):
    """Mean Poly-1 loss; class weights multiply the whole loss."""

    def __init__(self, config: PolyLossConfig) -> None:
        super().__init__(config)
        self.epsilon = config.epsilon
        self.keep("class_weights", config.class_weights)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        loss = poly_loss(preds, target, epsilon=self.epsilon)
        return weighted_mean(loss, None if self.class_weights is None else self.class_weights[target.long()])
