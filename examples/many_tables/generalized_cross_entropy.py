"""The loss of the guide on custom losses."""

import torch

from ludwig_losses import ClassificationLoss, ClassificationLossConfig, Number, field, loss_type, register_loss


def generalized_cross_entropy(logits: torch.Tensor, target: torch.Tensor, q: float) -> torch.Tensor:
    """Return (1 - p_y**q) / q for each example, with p = softmax(logits)."""
    log_p = logits.float().log_softmax(dim=1).gather(1, target.long().unsqueeze(1)).squeeze(1)
    return -torch.expm1(q * log_p) / q


class GeneralizedCrossEntropyConfig(ClassificationLossConfig):
    """Between cross-entropy and mean absolute error, for noisy labels (Zhang & Sabuncu, NeurIPS 2018)."""

    type: str = loss_type("generalized_cross_entropy")

    q: float = field(
        Number(default=0.7, above=0, maximum=1, description="From near 0 (cross-entropy) to 1 (absolute error).")
    )


@register_loss(GeneralizedCrossEntropyConfig, features=["category"])
class GeneralizedCrossEntropy(ClassificationLoss):
    def __init__(self, config: GeneralizedCrossEntropyConfig) -> None:
        super().__init__(config)
        self.q = config.q

    def forward(self, preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.mean(generalized_cross_entropy(preds, target, self.q), target)
