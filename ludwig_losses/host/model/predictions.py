"""Predictions of features whose loss trains another projection than Ludwig predicts with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ludwig.features.base_feature import PredictModule
from torch import Tensor

from ludwig_losses.declare.loss import Loss
from ludwig_losses.host.model.labels import has_own_labels
from ludwig_losses.host.registry import projects


def create_predict_module(create: Callable, feature: Any) -> PredictModule:
    """Return Ludwig's predict module, completed where the loss of the feature has a projection of its own."""
    module = create(feature)
    loss = _projecting_loss(feature)
    return module if loss is None or loss.projection is None else Projected(module, loss.projection)


def create_category_predict_module(create: Callable, feature: Any) -> PredictModule:
    """The same, with what else the loss predicts: a score, or a class that is not the most probable one.

    Ludwig's module for categories applies a calibration to the logits, and predicts the most probable class: the
    projection takes the place of the calibration.
    """
    module = create(feature)
    loss = _projecting_loss(feature)
    if loss is None or loss.projection is None:
        return module
    module.calibration_module = loss.projection
    module = module if loss.score is None else Scored(module, loss.score, loss.score_name)
    return module if loss.decision is None else Decided(module, loss.decision)


def create_binary_predict_module(create: Callable, feature: Any) -> PredictModule:
    """The same, predicting True from the threshold on."""
    module = create(feature)
    loss = _projecting_loss(feature)
    if loss is None or loss.projection is None:
        return module
    projected = AboveThreshold(Projected(module, loss.projection), module.threshold)
    return projected if loss.score is None else Scored(projected, loss.score, loss.score_name)


def get_prediction_set(get: Callable, feature: Any) -> set[str]:
    """Return the keys of Ludwig's predictions, with the score if there is one; Ray drops all others."""
    loss = _projecting_loss(feature)
    return get(feature) if loss is None or loss.score is None else {*get(feature), loss.score_name}


def _projecting_loss(feature: Any) -> Loss | None:
    """The loss of a feature that predicts with it, once the feature has one."""
    loss = getattr(feature, "train_loss_function", None)
    return loss if loss is not None and projects(feature.loss) else None


def predict_as_trained(feature: Any) -> None:
    """Make the predict module of a feature again, with the loss that it trains with, where that has a projection.

    Ludwig makes it before the loss. The training loss caches the probabilities and is on the right device; Ludwig does
    not move predict modules.
    """
    if projects(feature.loss) or has_own_labels(feature):
        feature._prediction_module.module = feature.create_predict_module()


class Projected(PredictModule):
    """Ludwig's predict module with the probabilities of a projection; TorchScript can compile it, and the others."""

    def __init__(self, module: PredictModule, projection: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.projection = projection

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.probabilities_key] = self.projection(outputs[self.logits_key])
        return outputs


class Scored(PredictModule):
    """Adds a score, which is a function of the logits of another predict module."""

    def __init__(self, module: PredictModule, score: Callable[[Tensor], Tensor], score_key: str) -> None:
        super().__init__()
        self.module = module
        self.score = score
        self.score_key = score_key

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.score_key] = self.score(outputs[self.logits_key])
        return outputs


class Decided(PredictModule):
    """Predicts the class that a function of the logits of another predict module decides for."""

    def __init__(self, module: PredictModule, decision: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.decision = decision

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.predictions_key] = self.decision(outputs[self.logits_key])
        return outputs


class AboveThreshold(PredictModule):
    """Predicts True where another predict module gives it a probability from the threshold on."""

    def __init__(self, module: Projected, threshold: float) -> None:
        super().__init__()
        self.module = module
        self.threshold = threshold

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.predictions_key] = outputs[self.probabilities_key] >= self.threshold
        return outputs
