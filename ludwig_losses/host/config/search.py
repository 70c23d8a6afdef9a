"""Hyperparameter searches over losses: trials are comparable by a metric that does not change with what is searched."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

from ludwig.constants import COMBINED, LOSS
from ludwig.modules.metric_registry import get_metrics_for_type
from ludwig.schema.features.loss.loss import get_loss_schema_registry
from ludwig.utils.data_utils import load_yaml

from ludwig_losses.metrics.catalogue import judging

logger = logging.getLogger(__name__)


def search_with_warning(search: Callable, config: Any, *args: Any, **kwargs: Any) -> Any:
    """Search as Ludwig does, with a warning if the trials are compared by losses on different scales."""
    warning = incomparable(load_yaml(config) if isinstance(config, str) else config)
    if warning:
        logger.warning(warning)
    return search(config, *args, **kwargs)


def incomparable(config: dict[str, Any]) -> str | None:
    """Return what is wrong with the metric of a search and what to write instead, or ``None``.

    A search that varies the loss and looks for the smallest one finds the smallest scale: a larger ``gamma`` of
    focal loss multiplies the loss of an example by more factors ``1 - p``, so the largest one wins for every model.
    """
    section = config.get("hyperopt") or {}
    metric, watched = section.get("metric") or LOSS, section.get("output_feature") or COMBINED
    if metric != LOSS and metric not in get_loss_schema_registry():
        return None
    features = {feature.get("name"): feature.get("type") for feature in config.get("output_features") or []}
    searched: dict[str, list[str]] = {}
    for name, key in _searched_losses(section.get("parameters") or {}, features):
        if watched in (COMBINED, name):
            searched.setdefault(name, []).append(key)
    if not searched:
        return None
    keys = ", ".join(sorted({key for keys in searched.values() for key in keys}))
    advice = _advice({name: features[name] for name in searched})
    return (
        f"hyperopt.metric: {metric} compares values on different scales, because the search varies {keys}: the trial "
        f"with the smallest scale wins, not the one with the best model. {advice}"
    )


def _advice(features: dict[str, str]) -> str:
    """Return what to write for a search over the losses of some features, given with their types."""
    better = {name: judging(kind) for name, kind in features.items()}
    instead = [
        f"`output_feature: {name}`, `metric: {metric}`, `goal: maximize`"
        for name, metric in better.items()
        if metric in get_metrics_for_type(features[name])
    ]
    if instead:
        return f"Write {' or '.join(instead)} in the section hyperopt."
    names = ", ".join(f"{kind} feature '{name}'" for name, kind in features.items())
    return (
        f"Ludwig has no other metric for the {names}: search other parameters, and compare models with different "
        "losses by a measure of your own."
    )


def _searched_losses(parameters: dict[str, Any], features: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the output feature and the name of each searched parameter of a loss."""
    for key in parameters:
        match = re.fullmatch(rf"(.+)\.{LOSS}(\..+)?", str(key))
        if match is None:
            continue
        owner = match[1]
        if owner.startswith("defaults."):
            feature_type = owner.removeprefix("defaults.")
            yield from ((name, key) for name, kind in features.items() if kind == feature_type)
        elif owner in features:
            yield owner, key
