from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ludwig_losses.advice import Advice
from ludwig_losses.curves import CROSS_ENTROPY, Panel, loss_and_gradient
from ludwig_losses.declare.config import ClassificationLossConfig, ignore_index
from ludwig_losses.declare.labels import Kept, LabelsLoss, are_labels
from ludwig_losses.declare.schema import BINARY, SET, field, loss_type
from ludwig_losses.functional import asymmetric_loss
from ludwig_losses.host.registration import register_loss
from ludwig_losses.parameters import Number


class AsymmetricLossConfig(ClassificationLossConfig):
    """Focal loss with a weaker focus on positives, for several labels a row (Ridnik et al., ICCV 2021)."""

    type: str = loss_type("asymmetric_loss")

    advice: ClassVar[Advice | None] = Advice(
        question="labels",
        need="several labels a row, most of them absent from most rows",
        helps="each row has few of many labels, so that negatives dominate the loss, or some labels are missing",
        hinders="rows have about half of the labels, or probabilities have to be calibrated",
        start="{type: asymmetric_loss}",
        watch=("macro_f1", "average_precision"),
        page="asymmetric",
        evidence="several_labels",
        found="no difference, 2 data sets, by average_precision",
    )

    gamma_pos: float = field(
        Number(
            default=1.0,
            minimum=0,
            maximum=20,
            description="Focusing parameter of positives: the higher, the less easy ones contribute.",
        )
    )

    gamma_neg: float = field(
        Number(
            default=4.0,
            minimum=0,
            maximum=20,
            description="Focusing parameter of negatives; mostly larger than that of positives.",
        )
    )

    clip: float = field(
        Number(
            default=0.05,
            minimum=0,
            maximum=0.9,
            description="A negative whose probability is at most this costs nothing.",
        )
    )

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        ignore_index(features=(SET,))
    )

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        p = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
        kinds: dict[str, dict[str, Any]] = {
            f"{CROSS_ENTROPY}, negative": {"gamma_neg": 0, "clip": 0},
            "negative, gamma 4": {"clip": 0},
            "negative, gamma 4, clip 0.05": {},
        }
        losses: dict[str, Any] = {
            name: partial(asymmetric_loss, target=torch.zeros(len(p)), **options) for name, options in kinds.items()
        }
        losses["positive, gamma 1"] = partial(asymmetric_loss, target=torch.ones(len(p)))
        return {"asymmetric": loss_and_gradient("probability of the label", losses, p.logit(), p)}


@register_loss(AsymmetricLossConfig, features=[SET, BINARY])
class AsymmetricLoss(LabelsLoss):
    """Mean asymmetric loss of the labels, or of the one logit of a binary feature."""

    def __init__(self, config: AsymmetricLossConfig) -> None:
        super().__init__(config)
        self.options = {name: getattr(config, name) for name in ("gamma_pos", "gamma_neg", "clip")}

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        if are_labels(preds, target):
            return self.mean_of_labels(preds, target)
        return self.mean(asymmetric_loss(preds, target, **self.options), target, self.counted(target))

    def of_labels(self, logits: Tensor, target: Tensor, kept: Kept) -> Tensor:
        return asymmetric_loss(logits, target, **self.options)
