"""Evaluation of features: the metrics that belong to a loss, and what Ludwig needs to evaluate images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ludwig.constants import COMBINED, HITS_AT_K, LOSS
from ludwig.modules.metric_modules import HitsAtKMetric
from ludwig.utils.metric_utils import get_scalar_from_ludwig_metric
from torch import Tensor

from ludwig_losses.host.config.sections import place_of
from ludwig_losses.host.model.labels import ignore_in_jaccard
from ludwig_losses.host.model.predictions import predict_as_trained
from ludwig_losses.host.registry import declaration_of, metrics_of_feature, metrics_of_losses
from ludwig_losses.metrics.reported.token_classes import TokenClassMetric


def create_metrics(create: Callable, feature: Any) -> None:
    """Add the metrics of the feature type, and of the loss, to those that Ludwig reports for a feature."""
    create(feature)
    for metric_cls in metrics_of_feature(feature.type()):
        if metric_cls.suits(feature):
            feature._metric_functions[metric_cls.NAMES[0]] = metric_cls.for_feature(feature)
    predict_as_trained(feature)
    if declaration_of(type(feature.loss)) is not None:
        ignore_in_jaccard(feature)
        loss = feature.train_loss_function
        if loss.estimates is not None:
            loss.prepare(tuple(feature.output_shape))
        feature._metric_functions |= loss.create_metrics(feature.loss)
        feature.eval_loss_metric.reuse(loss)
        if not loss.ranks_by_logits and HITS_AT_K in feature._metric_functions:
            feature._metric_functions[HITS_AT_K] = HitsOfProbabilities(loss.projection, **feature.metric_kwargs())
        for metric in feature._metric_functions.values():
            metric.stays_in_place = True
    feature.metric_names = sorted(feature._metric_functions)


def get_metrics(original: Callable, model: Any) -> dict[str, dict[str, float]]:
    """Return Ludwig's metrics; the combined loss of a model with a loss of this package is the sum of the reported
    losses, not an average with equal weights for all batches."""
    metrics, features = original(model), dict(model.output_features.items())
    if any(declaration_of(type(feature.loss)) is not None for feature in features.values()):
        losses = [feature.loss.weight * metrics[name][LOSS] for name, feature in features.items()]
        metrics[COMBINED][LOSS] = sum(losses) + get_scalar_from_ludwig_metric(model.eval_additional_losses_metrics)
    return metrics


def load_with_names_of_classes(original: Callable, *args: Any, **kwargs: Any) -> Any:
    """Return a saved model whose metrics name the classes as those of the training did."""
    loaded = original(*args, **kwargs)
    for name, feature in (getattr(loaded.model, "output_features", None) or {}).items():
        for metric in getattr(feature, "_metric_functions", {}).values():
            if isinstance(metric, TokenClassMetric):
                metric.names = loaded.training_set_metadata[name]["idx2str"]
    return loaded


class HitsOfProbabilities(HitsAtKMetric):
    """Ludwig's hits at k for a loss whose logits do not say which class is more probable."""

    def __init__(self, projection: Callable[[Tensor], Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.projection = projection

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(self.projection(preds), target)


def refuse_missing_metric(
    original: Callable, trainer: Any, training_set: Any, validation_set: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Train, unless the best model is to be chosen by a metric of a loss that the validation data cannot have.

    Raises:
        ValueError: the loss of the validation field does not report the metric, or not on these targets.
    """
    name, metric = trainer.validation_field, trainer.validation_metric
    feature = trainer.model.output_features.get(name) if name in trainer.model.output_features else None
    if feature is not None and metric in metrics_of_losses() | _missing_metrics(feature):
        loss, data = feature.train_loss_function, validation_set if validation_set is not None else training_set
        where = f"{place_of(trainer.model, name).at('.loss')}: {feature.loss.type}"
        problem = f"trainer.validation_metric: {metric} is not available: {where}"
        reporter = loss.reporter(metric) if declaration_of(type(feature.loss)) is not None else None
        if reporter is None:
            raise ValueError(f"{problem} has no such metric. Choose another metric, or another loss.")
        targets = data.dataset.get(feature.proc_column) if isinstance(getattr(data, "dataset", None), dict) else None
        if not reporter.can_evaluate(targets):
            raise ValueError(
                f"{problem} needs {reporter.metrics_need} in the validation data. Add them, or choose another metric."
            )
    return original(trainer, training_set, validation_set, *args, **kwargs)


def _missing_metrics(feature: Any) -> set[str]:
    """Return the names of the metrics of a feature's type that it does not have with its loss."""
    missing = (metric_cls for metric_cls in metrics_of_feature(feature.type()) if not metric_cls.suits(feature))
    return {name for metric_cls in missing for name in metric_cls.NAMES}


def leave_out_absent_targets(
    calculate: Callable, output_features: Any, predictions: Any, dataset: Any, training_set_metadata: Any
) -> Any:
    """Leave out features whose targets are not in the data: newer Ludwigs read images batch by batch, and their
    evaluation with overall statistics (of which images have none) fails without the masks."""
    present = {name: feature for name, feature in output_features.items() if feature.proc_column in dataset.columns}
    return calculate(present, predictions, dataset, training_set_metadata)
