"""What every loss of the pack is made of."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ludwig_losses.host.schema import (
    CATEGORY,
    SEQUENCE,
    TEXT,
    BaseLossConfig,
    LogitsInputsMixin,
    config_class,
    field,
    parameters_of,
)
from ludwig_losses.parameters import Feature, Number, PerClass


@config_class
class LossConfig(BaseLossConfig):
    """Base of all schemas: the weight of the loss, and what the pack asks of a loss beside its parameters."""

    weight: float = field(
        Number(default=1.0, minimum=0, description="Weight of this feature's loss in the sum over output features.")
    )

    # Whether the loss compares rows 2i and 2i + 1 of a batch, which therefore have to stay together; and what to
    # write in the configuration where they cannot.
    keeps_pairs: ClassVar[bool] = False
    instead_of_pairs: ClassVar[str] = "choose another loss"
    # Whether the feature's other metrics say nothing about a model that was trained with the loss.
    validate_on_loss: ClassVar[bool] = False

    def resolve(self, feature: Feature) -> None:
        """Replace class names by class indices and check the number of classes, once preprocessing knows them.

        Raises:
            ValueError: a class name does not exist or is missing, or a list has the wrong length.
        """
        for name, parameter in parameters_of(type(self)).items():
            if isinstance(parameter, PerClass):
                setattr(self, name, _per_class_values(name, getattr(self, name), feature))


@config_class
class ClassificationLossConfig(LossConfig):
    """Base of the losses that know one true class per example or token: category, text and sequence need it."""

    class_weights: list[float] | dict[str, float] | None = field(
        PerClass(
            default=None,
            minimum=0,
            features=(CATEGORY, TEXT, SEQUENCE),
            description="Weight of each true class; the mean divides by the sum of the weights.",
        )
    )

    # Ludwig reads these, beside class_weights, from the loss of every category, text and sequence feature.
    class_similarities: ClassVar[Any] = None
    class_similarities_temperature: ClassVar[int] = 0


class Loss(nn.Module, LogitsInputsMixin):
    """Base of all modules: called with a batch's logits and targets, returns one scalar."""

    # The function from logits to probabilities that predictions need, where it is not Ludwig's own.
    projection: ClassVar[Callable[[Tensor], Tensor] | None] = None

    def __init__(self, config: LossConfig) -> None:
        super().__init__()

    def keep(self, name: str, values: list[float] | None) -> None:
        """Keep numbers as a tensor that follows the module's device but is not saved with the model."""
        self.register_buffer(
            name, None if values is None else torch.tensor(values, dtype=torch.float32), persistent=False
        )


def _per_class_values(name: str, value: Any, feature: Feature) -> Any:
    where = f"output feature '{feature.name}': loss.{name} = {value}"
    count = feature.num_classes
    if isinstance(value, dict):
        if feature.classes is None:
            raise ValueError(
                f"{where} names classes, but the classes of this feature have no names. "
                f"Write a list with one number for each of the {count} classes."
            )
        value = {feature.synonyms.get(key, key): number for key, number in value.items()}
        unknown = [key for key in value if key not in feature.classes]
        missing = [key for key in feature.classes if key not in value and key not in feature.symbols]
        if unknown or missing:
            problems = [f"{text} {names}" for text, names in (("unknown", unknown), ("missing", missing)) if names]
            hint = (
                " YAML reads yes, no, on and off as booleans: quote such names."
                if {"True", "False"} & {*unknown}
                else ""
            )
            raise ValueError(
                f"{where} does not fit the classes: {', '.join(problems)}. The classes are {feature.classes}.{hint}"
            )
        return [value.get(key, 1.0) for key in feature.classes]
    if isinstance(value, (list, tuple)) and len(value) != count:
        order = "" if feature.classes is None else f", in this order: {feature.classes}"
        raise ValueError(f"{where} has {len(value)} numbers, but there are {count} classes{order}.")
    return value
