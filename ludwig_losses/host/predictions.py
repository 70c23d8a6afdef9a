"""Predictions of features whose loss trains another projection than Ludwig predicts with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ludwig.features.base_feature import PredictModule
from ludwig.modules.loss_modules import create_loss
from torch import Tensor

from ludwig_losses.host.registry import declaration_of

if TYPE_CHECKING:
    from ludwig_losses.losses.base import Loss


def create_predict_module(create: Callable, feature: Any) -> PredictModule:
    """Return Ludwig's predict module, completed where the loss of the feature has a projection of its own."""
    module = create(feature)
    loss = _projecting_loss(feature)
    if loss is None or loss.projection is None:
        return module
    return ProjectedPredict(module, loss.projection, loss.score, loss.score_name)


def create_category_predict_module(create: Callable, feature: Any) -> PredictModule:
    """The same, predicting the class that the loss decides for, or else the most probable one."""
    module = create_predict_module(create, feature)
    if not isinstance(module, ProjectedPredict):
        return module
    loss = create_loss(feature.loss)
    if loss.decision is not None:
        return Decided(module, loss.decision)
    return module if loss.keeps_order else MostProbable(module)


def create_binary_predict_module(create: Callable, feature: Any) -> PredictModule:
    """The same, predicting True from the threshold on."""
    module = create_predict_module(create, feature)
    return AboveThreshold(module, module.module.threshold) if isinstance(module, ProjectedPredict) else module


def get_prediction_set(get: Callable, feature: Any) -> set[str]:
    """Return the keys of Ludwig's predictions (Ray keeps no other), with the score where there is one."""
    loss = _projecting_loss(feature)
    return get(feature) if loss is None or loss.score is None else {*get(feature), loss.score_name}


def _projecting_loss(feature: Any) -> Loss | None:
    """The loss of a feature that predicts with it."""
    declaration = declaration_of(type(feature.loss))
    return create_loss(feature.loss) if declaration and declaration.module_cls.projects(feature.loss) else None


def predict_as_trained(module: PredictModule, loss: Loss) -> None:
    """Let predictions be made by the projection, the score and the decision of the loss that a feature trains with,
    which know what it has found and are where it is; Ludwig moves no predict module to the device of the model."""
    for part in module.modules():
        if isinstance(part, ProjectedPredict) and loss.projection is not None:
            part.projection, part.score = loss.projection, loss.score
        elif isinstance(part, Decided) and loss.decision is not None:
            part.decision = loss.decision


class ProjectedPredict(PredictModule):
    """Ludwig's predict module with the probabilities of a projection, and a score; TorchScript can compile it."""

    def __init__(
        self,
        module: PredictModule,
        projection: Callable[[Tensor], Tensor],
        score: Callable[[Tensor], Tensor] | None,
        score_key: str,
    ) -> None:
        super().__init__()
        self.module = module
        self.projection = projection
        self.score = score
        self.score_key = score_key

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.probabilities_key] = self.projection(outputs[self.logits_key])
        if self.score is not None:
            outputs[self.score_key] = self.score(outputs[self.logits_key])
        return outputs


class MostProbable(PredictModule):
    """Predicts the class with the highest probability of another predict module."""

    def __init__(self, module: ProjectedPredict) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.predictions_key] = outputs[self.probabilities_key].argmax(dim=-1)
        return outputs


class Decided(PredictModule):
    """Predicts the class that a function of the logits of another predict module decides for."""

    def __init__(self, module: ProjectedPredict, decision: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.decision = decision

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.predictions_key] = self.decision(outputs[self.logits_key])
        return outputs


class AboveThreshold(PredictModule):
    """Predicts True where another predict module gives it a probability from the threshold on."""

    def __init__(self, module: ProjectedPredict, threshold: float) -> None:
        super().__init__()
        self.module = module
        self.threshold = threshold

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.predictions_key] = outputs[self.probabilities_key] >= self.threshold
        return outputs
