"""Operators that each metric of the package starts per batch on an accelerator; ``operators.py`` runs this.

A process of its own: the losses of the package are switched off where those of Ludwig are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ludwig.schema  # noqa: F401  (must come before its modules)
import torch
from ludwig.modules.loss_modules import create_loss
from ludwig.modules.metric_modules import LudwigMetric
from ludwig.schema.features.loss.loss import get_loss_cls
from torch import Tensor

import operators
from ludwig_losses.metrics.reported.amounts import DevianceMetric
from ludwig_losses.metrics.reported.anomaly import AnomalyRankingMetric, AnomalyThresholdMetric
from ludwig_losses.metrics.reported.contrastive import ContrastiveMetric
from ludwig_losses.metrics.reported.intervals import IntervalMetric
from ludwig_losses.metrics.reported.labels import LabelsMetric
from ludwig_losses.metrics.reported.open_set import OpenSetMetric
from ludwig_losses.metrics.reported.ordinal import OrdinalMetric
from ludwig_losses.metrics.reported.segmentation import SegmentationMetric
from ludwig_losses.metrics.reported.terms import TermsMetric
from ludwig_losses.metrics.reported.token_classes import TokenClassMetric

ROWS, CLASSES = 128, 10
Batch = tuple[Tensor, Tensor]


def loss(feature: str, name: str, **options: Any) -> Any:
    """A loss in whose configuration classes are indices already."""
    made = get_loss_cls(feature, name).from_dict({"type": name})
    for option, value in options.items():
        setattr(made, option, value)
    return create_loss(made)


def classes() -> Batch:
    return torch.randn(ROWS, CLASSES), torch.arange(ROWS) % CLASSES


def rows() -> Batch:
    return torch.randn(ROWS, CLASSES), torch.zeros(ROWS, CLASSES)


def masks() -> Batch:
    return torch.randint(CLASSES, (8, 64, 64)), torch.randint(CLASSES, (8, 64, 64))


def labels() -> Batch:
    return torch.rand(ROWS, CLASSES), torch.rand(ROWS, CLASSES) > 0.5


def tokens() -> Batch:
    return torch.randint(CLASSES, (ROWS, 20)), torch.randint(CLASSES, (ROWS, 20))


def quantiles() -> Batch:
    return torch.randn(ROWS, 3), torch.randn(ROWS)


def pairs() -> Batch:
    return torch.randn(ROWS, 2), torch.randn(ROWS)


def counts() -> Batch:
    return torch.randn(ROWS), torch.arange(ROWS) % 4.0


def flags() -> Batch:
    return torch.rand(ROWS), torch.arange(ROWS) % 3 - 1.0


def terms() -> TermsMetric:
    both = {"terms": [{"type": "focal_loss"}, {"type": "poly_loss"}]}
    return TermsMetric(create_loss(get_loss_cls("category", "compound_loss").from_dict(both)))


METRICS: dict[str, tuple[Callable[[], LudwigMetric], Callable[[], Batch]]] = {
    "terms of a compound loss": (terms, classes),
    "alignment, uniformity, pair accuracy": (lambda: ContrastiveMetric(loss("vector", "nt_xent_loss")), rows),
    "open-set AUROC, OSCR": (
        lambda: OpenSetMetric(loss("category", "entropic_open_set", background_class=[1])),
        classes,
    ),
    "rank error, quadratic kappa": (
        lambda: OrdinalMetric(loss("category", "corn", order=[{str(c): c} for c in range(CLASSES)])),
        classes,
    ),
    "mean IoU, Dice, pixel accuracy": (lambda: SegmentationMetric(CLASSES), masks),
    "the same with an ignored class": (lambda: SegmentationMetric(CLASSES, ignored=(2,)), masks),
    "F1, Hamming distance, average precision of labels": (
        lambda: LabelsMetric([*range(1, CLASSES)], CLASSES, 0.5),
        labels,
    ),
    "F1 of token classes": (lambda: TokenClassMetric(CLASSES, (0,), (0, 1, 2, 3)), tokens),
    "quantiles and their interval": (lambda: IntervalMetric(loss("number", "quantile_loss")), quantiles),
    "interval of a normal distribution": (lambda: IntervalMetric(loss("number", "gaussian_nll_loss")), pairs),
    "deviance, Poisson": (lambda: DevianceMetric(loss("number", "poisson_nll_loss")), counts),
    "deviance, Tweedie": (lambda: DevianceMetric(loss("number", "tweedie_loss")), counts),
    "AUROC, average precision, F1 of anomalies": (AnomalyRankingMetric, flags),
    "precision, recall at a threshold": (AnomalyThresholdMetric, flags),
}


def main() -> None:
    for name, (make_metric, make_batch) in METRICS.items():
        metric, batch = make_metric(), make_batch()
        print(f"| {name} | {len(operators.count_calls(lambda m=metric, b=batch: m.update(*b)).operators)} |")


if __name__ == "__main__":
    main()
