from torch import Tensor

from ludwig_losses.functional import lovasz_softmax_loss
from ludwig_losses.host.registry import register_loss
from ludwig_losses.host.schema import IMAGE, loss_type
from ludwig_losses.losses.base import Loss, LossConfig


class LovaszSoftmaxLossConfig(LossConfig):
    """Optimises IoU through its convex extension, over the classes of the batch (Berman et al., CVPR 2018)."""

    type: str = loss_type("lovasz_softmax_loss")

    @classmethod
    def name(cls) -> str:
        return "Lovász-Softmax Loss"


@register_loss(LovaszSoftmaxLossConfig, features=[IMAGE], aliases=["lovasz_softmax"])
class LovaszSoftmaxLoss(Loss):
    """Lovász-Softmax loss over the classes present in the batch."""

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return lovasz_softmax_loss(preds, target)
