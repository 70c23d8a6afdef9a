from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, by_probability
from ludwig_losses.declare.config import LABEL_SMOOTHING, TOP_K, ignore_index
from ludwig_losses.declare.labels import Kept, LabelsLoss, are_labels
from ludwig_losses.declare.schema import CATEGORY, IMAGE, SEQUENCE, SET, TEXT, field, loss_type
from ludwig_losses.functional import poly_loss, sigmoid_poly_loss
from ludwig_losses.host.registration import register_loss
from ludwig_losses.losses._tokens import TokenLoss, TokenLossConfig, tokens_as_rows
from ludwig_losses.parameters import Coefficients, Number


class PolyLossConfig(TokenLossConfig):
    """Cross-entropy plus a polynomial in the miss probability 1 - p (Leng et al., ICLR 2022)."""

    type: str = loss_type("poly_loss")

    advice: ClassVar[Advice | None] = Advice(
        need="cross-entropy works, and one coefficient may improve it",
        helps="you can measure whether it does: no gain was found here, with the default epsilon or with a chosen one",
        hinders=(
            "you have a specific problem (class imbalance, noisy labels or unknown classes), or the probabilities have "
            "to be calibrated"
        ),
        start="{type: poly_loss, epsilon: 1.0}",
        watch=("accuracy",),
        page="poly",
        evidence="many_tables",
        found="no difference, 23 tables, by average_precision",
    )

    epsilon: float | list[float] = field(
        Coefficients(
            default=1.0,
            worth_trying=(-1.0, 0.5, 2.0),
            minimum=-1,
            description=(
                "Coefficient of 1 - p for the true class; a list for those of (1 - p), (1 - p)**2, ... (Poly-N). "
                "0 gives cross-entropy; try -1 to 2."
            ),
        )
    )

    gamma: float = field(
        Number(
            default=0.0,
            minimum=0,
            maximum=20,
            description="Focusing parameter: multiplies the loss by (1 - p)**gamma (poly-focal).",
        )
    )

    label_smoothing: float = field(LABEL_SMOOTHING)

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        ignore_index()
    )

    top_k: float = field(TOP_K)  # type: ignore[misc]  # Here it is a parameter.

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        return {"poly": by_probability({f"epsilon {e:g}": partial(poly_loss, epsilon=e) for e in (-1, 1, 2)})}


@register_loss(PolyLossConfig, features=[CATEGORY, IMAGE, SEQUENCE, SET, TEXT], aliases=["poly"])
class PolyLoss(TokenLoss, LabelsLoss):
    """Mean Poly-N loss; class weights multiply the whole loss."""

    def __init__(self, config: PolyLossConfig) -> None:
        super().__init__(config)
        self.options: dict[str, Any] = {
            "epsilon": config.epsilon,
            "gamma": config.gamma,
            "label_smoothing": config.label_smoothing,
            "ignore_index": config.ignore_index,
        }

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        if are_labels(preds, target):
            return self.mean_of_labels(preds, target)
        loss = poly_loss(*tokens_as_rows(preds, target), **self.options)
        return self.mean(loss.view(target.shape), target, self.counted(target))

    def of_labels(self, logits: Tensor, target: Tensor, kept: Kept) -> Tensor:
        options = {name: value for name, value in self.options.items() if name != "ignore_index"}
        return sigmoid_poly_loss(logits, target, **options)
