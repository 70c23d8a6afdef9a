"""Predictions of features whose loss trains another projection than softmax."""

from __future__ import annotations

from collections.abc import Callable

from ludwig.features.base_feature import PredictModule
from ludwig.modules.loss_modules import loss_impl_registry
from torch import Tensor

from ludwig_losses.host.registry import declaration_of


def create_predict_module(create: Callable, feature) -> PredictModule:
    """Return Ludwig's predict module, completed where the loss of the feature has a projection of its own."""
    module = create(feature)
    declared = declaration_of(type(feature.loss)) is not None
    projection = loss_impl_registry[type(feature.loss)].projection if declared else None
    return module if projection is None else ProjectedPredict(module, projection)


def calculate_overall_stats(calculate: Callable, output_features, predictions, dataset, training_set_metadata):
    """Leave out features whose targets are not in the data: newer Ludwigs read images batch by batch, and their
    evaluation with overall statistics (of which images have none) fails for want of the masks."""
    present = {name: feature for name, feature in output_features.items() if feature.proc_column in dataset.columns}
    return calculate(present, predictions, dataset, training_set_metadata)


class ProjectedPredict(PredictModule):
    """Ludwig's predict module with the probabilities of a projection; TorchScript can compile it."""

    def __init__(self, module: PredictModule, projection: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.projection = projection

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.probabilities_key] = self.projection(outputs[self.logits_key])
        return outputs
