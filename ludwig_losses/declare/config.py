"""The schema of a loss: its parameters, checks across them, and what the loss needs of its feature."""

import logging
from typing import Any, ClassVar

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel
from ludwig_losses.declare.class_names import (
    check_some_weight,
    class_indices,
    class_order,
    frequency_weights,
    per_class_values,
)
from ludwig_losses.declare.schema import (
    BINARY,
    CATEGORY,
    IMAGE,
    SEQUENCE,
    SET,
    TEXT,
    DeclaredLossConfig,
    field,
    parameters_of,
)
from ludwig_losses.functional._numerics import ignored_classes
from ludwig_losses.parameters import Classes, Feature, Number, Order, PerClass

logger = logging.getLogger(__name__)

BALANCED, EFFECTIVE_NUMBER = "balanced", "effective_number"

# Parameters that several losses share.
LABEL_SMOOTHING = Number(
    default=0.0, minimum=0, maximum=1, description="Share of each label that is spread evenly over all classes."
)
# On features whose rows, tokens or pixels each have one true class.
TOP_K = Number(
    default=1.0,
    above=0,
    maximum=1,
    features=(BINARY, CATEGORY, IMAGE, SEQUENCE, TEXT),
    description=(
        "The share of the elements of a batch that count, those with the largest weighted loss, at least one (hard "
        "example mining); elements that are ignored are none. 1 takes all."
    ),
)


def ignore_index(features: tuple[str, ...] | None = None) -> Classes:
    """The parameter that names the classes whose elements are ignored."""
    return Classes(
        default=None,
        features=features,
        description="The class, or classes, whose elements are ignored: in the sum, and in what it is divided by.",
    )


def one_class(loss: str, classes: list[str] | None = None) -> str:
    """Return what is wrong with a feature of a single class."""
    named = "" if classes is None else f", {classes[0]!r}"
    return (
        f"there is one class only{named}, whose probability is 1 whatever the model predicts: {loss} has nothing to "
        f"learn. It needs data with two classes or more."
    )


