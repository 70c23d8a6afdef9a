"""What all metrics of the pack have in common."""

from __future__ import annotations

import pytest
import torch
from ludwig.schema.features.loss.loss import get_loss_cls

from ludwig_losses.functional import _numerics
from ludwig_losses.metrics.anomaly import AnomalyRankingMetric, AnomalyThresholdMetric
from ludwig_losses.metrics.contrastive import ContrastiveMetric
from ludwig_losses.metrics.open_set import OpenSetMetric
from ludwig_losses.metrics.ordinal import OrdinalMetric
from ludwig_losses.metrics.segmentation import SegmentationMetric
from ludwig_losses.metrics.terms import TermsMetric
from synchronising import SynchronisingOperators


def resolved(feature: str, name: str, **options):
    """A configuration in which classes are indices already."""
    config = get_loss_cls(feature, name).from_dict({"type": name})
    for option, value in options.items():
        setattr(config, option, value)
    return config


ROWS, CLASSES = 12, 3
TERMS = {"terms": [{"type": "focal_loss"}, {"type": "poly_loss"}]}
METRICS = {
    "terms": lambda: TermsMetric(config=get_loss_cls("category", "compound_loss").from_dict(TERMS)),
    "consecutive pairs": lambda: ContrastiveMetric(config=resolved("vector", "nt_xent_loss")),
    "pairs by target": lambda: ContrastiveMetric(config=resolved("vector", "nt_xent_loss", pairing="target")),
    "open set": lambda: OpenSetMetric(config=resolved("category", "entropic_open_set", background_class=[1])),
    "ordinal": lambda: OrdinalMetric(config=resolved("category", "corn", order=[{"a": 2}, {"b": 0}])),
    "segmentation": lambda: SegmentationMetric(CLASSES, ignored=(2,)),
    "anomaly ranking": AnomalyRankingMetric,
    "anomaly threshold": AnomalyThresholdMetric,
}


def batch(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    classes = torch.arange(ROWS) % CLASSES
    if name == "segmentation":
        return classes.view(1, 3, 4), classes.flip(0).view(1, 3, 4)
    if name.startswith("anomaly"):
        return torch.rand(ROWS), classes - 1.0
    return torch.randn(ROWS, CLASSES), torch.eye(CLASSES)[classes] if "pairs" in name else classes


@pytest.mark.parametrize("name", METRICS)
def test_no_batch_is_waited_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An accelerator is asked for numbers at the end of an evaluation only."""
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    metric, (preds, target) = METRICS[name](), batch(name)
    metric.update(preds, target)
    with SynchronisingOperators() as mode:
        metric.update(preds, target)
    assert mode.found == []


@pytest.mark.parametrize("name", METRICS)
def test_both_ways_are_equal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu, elsewhere = METRICS[name](), METRICS[name]()
    preds, target = batch(name)
    on_cpu.update(preds, target)
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    elsewhere.update(preds, target)
    for state in on_cpu._defaults:
        torch.testing.assert_close(getattr(elsewhere, state), getattr(on_cpu, state))
