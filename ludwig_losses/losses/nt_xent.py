from typing import ClassVar

import torch
from torch import Tensor

from ludwig_losses.functional import nt_xent_loss
from ludwig_losses.functional._gather import gather_consecutive_pairs, gather_rows
from ludwig_losses.host.distributed import trains_on_all_ranks
from ludwig_losses.host.registry import register_loss
from ludwig_losses.host.schema import VECTOR, field, loss_type
from ludwig_losses.losses.base import Loss, LossConfig
from ludwig_losses.parameters import Choice, Count, Number


class NTXentLossConfig(LossConfig):
    """Contrastive loss that draws the two views of an example together, all others apart (Chen et al., ICML 2020)."""

    type: str = loss_type("nt_xent_loss")

    temperature: float = field(
        Number(default=0.07, above=0, description="Scale of the cosine similarities; the lower, the sharper.")
    )

    pairing: str = field(
        Choice(
            default="consecutive",
            options=("consecutive", "target"),
            description=(
                "What makes two rows positives: consecutive pairs rows 1 and 2, 3 and 4, ... of the data (kept "
                "together through splitting and shuffling); target pairs rows with the same target value, in any order."
            ),
        )
    )

    chunk_size: int | None = field(
        Count(
            default=None,
            description=(
                "How many rows are compared with the whole batch at a time; the fewer, the less memory. The result is "
                "the same; null chooses a number that fits in a few times 16 MB."
            ),
        )
    )

    validate_on_loss: ClassVar[bool] = True
    instead_of_pairs: ClassVar[str] = "pair rows by equal targets with loss.pairing: target"

    @classmethod
    def name(cls) -> str:
        return "NT-Xent Loss"

    @property
    def keeps_pairs(self) -> bool:
        return self.pairing == "consecutive"


@register_loss(NTXentLossConfig, features=[VECTOR], aliases=["nt_xent"])
class NTXentLoss(Loss):
    """NT-Xent over the positive pairs of a batch; the target vectors matter only for ``pairing: target``.

    The batch of a data-parallel training is that of all ranks together.
    """

    def __init__(self, config: NTXentLossConfig) -> None:
        super().__init__(config)
        self.temperature = config.temperature
        self.chunk_size = config.chunk_size
        self.by_target = config.pairing == "target"

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        labels = None
        if trains_on_all_ranks(preds):
            if self.by_target:
                target = gather_rows(target)
            else:
                labels = gather_consecutive_pairs(len(preds), preds.device)
            preds = gather_rows(preds)
        if self.by_target:
            labels = torch.unique(target, dim=0, return_inverse=True)[1]
        return nt_xent_loss(preds, labels, temperature=self.temperature, chunk_size=self.chunk_size)
