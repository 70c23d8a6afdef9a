from functools import partial
from typing import ClassVar

from torch import Tensor

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Losses, Panel, by_size
from ludwig_losses.declare.class_names import check_some_weight
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import IMAGE, field, loss_type, parameters_of
from ludwig_losses.functional import dice_loss, softmax_focal_loss
from ludwig_losses.functional._numerics import count_images
from ludwig_losses.functional.dice import check_options, counted_classes, mistake_weights
from ludwig_losses.host.registration import register_loss
from ludwig_losses.parameters import Classes, Feature, Flag, Number, PerClass


class DiceLossConfig(LossConfig):
    """One minus the overlap of predicted and true regions, per image and class (Milletari et al., 3DV 2016)."""

    type: str = loss_type("dice_loss")

    advice: ClassVar[Advice | None] = Advice(
        question="masks",
        need="small objects in masks",
        helps="the object covers few pixels, and the objective is the overlap with it",
        hinders=(
            "many images lack the object and per_image is true: each false pixel in them costs as much as a missed "
            "object"
        ),
        start="{type: dice_loss}",
        watch=("mean_iou", "dice_coefficient", "iou_1"),
        page="dice",
        evidence="small_objects",
        found="helped, 1 data set",
    )

    smooth: float = field(
        Number(
            default=1.0,
            minimum=0,
            description="Added to numerator and denominator: keeps the scores of small and empty regions stable.",
        )
    )

    squared_denominator: bool = field(
        Flag(default=False, description="Squares of the probabilities in the denominator, as in V-Net.")
    )

    include_background: bool = field(
        Flag(default=True, description="Whether class 0 is included. Its logit takes part in the softmax either way.")
    )

    per_image: bool = field(
        Flag(default=True, description="Whether overlaps are computed per image, or over the whole batch.")
    )

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        Classes(
            default=None,
            description="The class, or classes, whose pixels are ignored; the mean over classes excludes them.",
        )
    )

    class_weights: list[float] | dict[str, float] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        PerClass(
            default=None,
            minimum=0,
            weights=True,
            description="Weight of each class; the mean divides by the sum of the weights.",
        )
    )

    jaccard: bool = field(
        Flag(default=False, description="The soft Jaccard index (IoU) instead of the Dice coefficient.")
    )

    tversky_alpha: float = field(
        Number(
            default=0.5,
            minimum=0,
            maximum=10,
            description="Tversky index: weight of false positives. 0.5 and 0.5 are Dice, 1 and 1 Jaccard.",
        )
    )

    tversky_beta: float = field(
        Number(
            default=0.5,
            minimum=0,
            maximum=10,
            description="Tversky index: weight of false negatives; above tversky_alpha it favours recall.",
            worth_trying=(0.7, 1.0),
        )
    )

    focal_tversky_gamma: float = field(
        Number(
            default=1.0,
            minimum=0.1,
            maximum=10,
            description="The loss of a class is raised to the power 1 / gamma (Abraham & Khan, ISBI 2019).",
        )
    )

    log_dice: bool = field(Flag(default=False, description="-log(score) instead of 1 - score."))

    generalized: bool = field(
        Flag(
            default=False,
            description="One score of all classes, weighted by 1 / size**2 each (Sudre et al., DLMIA 2017).",
        )
    )

    def check(self) -> None:
        super().check()
        mistake_weights(self.jaccard, self.tversky_alpha, self.tversky_beta, self.squared_denominator)
        check_options(self.log_dice, self.focal_tversky_gamma, self.generalized, self.class_weights)

    def resolve(self, feature: Feature) -> None:
        super().resolve(feature)
        if feature.num_classes:
            try:
                ignored = self.indices("ignore_index")
                counted = counted_classes(feature.num_classes, self.include_background, ignored)
            except ValueError as error:
                raise ValueError(f"{feature.place()}: {error}") from None
            check_some_weight(self, counted, feature)

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        tversky = partial(dice_loss, tversky_alpha=0.2, tversky_beta=0.8)
        losses: Losses = {"focal": softmax_focal_loss, "Dice": dice_loss, "Tversky, beta 0.8": tversky}
        return {"dice": by_size(losses)}


@register_loss(DiceLossConfig, features=[IMAGE], aliases=["dice"])
class DiceLoss(Loss):
    """Soft Dice loss, or another of its family, averaged over images and classes."""

    of_batch_alone = True
    of_classes = True

    class_weights: Tensor | None

    def __init__(self, config: DiceLossConfig) -> None:
        super().__init__(config)
        self.options = {name: getattr(config, name) for name in parameters_of(type(config)) if name != "weight"}
        self.register_numbers("class_weights", self.options.pop("class_weights"))

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return dice_loss(preds, target, class_weights=self.class_weights, **self.options)

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        return count_images(target, self.options["ignore_index"])
