"""Soft labels: vector features that learn with Ludwig's softmax_cross_entropy, each row a distribution over classes.

Ludwig offers that pair, but it does not train: there is no metric of its name for vectors
(``registry.complete_metrics`` adds it), nothing checks that rows are distributions, and predictions would be logits. It
is completed, not refused: distillation and annotation by several people give soft labels, and no other loss of Ludwig's
takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ludwig.constants import CATEGORY_DISTRIBUTION, SOFTMAX_CROSS_ENTROPY, VECTOR
from ludwig.features.base_feature import PredictModule
from torch import Tensor

from ludwig_losses.host.config.sections import place_of
from ludwig_losses.host.model.targets import before_training, targets_by_split
from ludwig_losses.parameters import Place

# Rows are often written with three decimals: rounding errors add up.
_TOLERANCE = 0.01


def predict_distributions(create: Callable, feature: Any) -> PredictModule:
    """Return Ludwig's predict module, which predicts probabilities where the labels are some."""
    return PredictedDistribution(create(feature)) if _has_soft_labels(feature) else create(feature)


@before_training
def refuse_bad_distributions(trainer: Any, sets: Mapping[str, Any]) -> None:
    """Refuse to train if a row that should be a distribution over classes is none.

    Raises:
        ValueError: names the feature, the row, and its sum or its smallest value.
    """
    for feature in filter(_has_soft_labels, trainer.model.output_features.values()):
        for split, rows in targets_by_split(sets, feature):
            _check_rows(rows, place_of(trainer.model, feature.feature_name), split)


def length(builtin: Callable, obj: Any) -> int:
    """Return the length of a vector; Dask finds out what a mapping returns by mapping a bare object, which has none."""
    return builtin(obj) if hasattr(obj, "__len__") else 0


def compare_with_most_probable(
    calculate: Callable, output_features: Any, predictions: Any, dataset: Any, training_set_metadata: Any
) -> Any:
    """Return Ludwig's overall statistics; those of category_distribution features compare a predicted class with the
    most probable one of the target, as their accuracy does. Ludwig compares it with all probabilities, and fails."""
    for feature in output_features.values():
        if feature.type() == CATEGORY_DISTRIBUTION and feature.proc_column in dataset.columns:
            most_probable = dataset[feature.proc_column].map(np.argmax)
            dataset = dataset.assign(**{feature.proc_column: most_probable})
    return calculate(output_features, predictions, dataset, training_set_metadata)


def _has_soft_labels(feature: Any) -> bool:
    return feature.type() == VECTOR and feature.loss.type == SOFTMAX_CROSS_ENTROPY


def _check_rows(rows: np.ndarray, where: Place, split: str) -> None:
    sums, smallest = rows.sum(axis=1), rows.min(axis=1)
    wrong = np.flatnonzero(~((smallest >= 0) & (np.abs(sums - 1) <= _TOLERANCE)))
    if not len(wrong):
        return
    row = wrong[0]
    problem = f"sums to {sums[row]:g}" if smallest[row] >= 0 else f"has the value {smallest[row]:g}"
    raise ValueError(
        f"{where.at('.loss')}: {SOFTMAX_CROSS_ENTROPY} on a vector takes rows of probabilities (>= 0, sum 1), but row "
        f"{row} of the {split} data {problem}; {len(wrong)} of {len(rows)} rows are none. Normalise the rows, or write "
        "loss: {type: mean_squared_error} for vectors of any numbers."
    )


class PredictedDistribution(PredictModule):
    """Predicts the softmax of the logits of another predict module; TorchScript can compile it."""

    def __init__(self, module: PredictModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        outputs = self.module(inputs, feature_name)
        outputs[self.predictions_key] = outputs[self.logits_key].softmax(dim=-1)
        return outputs
