"""The metrics that Ludwig reports beside the loss, for a type of features or for those trained with certain losses."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ludwig_losses.metrics.reported.base import FeatureMetric


def feature_metrics() -> Iterator[type[FeatureMetric]]:
    """Yield the metrics of types of features that the modules of this package define."""
    from ludwig_losses.metrics.reported.base import FeatureMetric

    for info in pkgutil.iter_modules(__path__, f"{__name__}."):
        for found in vars(importlib.import_module(info.name)).values():
            if isinstance(found, type) and issubclass(found, FeatureMetric) and found.NAMES:
                yield found


# Ludwig comes first, whose import registers these metrics: else one of these modules would wait for itself.
import ludwig.schema  # noqa: E402, F401