class LossConfig(DeclaredLossConfig):
    """Base of all schemas: the weight of the loss, and what the package asks of a loss beside its parameters.

    The docstring of a subclass is shown to users; its ``type`` is the name of the loss.
    """

    weight: float = field(
        Number(default=1.0, minimum=0, description="Weight of this feature's loss in the sum over output features.")
    )

    # Ludwig reads these from the loss of every category, set, text and sequence feature.
    class_weights: ClassVar[Any] = None
    class_similarities: ClassVar[Any] = None
    class_similarities_temperature: ClassVar[int] = 0

    # The classes whose elements are ignored, where the loss has such a parameter.
    ignore_index: ClassVar[Any] = None
    # The share of the elements that count, where the loss has such a parameter.
    top_k: ClassVar[Any] = 1.0
    # What `ludwig-losses list` and `explain`, and the page on choosing a loss, say.
    advice: ClassVar[Advice | None] = None

    # Whether the loss says what the outputs of the decoder of a number or timeseries feature mean: such a feature
    # predicts what the loss makes of them, and other terms of a sum judge these predictions.
    estimates: ClassVar[bool] = False
    # The normalizations of a number feature that the loss has a meaning with, ``None`` for all, and why not others.
    normalizations: ClassVar[tuple[str | None, ...] | None] = None
    why_not_normalized: ClassVar[str] = ""
    # Whether the loss is told the mean and standard deviation of the training targets before the first step, and
    # whether the targets are counts or amounts, at least 0.
    begins: ClassVar[bool] = False
    of_amounts: ClassVar[bool] = False

    # Whether the loss compares rows 2i and 2i + 1 of a batch, which therefore have to stay together; and what to
    # write in the configuration where they cannot.
    keeps_pairs: ClassVar[bool] = False
    instead_of_pairs: ClassVar[str] = "choose another loss"
    # How many rows a training batch, of all ranks together, and an evaluation batch must have: with fewer, the loss is
    # the same number whatever the model predicts.
    fewest_rows: ClassVar[int] = 1
    fewest_rows_in_evaluation: ClassVar[int] = 1

    @classmethod
    def name(cls) -> str:
        """The name of the loss in words."""
        return cls.type.replace("_", " ").title()

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        """The figures of the page, each under the name of its file; `explain --plot` draws the first one."""
        return {}

    @property
    def outputs(self) -> int | None:
        """How many outputs the decoder has for each target; ``None`` leaves it as Ludwig makes it."""
        return None

    @property
    def columns(self) -> list[str]:
        """The further columns of the predictions of a number or timeseries feature, values of the target in ascending
        order."""
        return []

    @property
    def spreads(self) -> list[str]:
        """The further columns that are distances of two values of the target, such as a standard deviation."""
        return []

    @property
    def needs_positive(self) -> bool:
        """Whether no target of a loss of amounts may be 0."""
        return False

    @property
    def why_alone(self) -> str:
        """Why no other term of a sum can judge the predictions; empty where they can."""
        return ""

    @property
    def calibrates(self) -> bool:
        """Whether predictions are calibrated by the validation rows."""
        return False

    def validates_on_loss(self, feature_type: str) -> bool:
        """Whether best model and early stopping follow the loss, where the configuration says nothing: the default
        metric of such a feature does not judge what this loss trains."""
        return False

    @property
    def ignored_classes(self) -> list[int]:
        """Indices of the classes that the loss ignores, once they are resolved; metrics ignore them, too."""
        return list(ignored_classes(self.ignore_index))

    def asks_for_counts(self, feature_type: str) -> bool:
        """Whether the loss has to know how many rows have each class of a feature of which Ludwig does not count them,
        a binary or a set feature."""
        return False

    @property
    def names_of_classes(self) -> list[str] | None:
        """The names of the classes by their indices, once preprocessing knows them."""
        return vars(self).get("_named")

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters, as Ludwig saves them: not the names of the classes, which the data has."""
        return {name: value for name, value in super().to_dict().items() if name != "_named"}

    def indices(self, name: str) -> list[int] | None:
        """The indices of the classes that a parameter names, once they are resolved."""
        return getattr(self, name)

    def is_default(self, name: str) -> bool:
        """Whether a parameter has its default value."""
        parameter = parameters_of(type(self))[name]
        return parameter is not None and getattr(self, name) == parameter.default

    def check(self) -> None:
        """Check combinations of parameters.

        Raises:
            ValueError: naming the parameters, their values and what to write instead.
        """

    def resolve(self, feature: Feature) -> None:
        """Replace class names by class indices and check the number of classes, once preprocessing knows them.

        Raises:
            ValueError: there is one class only, a class name or index does not exist, a name is missing, or a list has
                the wrong length.
        """
        if feature.num_classes == 1:
            raise ValueError(f"{feature.place()}: {one_class(self.type, feature.classes)}")
        object.__setattr__(self, "_named", feature.classes)
        # Classes first: an order may leave out those that are ignored.
        parameters = parameters_of(type(self)).items()
        for name, parameter in sorted(parameters, key=lambda each: not isinstance(each[1], Classes)):
            value = getattr(self, name)
            if isinstance(parameter, PerClass) and isinstance(value, str):
                setattr(self, name, self.weights_by_frequency(f"{feature.place(name)}: {value}", value, feature))
            elif isinstance(parameter, PerClass):
                setattr(self, name, per_class_values(name, value, feature))
            elif isinstance(parameter, Order):
                setattr(self, name, class_order(name, value, feature, self.ignored_classes))
            elif isinstance(parameter, Classes) and not (isinstance(value, str) and value in parameter.options):
                setattr(self, name, class_indices(name, value, feature))

    def weights_by_frequency(self, what: str, word: str, feature: Feature) -> list[float]:
        """Return the class weights that ``balanced`` or ``effective_number`` stands for.

        Raises:
            ValueError: how often the classes occur is not known.
        """
        raise ValueError(f"{what} has no meaning for {self.type}.")


class ClassificationLossConfig(LossConfig):
    """Base of the losses that know one true class per example or token."""

    class_weights: str | list[float] | dict[str, float] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        PerClass(
            default=None,
            minimum=0,
            weights=True,
            by_frequency=(BALANCED, EFFECTIVE_NUMBER),
            worth_trying=(BALANCED,),
            worth_trying_on=(CATEGORY,),
            features=(BINARY, CATEGORY, TEXT, SEQUENCE, IMAGE, SET),
            description=(
                "Weight of each true class; the mean divides by the sum of the weights. balanced weights a class with "
                "n examples by 1 / n, effective_number by (1 - beta) / (1 - beta**n) (Cui et al., CVPR 2019); both "
                "average 1 over the examples."
            ),
        )
    )

    effective_number_beta: float = field(
        Number(
            default=0.999,
            minimum=0,
            maximum=1,
            features=(BINARY, CATEGORY, TEXT, SEQUENCE, SET),
            description="beta of class_weights: effective_number, from 0 (equal weights) to 1 (balanced).",
        )
    )

    def validates_on_loss(self, feature_type: str) -> bool:
        """Accuracy counts the examples of ignored classes as errors; the metrics of labels ignore them."""
        return self.ignore_index is not None and feature_type != SET

    def asks_for_counts(self, feature_type: str) -> bool:
        return feature_type == BINARY and isinstance(self.class_weights, str)

    def check(self) -> None:
        super().check()
        # In a saved model, the list of numbers may come from effective_number.
        unused = self.class_weights is None or self.class_weights == BALANCED
        if unused and not self.is_default("effective_number_beta"):
            raise ValueError(
                f"effective_number_beta = {self.effective_number_beta:g} belongs to class_weights: "
                f"{EFFECTIVE_NUMBER}, but class_weights is {self.class_weights or 'null'}. Write class_weights: "
                f"{EFFECTIVE_NUMBER}, or remove effective_number_beta."
            )

    def resolve(self, feature: Feature) -> None:
        super().resolve(feature)
        if feature.of_labels:
            symbols = [index for index, name in enumerate(feature.classes or ()) if name in feature.symbols]
            without = sorted({*ignored_classes(self.ignore_index), *symbols}) or None
            self.ignore_index = without  # type: ignore[misc]  # Losses of labels have it as a parameter.
        ignored = ignored_classes(self.ignore_index)
        if feature.num_classes:
            counted = [index for index in range(feature.num_classes) if index not in ignored]
            check_some_weight(self, counted, feature)
            if len(counted) == 1 and ignored and not feature.of_labels:
                logger.warning(
                    f"{feature.place('ignore_index')}: of {feature.num_classes} classes one alone counts, and its "
                    "examples draw every prediction to it. Let another term of a compound_loss learn from the others."
                )

    def weights_by_frequency(self, what: str, word: str, feature: Feature) -> list[float]:
        if feature.frequencies is None:
            raise ValueError(
                f"{what} needs to know how often each class occurs, which is not counted for this type of feature, or "
                f"was not when the data was prepared for another loss. Write a list with one number per class."
            )
        return frequency_weights(1.0 if word == BALANCED else self.effective_number_beta, feature)
