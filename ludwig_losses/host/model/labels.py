"""Predictions and metrics of set features, whose vocabulary has columns of symbols that are no labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ludwig.constants import JACCARD, PROBABILITIES, SET
from ludwig.features.base_feature import PredictModule
from torch import Tensor, nn

from ludwig_losses.host.registry import declaration_of, projects
from ludwig_losses.metrics.reported.labels import LabelsMetric


def has_own_labels(feature: Any) -> bool:
    """Whether a feature is one of labels with a loss of this package."""
    return feature.type() == SET and declaration_of(type(feature.loss)) is not None


def create_set_predict_module(create: Callable, feature: Any) -> PredictModule:
    """Return Ludwig's predict module, for a loss of this package without labels that are ignored."""
    module = create(feature)
    if not has_own_labels(feature):
        return module
    loss = getattr(feature, "train_loss_function", None)
    projection = loss.label_projection if loss is not None and projects(feature.loss) else None
    return PredictedLabels(module, projection, feature.loss.ignored_classes, feature.threshold)


def postprocess_labels(original: Callable, feature: Any, result: Any, metadata: dict) -> Any:
    """Add the probability of each label in a column of its own, for a loss of this package, as Ludwig does for
    categories; it keeps those from the threshold on only, without their names."""
    column = f"{feature.feature_name}_{PROBABILITIES}"
    if column in result and has_own_labels(feature):
        for index, name in enumerate(metadata["idx2str"]):
            if index not in feature.loss.ignored_classes:
                result[f"{column}_{name}"] = result[column].map(lambda row, index=index: row[index])
    return original(feature, result, metadata)


def ignore_in_jaccard(feature: Any) -> None:
    """Replace Ludwig's Jaccard index for a loss of this package by that of the other metrics of labels, without those
    that are ignored."""
    if has_own_labels(feature):
        feature._metric_functions[JACCARD] = feature._metric_functions.pop(LabelsMetric.NAMES[0])


class PredictedLabels(PredictModule):
    """Predicts the labels whose probability is at least a threshold, never an ignored one; TorchScript can compile
    it."""

    def __init__(
        self, module: PredictModule, projection: nn.Module | None, ignored: list[int], threshold: float
    ) -> None:
        super().__init__()
        self.module = module
        self.projection = projection
        self.threshold = threshold
        self.register_buffer("ignored", torch.tensor(ignored, dtype=torch.long), persistent=False)

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        logits = outputs[self.logits_key]
        probabilities, predictions = outputs[self.probabilities_key], outputs[self.predictions_key]
        if self.projection is not None:
            probabilities = self.projection(logits)
            predictions = (probabilities >= self.threshold).long()
        ignored = self.ignored.to(logits.device)
        outputs[self.probabilities_key] = probabilities.index_fill(1, ignored, 0.0)
        outputs[self.predictions_key] = predictions.index_fill(1, ignored, 0)
        return outputs
