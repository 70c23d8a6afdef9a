"""Predictions of features whose loss trains another projection than softmax."""

from __future__ import annotations

from collections.abc import Callable

from ludwig.features.base_feature import PredictModule
from ludwig.modules.loss_modules import create_loss
from torch import Tensor

from ludwig_losses.host.registry import declaration_of

# The key, and the end of the column, of the score by which unknown examples can be rejected.
KNOWN_SCORE = "known_score"


def create_predict_module(create: Callable, feature) -> PredictModule:
    """Return Ludwig's predict module, completed where the loss of the feature has a projection of its own."""
    module = create(feature)
    if declaration_of(type(feature.loss)) is None:
        return module
    loss = create_loss(feature.loss)
    return module if loss.projection is None else ProjectedPredict(module, loss.projection, loss.known_score)


def create_category_predict_module(create: Callable, feature) -> PredictModule:
    """The same, predicting the class with the highest probability."""
    module = create_predict_module(create, feature)
    return MostProbable(module) if isinstance(module, ProjectedPredict) else module


def create_binary_predict_module(create: Callable, feature) -> PredictModule:
    """The same, predicting True from the threshold on."""
    module = create_predict_module(create, feature)
    return AboveThreshold(module, module.module.threshold) if isinstance(module, ProjectedPredict) else module


def get_prediction_set(get: Callable, feature) -> set[str]:
    """Return the keys of Ludwig's predictions (Ray keeps no other), with the score where there is one."""
    loss = create_loss(feature.loss) if declaration_of(type(feature.loss)) is not None else None
    return get(feature) if loss is None or loss.known_score is None else {*get(feature), KNOWN_SCORE}


class ProjectedPredict(PredictModule):
    """Ludwig's predict module with the probabilities of a projection, and a score; TorchScript can compile it."""

    def __init__(
        self,
        module: PredictModule,
        projection: Callable[[Tensor], Tensor],
        known_score: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.module = module
        self.projection = projection
        self.known_score = known_score
        self.known_score_key = KNOWN_SCORE

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.probabilities_key] = self.projection(outputs[self.logits_key])
        if self.known_score is not None:
            outputs[self.known_score_key] = self.known_score(outputs[self.logits_key])
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
