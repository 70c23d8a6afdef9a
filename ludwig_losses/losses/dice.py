from torch import Tensor

from ludwig_losses.functional import dice_loss
from ludwig_losses.host.registry import register_loss
from ludwig_losses.host.schema import IMAGE, field, loss_type
from ludwig_losses.losses.base import Loss, LossConfig
from ludwig_losses.parameters import Number


class DiceLossConfig(LossConfig):
    """One minus the overlap of predicted and true regions, per image and class (Milletari et al., 3DV 2016)."""

    type: str = loss_type("dice_loss")

    smooth: float = field(
        Number(
            default=1.0,
            minimum=0,
            description="Added to numerator and denominator, so that small and empty regions do not jump.",
        )
    )


@register_loss(DiceLossConfig, features=[IMAGE], aliases=["dice"])
class DiceLoss(Loss):
    """Soft Dice loss, averaged over images and classes."""

    def __init__(self, config: DiceLossConfig) -> None:
        super().__init__(config)
        self.smooth = config.smooth

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return dice_loss(preds, target, smooth=self.smooth)
