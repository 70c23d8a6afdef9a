"""The losses: a module for each family, in which each loss is one declaration."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def register(metric_modules: ModuleType) -> None:
    """Register all losses and metrics, those of plug-ins included, right after Ludwig's metrics: hyperopt.metric knows
    what is registered by then."""
    from ludwig_losses import plugins
    from ludwig_losses.host.registration import complete_metrics, register_feature_metric, register_term_metrics
    from ludwig_losses.host.registry import losses_by_feature
    from ludwig_losses.metrics.reported import feature_metrics
    from ludwig_losses.metrics.reported.terms import name_of_term

    for metric_cls in feature_metrics():
        register_feature_metric(metric_cls)
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    plugins.load()
    complete_metrics()
    for feature, names in losses_by_feature().items():
        register_term_metrics(map(name_of_term, names), [feature])


# Ludwig comes first, whose import calls the function above: else the module of a loss would wait for itself.
import ludwig.schema  # noqa: E402, F401
