"""The module of a loss: the base classes of every loss."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ludwig_losses._switch import is_compiled
from ludwig_losses.declare.compiled import Compiled
from ludwig_losses.declare.config import ClassificationLossConfig, LossConfig, one_class
from ludwig_losses.declare.declaration import Declaration, origin_of
from ludwig_losses.declare.remembered import Remembered
from ludwig_losses.declare.schema import LogitsInputsMixin
from ludwig_losses.functional import top_k_mean
from ludwig_losses.functional._numerics import is_counted, weighted_mean


class Loss(nn.Module, LogitsInputsMixin):
    """Base of all modules: called with a batch's logits and targets, returns one scalar."""

    # The function from logits to probabilities that predictions need, where it is not Ludwig's softmax or sigmoid; a
    # function from logits to the index of the predicted class, where that is not the most probable one; and one from
    # logits to a further column of the predictions, with its name.
    projection: Callable[[Tensor], Tensor] | None = None
    decision: Callable[[Tensor], Tensor] | None = None
    # The same as the projection for several labels a row, where it is not a sigmoid.
    label_projection: nn.Module | None = None
    score: Callable[[Tensor], Tensor] | None = None
    score_name: ClassVar[str] = "score"
    # What a number or timeseries feature predicts: a module that makes of logits a dict of tensors in the shape of the
    # targets, the predictions and each of the further columns that the schema names.
    estimates: nn.Module | None = None
    # The level of each of these columns that is a quantile, in ascending order.
    quantile_columns: dict[str, float] | None = None
    # Whether predictions are calibrated by the validation rows, how many of them that needs, and which share of them
    # calibrates and does nothing else; `None`: all of them do, and choose the best model, too.
    calibrates: bool = False
    fewest_rows: int = 1
    calibration_share: float | None = None
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
    # Same value for the same batch in train and eval mode; metrics may reuse it.
    of_batch_alone: bool = False
    # Of how many means the loss is a sum, each with a denominator of its own.
    num_means: int = 1
    # Set by `register_loss`.
    declaration: ClassVar[Declaration | None] = None

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        if self.declaration is not None:
            self.declaration.require()
        self._remembered = Remembered()
        self._divided_by = Remembered()
        self._compiled = Compiled() if is_compiled() else None

    @classmethod
    def projects(cls, config: LossConfig) -> bool:
        """Whether a feature with this configuration predicts with the projection, and the score, of the loss."""
        return cls.projection is not None or config.estimates

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Take note of the shape of the target of one row, ``(1,)`` for a number."""

    def begin(self, mean: float, std: float) -> None:
        """Begin a training whose targets have this mean and standard deviation; what has begun stays as it is."""

    def calibrate(self, logits: Tensor, target: Tensor) -> None:
        """Calibrate the predictions by rows that the model was not trained on."""

    def create_metrics(self, config: LossConfig) -> dict[str, Any]:
        """Return the metrics of a feature with this configuration, each under a name that it reports."""
        loss = self.for_metrics(config)
        return {metric_cls.NAMES[0]: metric_cls(loss) for metric_cls in self.metrics}

    def for_metrics(self, config: LossConfig) -> "Loss":
        """Let a metric reuse this module and its cached values, where the value depends on the batch alone; else return
        a module with a state of its own."""
        return self if self.of_batch_alone else type(self)(config).learning_from(self)

    def learning_from(self, trained: "Loss") -> "Loss":
        """Use the parameters of the module that is trained, and return this one.

        They are no parameters of this module then: those of a model are in its optimizer and its state once. What it
        makes of logits is that of the other module, too: calibration, and the targets that it began with.
        """
        modules = dict(self.named_modules())
        for place, source in trained.named_modules():
            module = modules.get(place)
            if module is None:  # one that is made later
                continue
            for name, parameter in source._parameters.items():
                module._parameters.pop(name, None)
                module.__dict__[name] = parameter
        if self.estimates is not None and trained.estimates is not None:
            for module, source in zip(self.estimates.modules(), trained.estimates.modules(), strict=True):
                module._buffers = source._buffers  # one dictionary, which moves to a device once
        return self

    def reporter(self, metric: str) -> "Loss | None":
        """Return the loss, this one or a part of it, that a metric belongs to."""
        return self if any(metric in metric_cls.NAMES for metric_cls in self.metrics) else None

    def can_evaluate(self, target: np.ndarray | None) -> bool:
        """Whether some targets (``None`` where they are not at hand) have what the metrics need."""
        return True

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        """Return the divisor of the loss of a batch, by which the loss of an evaluation weights the batch.

        That is the number of rows unless a subclass overrides it: elements, pairs, or the sum of their weights; 0 where
        every element is ignored. The divisor of :meth:`weighted_mean` is cached.
        """
        return len(target)

    def batch_means(self, preds: Tensor, target: Tensor) -> list[tuple[Tensor, float | Tensor]]:
        """Return the means that the loss of a batch is made of, each with its denominator."""
        value = self.value_of(preds, target)
        known = self._divided_by.known(target).get("total")
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
        """Return a denominator, and cache it for the metrics, which are updated with the same targets."""
        self._divided_by.values(target)["total"] = total
        return total

    def __call__(self, preds: Tensor, target: Tensor) -> Tensor:
        if self.of_classes and preds.dim() > target.dim() and preds.numel() == target.numel() > 0:
            raise ValueError(one_class(self.declaration.name if self.declaration else type(self).__name__))
        # What changes a state, as a memory of rows does, or waits for other ranks, is not compiled.
        compiled = self._compiled if self.of_batch_alone else None
        loss = super().__call__(preds, target) if compiled is None else compiled(self, preds, target)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(
                f"{origin_of(type(self))}: forward must return one number, a tensor of shape (); got {got}. "
                f"Take the mean of the loss of each example."
            )
        self._remembered.values(preds, target)["loss"] = loss.detach()
        return loss

    def value_of(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the loss without a gradient: the cached one, if it was computed from the same tensors."""
        value = self._remembered.values(preds, target).get("loss")
        return self(preds.detach(), target) if value is None else value

    def register_numbers(self, name: str, values: Any) -> None:
        """Keep numbers, if there are any, as a tensor that follows the module's device but is not saved with it."""
        self.register_buffer(
            name, None if values is None else torch.tensor(values, dtype=torch.float32), persistent=False
        )


