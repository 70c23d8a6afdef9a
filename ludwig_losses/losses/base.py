"""What every loss of the pack is made of."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.functional._derivatives import as_projection
from ludwig_losses.functional._numerics import ignored_classes, is_counted, weighted_mean
from ludwig_losses.host import contract
from ludwig_losses.host.schema import (
    CATEGORY,
    IMAGE,
    SEQUENCE,
    TEXT,
    DeclaredLossConfig,
    LogitsInputsMixin,
    field,
    parameters_of,
)
from ludwig_losses.losses._remembered import Remembered
from ludwig_losses.losses.class_names import (
    check_some_weight,
    class_indices,
    class_order,
    frequency_weights,
    per_class_values,
)
from ludwig_losses.parameters import Classes, Feature, Number, Order, PerClass

if TYPE_CHECKING:
    from ludwig_losses.host.registry import Declaration

# Probabilities that are kept from the loss until the prediction: 4 MB.
_MOST_REMEMBERED = 2**20

BALANCED, EFFECTIVE_NUMBER = "balanced", "effective_number"

# Parameters that several losses share.
LABEL_SMOOTHING = Number(
    default=0.0, minimum=0, maximum=1, description="Part of each label that is spread evenly over all classes."
)


def ignore_index(features: tuple[str, ...] | None = None) -> Classes:
    """The parameter that names the classes whose elements take no part in the loss."""
    return Classes(
        default=None,
        features=features,
        description="The class, or classes, whose elements do not count, in the sum and in what it is divided by.",
    )


def one_class(loss: str, classes: list[str] | None = None) -> str:
    """Return what is wrong with a feature of a single class."""
    named = "" if classes is None else f", {classes[0]!r}"
    return (
        f"there is one class only{named}, whose probability is 1 whatever the model predicts: {loss} has nothing to "
        f"learn. It needs data with two classes or more."
    )


class LossConfig(DeclaredLossConfig):
    """Base of all schemas: the weight of the loss, and what the pack asks of a loss beside its parameters.

    The docstring of a subclass is shown to users; its ``type`` is the name of the loss.
    """

    weight: float = field(
        Number(default=1.0, minimum=0, description="Weight of this feature's loss in the sum over output features.")
    )

    # Ludwig reads these from the loss of every category, set, text and sequence feature.
    class_weights: ClassVar[Any] = None
    class_similarities: ClassVar[Any] = None
    class_similarities_temperature: ClassVar[int] = 0

    # What `ludwig-losses list` and `explain`, and the page on choosing a loss, say.
    advice: ClassVar[Advice | None] = None

    # Whether the loss compares rows 2i and 2i + 1 of a batch, which therefore have to stay together; and what to
    # write in the configuration where they cannot.
    keeps_pairs: ClassVar[bool] = False
    instead_of_pairs: ClassVar[str] = "choose another loss"
    # How many rows a training batch, of all ranks together, and an evaluation batch must have: with fewer, the loss is
    # the same number whatever the model is like.
    fewest_rows: ClassVar[int] = 1
    fewest_rows_in_evaluation: ClassVar[int] = 1

    @classmethod
    def name(cls) -> str:
        """The name of the loss in words."""
        return cls.type.replace("_", " ").title()

    def validates_on_loss(self, feature_type: str) -> bool:
        """Whether best model and early stopping follow the loss, where the configuration says nothing: the default
        metric of such a feature does not judge what this loss trains."""
        return False

    @property
    def ignored_classes(self) -> list[int]:
        """Indices of the classes that the loss does not count, once they are resolved; metrics leave them out, too."""
        return list(ignored_classes(getattr(self, "ignore_index", None)))

    def indices(self, name: str) -> list[int] | None:
        """The indices of the classes that a parameter names, once they are resolved."""
        return getattr(self, name)

    def is_default(self, name: str) -> bool:
        """Whether a parameter has the value that it has when the configuration says nothing."""
        parameter = parameters_of(type(self))[name]
        return parameter is not None and getattr(self, name) == parameter.default

    def check(self) -> None:
        """Check what the parameters say together.

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
        for name, parameter in parameters_of(type(self)).items():
            value = getattr(self, name)
            if isinstance(parameter, PerClass) and isinstance(value, str):
                setattr(self, name, self.weights_by_frequency(f"{feature.place(name)}: {value}", value, feature))
            elif isinstance(parameter, PerClass):
                setattr(self, name, per_class_values(name, value, feature))
            elif isinstance(parameter, Order):
                setattr(self, name, class_order(name, value, feature))
            elif isinstance(parameter, Classes) and not (isinstance(value, str) and value in parameter.options):
                setattr(self, name, class_indices(name, value, feature))

    def weights_by_frequency(self, what: str, word: str, feature: Feature) -> list[float]:
        """Return the class weights that a word stands for.

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
            features=(CATEGORY, TEXT, SEQUENCE, IMAGE),
            description=(
                "Weight of each true class; the mean divides by the sum of the weights. balanced weighs a class by "
                "1 / n, with n its examples in the data, effective_number by (1 - beta) / (1 - beta**n) (Cui et al., "
                "CVPR 2019); both average 1 over the examples."
            ),
        )
    )

    effective_number_beta: float = field(
        Number(
            default=0.999,
            minimum=0,
            maximum=1,
            features=(CATEGORY, TEXT, SEQUENCE),
            description="beta of class_weights: effective_number, from 0 (all classes alike) to 1 (balanced).",
        )
    )

    def validates_on_loss(self, feature_type: str) -> bool:
        """Accuracy counts the examples of ignored classes as errors."""
        return getattr(self, "ignore_index", None) is not None

    def check(self) -> None:
        super().check()
        # A list may be what effective_number has become in a saved model.
        unused = self.class_weights is None or self.class_weights == BALANCED
        if unused and not self.is_default("effective_number_beta"):
            raise ValueError(
                f"effective_number_beta = {self.effective_number_beta:g} belongs to class_weights: "
                f"{EFFECTIVE_NUMBER}, but class_weights is {self.class_weights or 'null'}. Write class_weights: "
                f"{EFFECTIVE_NUMBER}, or remove effective_number_beta."
            )

    def resolve(self, feature: Feature) -> None:
        super().resolve(feature)
        ignored = ignored_classes(getattr(self, "ignore_index", None))
        if feature.num_classes:
            counted = [index for index in range(feature.num_classes) if index not in ignored]
            check_some_weight(self, counted, feature)

    def weights_by_frequency(self, what: str, word: str, feature: Feature) -> list[float]:
        if feature.frequencies is None:
            raise ValueError(
                f"{what} needs to know how often each class occurs, which Ludwig does "
                f"not count for this type of feature. Write a list with one number per class."
            )
        return frequency_weights(1.0 if word == BALANCED else self.effective_number_beta, feature)


class Loss(nn.Module, LogitsInputsMixin):
    """Base of all modules: called with a batch's logits and targets, returns one scalar."""

    # The function from logits to probabilities that predictions need, where it is not Ludwig's softmax or sigmoid; a
    # function from logits to the index of the predicted class, where that is not the most probable one; and one from
    # logits to a further column of the predictions, with its name.
    projection: Callable[[Tensor], Tensor] | None = None
    decision: Callable[[Tensor], Tensor] | None = None
    score: Callable[[Tensor], Tensor] | None = None
    score_name: ClassVar[str] = "score"
    # Whether predictions have a dimension more than targets, that of the classes, unless there is one logit for two.
    of_classes: ClassVar[bool] = False
    # Whether the larger of two logits is that of the more probable class.
    ranks_by_logits: bool = True
    # What the loss knows of the classes, by their indices: their order from low to high, and those that stand for
    # everything unknown. Other losses are compared with it by the same.
    ranked_classes: list[int] | None = None
    unknown_classes: list[int] | None = None
    # Metrics that Ludwig reports for features trained with the loss, and what they need of the data.
    metrics: ClassVar[tuple[type[Any], ...]] = ()
    metrics_need: ClassVar[str] = ""
    # Whether the value depends on nothing but the batch, with a gradient and without. Then the metrics of a training
    # take it from the training itself.
    of_batch_alone: bool = False
    # Of how many means the loss is a sum, each with a denominator of its own.
    num_means: int = 1
    # What register_loss has made of it.
    declaration: ClassVar["Declaration"]

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        contract.require_for_every_loss(config.type)
        self._remembered = Remembered()
        self._divided_by = Remembered()

    @classmethod
    def projects(cls, config: LossConfig) -> bool:
        """Whether a feature with this configuration predicts with the projection, and the score, of the loss."""
        return cls.projection is not None

    def create_metrics(self, config: LossConfig) -> dict[str, Any]:
        """Return the metrics of a feature with this configuration, each under a name that it reports."""
        return {metric_cls.NAMES[0]: self.lent_to(metric_cls(config=config)) for metric_cls in self.metrics}

    def lent_to(self, metric: Any) -> Any:
        """Return a metric, which takes from this loss instead of one of its own what training has computed, if it can.

        See ``of_batch_alone``.
        """
        if self.of_batch_alone and hasattr(metric, "loss_function"):
            metric.loss_function = self
        return metric

    def reporter(self, metric: str) -> "Loss | None":
        """Return the loss, this one or a part of it, that a metric belongs to."""
        return self if any(metric in metric_cls.NAMES for metric_cls in self.metrics) else None

    def can_evaluate(self, target: np.ndarray | None) -> bool:
        """Whether some targets (``None`` where they are not at hand) have what the metrics need."""
        return True

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        """Return what the loss of a batch divides by: in the loss of an evaluation, which is that of all rows together,
        the batch counts by it.

        That is the number of rows unless a subclass says something else: elements, pairs, or the sum of their weights;
        0 where nothing in the batch counts. What :meth:`weighted_mean` has divided by is known.
        """
        return len(target)

    def batch_means(self, preds: Tensor, target: Tensor) -> list[tuple[Tensor, float | Tensor]]:
        """Return the means that the loss of a batch is made of, each with its denominator."""
        value = self.value_of(preds, target)
        known = self._divided_by.values(target).get("total")
        return [(value, self.denominator(preds, target) if known is None else known)]

    def from_means(self, means: Tensor) -> Tensor:
        """Return the loss that is made of some means ``[num_means]``, those of one batch or of many."""
        return means[0]

    def weighted_mean(self, loss: Tensor, weight: Tensor | None, target: Tensor) -> Tensor:
        """Return ``sum(w * loss) / sum(w)``, the mean without weights, and keep what it was divided by."""
        if weight is None:
            return weighted_mean(loss)
        return weighted_mean(loss, weight, self.divide_by(weight.sum(), target))

    def divide_by(self, total: Tensor, target: Tensor) -> Tensor:
        """Return a denominator, and keep it for the metrics, which are updated with the same targets."""
        self._divided_by.values(target)["total"] = total
        return total

    def __call__(self, preds: Tensor, target: Tensor) -> Tensor:
        if self.of_classes and preds.dim() > target.dim() and preds.numel() == target.numel() > 0:
            raise ValueError(one_class(type(self).declaration.name))
        loss = super().__call__(preds, target)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(
                f"{type(self).declaration.origin}: forward must return one number, a tensor of shape (); got {got}. "
                f"Take the mean of the loss of each example."
            )
        self._remembered.values(preds, target)["loss"] = loss.detach()
        return loss

    def value_of(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the loss without a gradient: the one that was last computed, if it is of the same tensors."""
        value = self._remembered.values(preds, target).get("loss")
        return self(preds.detach(), target) if value is None else value

    def keep(self, name: str, values: Any) -> None:
        """Keep numbers, if there are any, as a tensor that follows the module's device but is not saved with it."""
        self.register_buffer(
            name, None if values is None else torch.tensor(values, dtype=torch.float32), persistent=False
        )


class Probabilities(nn.Module):
    """A function from logits to probabilities, which may be known of the same logits, with what follows from them;
    TorchScript can compile it."""

    def __init__(self, power: float) -> None:
        """Take the power of the derivative, see :func:`as_projection`."""
        super().__init__()
        self.power = power
        self._memory = Remembered()

    def forward(self, logits: Tensor) -> Tensor:
        if not torch.jit.is_scripting():
            p = self.remembered(logits)
            if p is not None:
                return as_projection(p, logits, self.power)
        return self.project(logits)

    def project(self, logits: Tensor) -> Tensor:
        """Return the probabilities of logits of which nothing is known."""
        raise NotImplementedError

    def remember(self, logits: Tensor, p: Tensor | None, **others: Tensor) -> None:
        """Keep probabilities, if there are any; not so many that the next step would miss their memory."""
        if p is not None and p.numel() <= _MOST_REMEMBERED:
            self._memory.values(logits).update(others, p=p)

    def remembered(self, logits: Tensor, name: str = "p") -> Tensor | None:
        """Return what is known, without a gradient."""
        return self._memory.values(logits).get(name)


class ClassificationLoss(Loss):
    """Base of the modules that average a loss per example or token, with class weights if there are any."""

    of_batch_alone = True
    of_classes = True
    class_weights: Tensor | None

    def __init__(self, config: ClassificationLossConfig) -> None:
        super().__init__(config)
        self.keep("class_weights", config.class_weights)
        self.ignored = getattr(config, "ignore_index", None)

    def counted(self, target: Tensor) -> Tensor | None:
        """Return which targets are none of the classes in ``ignore_index``, or ``None`` where all count."""
        return is_counted(target, self.ignored)

    def weight(self, target: Tensor, counted: Tensor | None) -> Tensor | None:
        """Return the weight of each element, 0 for what does not count; ``None`` if all of them weigh 1."""
        if self.class_weights is None:
            return counted
        # What does not count need not be a class.
        index = target.long() if counted is None else target.long() * counted
        weight = self.class_weights[index]
        return weight if counted is None else weight * counted

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        weight = self.weight(target, self.counted(target))
        return target.numel() if weight is None else weight.sum()

    def mean(self, loss: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
        """Return ``sum(w * loss) / sum(w)``, with ``w`` the weights of the true classes.

        Args:
            loss: in the shape of ``target``.
            target: class indices.
            counted: bool in the shape of ``target``, false for what shall not count; ``None`` counts all.
        """
        return self.weighted_mean(loss, self.weight(target, counted), target)
