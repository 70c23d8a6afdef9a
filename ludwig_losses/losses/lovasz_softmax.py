from typing import Any, ClassVar, cast

from torch import Tensor

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, by_size
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import IMAGE, field, loss_type
from ludwig_losses.functional import dice_loss, lovasz_softmax_loss
from ludwig_losses.functional._numerics import count_images
from ludwig_losses.functional.lovasz import chosen_classes
from ludwig_losses.host.registration import register_loss
from ludwig_losses.parameters import Classes, Feature, Flag


class LovaszSoftmaxLossConfig(LossConfig):
    """Optimises IoU through its convex extension, over the classes of the batch (Berman et al., CVPR 2018)."""

    type: str = loss_type("lovasz_softmax_loss")

    advice: ClassVar[Advice | None] = Advice(
        question="masks",
        need="masks evaluated by their mean IoU",
        helps="the objective is the mean IoU over all classes, infrequent ones included",
        hinders=(
            "training from scratch makes no progress: begin with cross-entropy, or add it as a term of compound_loss"
        ),
        start="{type: lovasz_softmax_loss}",
        watch=("mean_iou", "iou_1"),
        page="lovasz_softmax",
        evidence="small_objects",
        found="helped, 1 data set",
    )

    classes: str | list[str] | list[int] = field(
        Classes(
            default="present",
            options=("present", "all"),
            description=(
                "The classes that are averaged: those present in the batch, all, or those of a list. An absent class "
                "costs its largest probability."
            ),
        )
    )

    per_image: bool = field(
        Flag(
            default=False,
            worth_trying=(True,),
            description="Whether the loss is computed per image and averaged, or over the whole batch.",
        )
    )

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        Classes(default=None, description="The class, or classes, whose pixels are ignored.")
    )

    @classmethod
    def name(cls) -> str:
        return "Lovász-Softmax Loss"

    def resolve(self, feature: Feature) -> None:
        super().resolve(feature)
        if feature.num_classes:
            try:
                chosen_classes(cast("str | list[int]", self.classes), self.indices("ignore_index"), feature.num_classes)
            except ValueError as error:
                raise ValueError(f"{feature.place()}: {error}") from None

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        return {"lovasz_softmax": by_size({"Dice": dice_loss, "Lovász-Softmax": lovasz_softmax_loss})}


@register_loss(LovaszSoftmaxLossConfig, features=[IMAGE], aliases=["lovasz_softmax"])
class LovaszSoftmaxLoss(Loss):
    """Lovász-Softmax loss over the classes present in the batch, or those chosen."""

    of_batch_alone = True
    of_classes = True

    def __init__(self, config: LovaszSoftmaxLossConfig) -> None:
        super().__init__(config)
        self.options: dict[str, Any] = {
            "classes": config.classes,
            "per_image": config.per_image,
            "ignore_index": config.ignore_index,
        }

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return lovasz_softmax_loss(preds, target, **self.options)

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        return count_images(target, self.options["ignore_index"])
