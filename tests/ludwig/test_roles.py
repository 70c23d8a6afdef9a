"""All losses of a comparison are measured by what one of them knows of the classes, as Ludwig measures that one."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

import matrix
from ludwig_losses.comparison.plan import fingerprint, plan, with_batch_sizes
from ludwig_losses.comparison.results import Results
from ludwig_losses.comparison.training import Trainings
from ludwig_losses.comparison.worker import do
from ludwig_losses.host.registry import catalogue
from ludwig_losses.metrics.catalogue import metric

ORDER = ["class_0", "class_1", "class_2"]
LOSSES = {
    "default": {"type": "softmax_cross_entropy"},
    "ordinal": {"type": "corn", "order": ORDER},
    "open": {"type": "objectosphere", "background_class": "class_2"},
}
NEW = ("rank_mae", "quadratic_weighted_kappa", "open_set_auroc", "oscr", "closed_set_accuracy", "hits_at_k")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    """A comparison in this process, measured on the validation rows, as Ludwig's own tables are."""
    folder: pathlib.Path = tmp_path_factory.mktemp("roles")
    config, data = matrix.write("category", {}, folder)
    config["output_features"][0]["top_k"] = 2
    config["trainer"]["validation_metric"] = "loss"
    files = {"dataset": str(data), "data": fingerprint(data)}
    runs = plan(with_batch_sizes(config), LOSSES, [0], index=0, split="validation", **files)
    trainings = Trainings()
    reasons = {run: do(run, folder / run.folder, False, trainings) for run in runs}
    return Results.read(runs, lambda run: folder / run.folder, {run: why for run, why in reasons.items() if why})


def test_every_loss_has_every_metric(results):
    assert not results.failed
    for name in NEW:
        assert results.values("default", name).keys() == {0}, name
        assert all(results.values(loss, name) for loss in LOSSES), name
        assert metric(name).is_main


@pytest.mark.parametrize(
    ("loss", "names"), [("ordinal", NEW[:2]), ("open", NEW[2:5]), ("default", NEW[5:]), ("ordinal", NEW[5:])]
)
def test_a_loss_that_has_the_metric_in_ludwig_has_the_same_value(results, loss, names):
    curves = results.found[loss, 0]["curves"]["validation"]
    best = int(np.argmin(curves["loss"]))
    for name in names:
        assert results.values(loss, name)[0] == pytest.approx(curves[name][best], abs=1e-5), name


def test_other_losses_are_measured_by_the_same_classes_on_the_same_rows(results):
    kept = results.arrays("default", 0)
    classes = [*map(str, kept["classes"])]
    rank = np.array([ORDER.index(name) if name in ORDER else -1 for name in classes])
    true, predicted = rank[kept["truth"]], rank[kept["predicted"]]
    assert (predicted >= 0).all()
    found = {name: results.values("default", name)[0] for name in NEW}
    assert found["rank_mae"] == pytest.approx(np.abs(true - predicted).mean())
    assert found["quadratic_weighted_kappa"] == pytest.approx(cohen_kappa_score(true, predicted, weights="quadratic"))
    known = [index for index, name in enumerate(classes) if name != "class_2"]
    is_known = np.isin(kept["truth"], known)
    score = kept["probabilities"][:, known].max(axis=1)
    assert found["open_set_auroc"] == pytest.approx(roc_auc_score(is_known, score))
    assert found["oscr"] <= found["open_set_auroc"]
    likeliest = np.array(known)[kept["probabilities"][:, known].argmax(axis=1)]
    assert found["closed_set_accuracy"] == pytest.approx((likeliest == kept["truth"])[is_known].mean())


def test_what_a_loss_advises_to_watch_is_in_the_catalogue():
    for declaration in catalogue().values():
        for name in declaration.advice.watch:
            assert metric(name).features, (declaration.name, name)
