"""Evaluation of features: the metrics that belong to a loss, and what Ludwig needs to evaluate images."""

from __future__ import annotations

from collections.abc import Callable

from ludwig_losses.host.registry import declaration_of


def create_metrics(create: Callable, feature) -> None:
    """Add the metrics of the loss to those that Ludwig reports for a feature."""
    create(feature)
    declaration = declaration_of(type(feature.loss))
    for metric_cls in declaration.module_cls.metrics if declaration else ():
        feature._metric_functions[metric_cls.NAMES[0]] = metric_cls(config=feature.loss)
    feature.metric_names = sorted(feature._metric_functions)


def calculate_overall_stats(calculate: Callable, output_features, predictions, dataset, training_set_metadata):
    """Leave out features whose targets are not in the data: newer Ludwigs read images batch by batch, and their
    evaluation with overall statistics (of which images have none) fails for want of the masks."""
    present = {name: feature for name, feature in output_features.items() if feature.proc_column in dataset.columns}
    return calculate(present, predictions, dataset, training_set_metadata)
