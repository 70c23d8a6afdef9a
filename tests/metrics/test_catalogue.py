"""One name, one meaning, one direction for each metric."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ludwig_losses.metrics.catalogue import METRICS, judging, lower_is_better, metric

FEATURES = {"binary", "category", "image", "vector", "text", "sequence", "anomaly", "number", "timeseries", "set"}


@pytest.mark.parametrize(
    "name", [*METRICS, "recall[a [b]]", "recall[1\n2]", "iou_12", "token_f1_4", "token_f1_O", "token_f1[O]"]
)
def test_every_metric_has_a_meaning(name):
    found = metric(name)
    assert found.meaning.endswith(".") and {*found.features} <= FEATURES and {*found.judges} <= {*found.features}


@pytest.mark.parametrize("name", ["dice", "iou[a]", "iou_x", "recall_1", "token_f1", "loss"])
def test_nothing_else_is_a_metric(name):
    with pytest.raises(KeyError):
        metric(name)


def test_directions():
    assert lower_is_better(["rank_mae", "oscr", "zero_probabilities", "iou_0"]) == ("rank_mae",)


def test_at_most_one_metric_judges_a_feature():
    for feature in FEATURES:
        found = [name for name, entry in METRICS.items() if feature in entry.judges]
        assert found == [*filter(None, [judging(feature)])]


IMPORTS = """
import sys
for names, absent in (
    (["metrics.catalogue", "comparison.api"], ["ludwig", "torch", "sklearn"]),
    (["metrics.functional.classes", "comparison.results"], ["ludwig"]),
):
    for name in names:
        __import__(f"ludwig_losses.{name}")
    assert not {*absent} & {*sys.modules}, names
"""


def test_what_is_imported():
    """Tables of a comparison are written without Ludwig, and what plans one does not even need torch."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
