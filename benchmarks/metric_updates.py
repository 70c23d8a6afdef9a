"""Operators that each metric of the package starts per batch on an accelerator; ``operators.py`` runs this.

A process of its own: the losses of the package are switched off where those of Ludwig are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ludwig.schema  # noqa: F401  (must come before its modules)
import torch
from ludwig.modules.metric_modules import LudwigMetric
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig_losses.metrics.anomaly import AnomalyRankingMetric, AnomalyThresholdMetric
from ludwig_losses.metrics.contrastive import ContrastiveMetric
from ludwig_losses.metrics.open_set import OpenSetMetric
from ludwig_losses.metrics.ordinal import OrdinalMetric
from ludwig_losses.metrics.segmentation import SegmentationMetric
from ludwig_losses.metrics.terms import TermsMetric
from torch import Tensor

import operators

ROWS, CLASSES = 128, 10
Batch = tuple[Tensor, Tensor]


def config(feature: str, name: str, **options: Any) -> Any:
    """The configuration of a loss in which classes are indices already."""
    made = get_loss_cls(feature, name).from_dict({"type": name})
    for option, value in options.items():
        setattr(made, option, value)
    return made


def classes() -> Batch:
    return torch.randn(ROWS, CLASSES), torch.arange(ROWS) % CLASSES


def rows() -> Batch:
    return torch.randn(ROWS, CLASSES), torch.zeros(ROWS, CLASSES)


def masks() -> Batch:
    return torch.randint(CLASSES, (8, 64, 64)), torch.randint(CLASSES, (8, 64, 64))


def flags() -> Batch:
    return torch.rand(ROWS), torch.arange(ROWS) % 3 - 1.0


def terms() -> TermsMetric:
    both = {"terms": [{"type": "focal_loss"}, {"type": "poly_loss"}]}
    return TermsMetric(config=get_loss_cls("category", "compound_loss").from_dict(both))


METRICS: dict[str, tuple[Callable[[], LudwigMetric], Callable[[], Batch]]] = {
    "terms of a compound loss": (terms, classes),
    "alignment, uniformity, pair accuracy": (lambda: ContrastiveMetric(config("vector", "nt_xent_loss")), rows),
    "open-set AUROC, OSCR": (
        lambda: OpenSetMetric(config("category", "entropic_open_set", background_class=[1])),
        classes,
    ),
    "rank error, quadratic kappa": (
        lambda: OrdinalMetric(config("category", "corn", order=[{str(c): c} for c in range(CLASSES)])),
        classes,
    ),
    "mean IoU, Dice, pixel accuracy": (lambda: SegmentationMetric(CLASSES), masks),
    "the same with an ignored class": (lambda: SegmentationMetric(CLASSES, ignored=(2,)), masks),
    "AUROC, average precision, F1 of anomalies": (AnomalyRankingMetric, flags),
    "precision, recall at a threshold": (AnomalyThresholdMetric, flags),
}


def main() -> None:
    for name, (make_metric, make_batch) in METRICS.items():
        metric, batch = make_metric(), make_batch()
        print(f"| {name} | {len(operators.count_calls(lambda m=metric, b=batch: m.update(*b)).operators)} |")


if __name__ == "__main__":
    main()
