"""Entering the losses of the pack, of its plug-ins, and the metrics of feature types into Ludwig's registries."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def register(metric_modules: ModuleType) -> None:
    """Register all losses and metrics once Ludwig's metrics are there: hyperopt.metric takes what is registered by
    then."""
    import ludwig_losses.losses
    import ludwig_losses.metrics.anomaly
    import ludwig_losses.metrics.segmentation  # noqa: F401
    from ludwig_losses import plugins
    from ludwig_losses.host.registry import complete_metrics, losses_by_feature, register_term_metrics
    from ludwig_losses.metrics.terms import TermsMetric, name_of_term

    plugins.load()
    complete_metrics()
    for feature, names in losses_by_feature().items():
        register_term_metrics(TermsMetric, map(name_of_term, names), [feature])


def register_check(checks: ModuleType) -> None:
    """Let Ludwig itself ask, for each configuration, whether the strict checks of this package are in place."""
    checks.register_config_check(check_config)


def check_config(config: Any) -> None:
    """Refuse the losses of a configuration where the checks that would refuse them are not in place."""
    from ludwig_losses.host import contract  # Ludwig is only partly loaded when this is registered.

    contract.check_config(config)