class ClassificationLoss(Loss):
    """Base of the modules that average a loss per example or token, with class weights if there are any."""

    of_batch_alone = True
    of_classes = True
    class_weights: Tensor | None

    def __init__(self, config: ClassificationLossConfig) -> None:
        super().__init__(config)
        self.register_numbers("class_weights", config.class_weights)
        self.ignored = config.ignore_index
        self.top_k = float(config.top_k)

    def counted(self, target: Tensor) -> Tensor | None:
        """Return which targets are not ignored, or ``None`` without an ``ignore_index``."""
        return is_counted(target, self.ignored)

    def weight(self, target: Tensor, counted: Tensor | None) -> Tensor | None:
        """Return the weight of each element, 0 for ignored ones; ``None`` if all weights are 1."""
        if self.class_weights is None:
            return counted
        # The target of an ignored element need not be a class.
        index = target.long() if counted is None else target.long() * counted
        weight = self.class_weights[index]
        return weight if counted is None else weight * counted

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        weight = self.weight(target, self.counted(target))
        return target.numel() if weight is None else weight.sum()

    def mean(self, loss: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
        """Return ``sum(w * loss) / sum(w)``, with ``w`` the weights of the true classes, over the hardest elements if
        only these count.

        Args:
            loss: in the shape of ``target``.
            target: class indices.
            counted: bool in the shape of ``target``, false for ignored elements; ``None`` ignores none.
        """
        weight = self.weight(target, counted)
        if self.top_k < 1:  # the denominator of an evaluation stays the weight of all elements
            return top_k_mean(loss, weight, top_k=self.top_k)
        return self.weighted_mean(loss, weight, target)
