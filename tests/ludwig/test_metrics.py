"""What all metrics of the pack have in common."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.features.binary_feature import BinaryOutputFeature
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from torch.multiprocessing.reductions import StorageWeakRef
from torchmetrics import Metric

import declared
import matrix
from counting import operators
from ludwig_losses.declare import remembered as _remembered
from ludwig_losses.declare.loss import ClassificationLoss
from ludwig_losses.declare.remembered import Remembered
from ludwig_losses.functional import _numerics
from ludwig_losses.host.model.metrics import DeclaredLossMetric
from ludwig_losses.losses import fenchel_young
from ludwig_losses.losses.poly import PolyLoss
from ludwig_losses.metrics.reported.amounts import DevianceMetric
from ludwig_losses.metrics.reported.anomaly import AnomalyRankingMetric, AnomalyThresholdMetric
from ludwig_losses.metrics.reported.base import RowsMetric
from ludwig_losses.metrics.reported.contrastive import ContrastiveMetric
from ludwig_losses.metrics.reported.intervals import IntervalMetric
from ludwig_losses.metrics.reported.labels import LabelsMetric
from ludwig_losses.metrics.reported.open_set import OpenSetMetric
from ludwig_losses.metrics.reported.ordinal import OrdinalMetric
from ludwig_losses.metrics.reported.segmentation import SegmentationMetric
from ludwig_losses.metrics.reported.terms import TermsMetric
from ludwig_losses.metrics.reported.token_classes import TokenClassMetric
from ludwig_losses.parameters import Feature
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
    "loss": lambda: DeclaredLossMetric(resolved("category", "poly_loss")),
    "terms": lambda: TermsMetric(create_loss(get_loss_cls("category", "compound_loss").from_dict(TERMS))),
    "consecutive pairs": lambda: ContrastiveMetric(create_loss(resolved("vector", "nt_xent_loss"))),
    "pairs by target": lambda: ContrastiveMetric(create_loss(resolved("vector", "nt_xent_loss", pairing="target"))),
    "open set": lambda: OpenSetMetric(create_loss(resolved("category", "entropic_open_set", background_class=[1]))),
    "ordinal": lambda: OrdinalMetric(create_loss(resolved("category", "corn", order=[{"a": 2}, {"b": 0}]))),
    "segmentation": lambda: SegmentationMetric(CLASSES, ignored=(2,)),
    "labels": lambda: LabelsMetric([0, 2], CLASSES, 0.5),
    "token classes": lambda: TokenClassMetric(CLASSES, (0,), (0,)),
    "quantiles": lambda: IntervalMetric(create_loss(resolved("number", "quantile_loss"))),
    "normal": lambda: IntervalMetric(create_loss(resolved("number", "gaussian_nll_loss"))),
    "deviance, Poisson": lambda: DevianceMetric(create_loss(resolved("number", "poisson_nll_loss"))),
    "deviance, Tweedie": lambda: DevianceMetric(create_loss(resolved("number", "tweedie_loss"))),
    "anomaly ranking": AnomalyRankingMetric,
    "anomaly threshold": AnomalyThresholdMetric,
}
# What each of them starts per batch on an accelerator, beside the loss itself.
MOST_OPERATORS = {
    "loss": 2,
    "terms": 3,
    "consecutive pairs": 33,
    "pairs by target": 31,
    "open set": 15,
    "ordinal": 27,
    "segmentation": 11,
    "labels": 2,
    "token classes": 22,
    "quantiles": 36,
    "normal": 44,
    "deviance, Poisson": 22,
    "deviance, Tweedie": 30,
    "anomaly ranking": 1,
    "anomaly threshold": 1,
}


def batch(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    classes = torch.arange(ROWS) % CLASSES
    if name == "segmentation":
        return classes.view(1, 3, 4), classes.flip(0).view(1, 3, 4)
    if name == "labels":
        return torch.rand(ROWS, CLASSES), torch.eye(CLASSES)[classes] > 0
    if name == "token classes":
        return classes.view(3, 4), classes.flip(0).view(3, 4)
    if name in ("quantiles", "normal"):
        return torch.randn(ROWS, 3)[:, : 3 - (name == "normal")], torch.randn(ROWS)
    if name.startswith("deviance"):
        return torch.randn(ROWS), classes.float()
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
def test_a_batch_starts_few_operators(name: str) -> None:
    metric, (preds, target) = METRICS[name](), batch(name)
    counted = operators.count_calls(lambda: metric.update(preds, target))
    assert len(counted.operators) <= MOST_OPERATORS[name], counted.operators


@pytest.mark.parametrize("name", METRICS)
def test_both_ways_are_equal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu, elsewhere = METRICS[name](), METRICS[name]()
    preds, target = batch(name)
    on_cpu.update(preds, target)
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    elsewhere.update(preds, target)
    for state in on_cpu._defaults:
        torch.testing.assert_close(getattr(elsewhere, state), getattr(on_cpu, state))


@pytest.mark.parametrize("loss", [{"type": "poly_loss"}, {"type": "compound_loss", "terms": [{"type": "poly_loss"}]}])
def test_metrics_compute_no_loss_again(loss: dict, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither that of a training batch nor, twice, that of an evaluated one; and they report what they would compute."""
    config, path = matrix.write("category", loss, tmp_path)
    seen = []

    def forward(self, preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(preds.detach().numpy().tobytes())
        return original(self, preds, target)

    def statistics() -> dict:
        seen.clear()
        model = LudwigModel(copy.deepcopy(config), logging_level=logging.ERROR)
        stats = model.train(str(path), skip_save_processed_input=True, skip_save_model=True, random_seed=1).train_stats
        return {"training": stats.training["y"], "validation": stats.validation["y"]}

    original = PolyLoss.forward
    monkeypatch.setattr(PolyLoss, "forward", forward)
    monkeypatch.chdir(tmp_path)
    once = statistics()
    assert len(seen) == len({*seen}) > 0
    monkeypatch.setattr(ClassificationLoss, "of_batch_alone", False)
    assert statistics() == once
    assert len(seen) > len({*seen})


PROJECTING = [
    ("sparsemax_loss", {}),
    ("entmax_1.5_loss", {"label_smoothing": 0.1}),
    ("entmax_loss", {"alpha": 1.2}),
    ("tempered_softmax_cross_entropy", {"t1": 0.5, "t2": 1.5}),
    ("entropic_open_set", {"background_class": [1]}),
    ("objectosphere", {"background_class": [1]}),
    ("objectosphere", {"background_class": [0, 1]}),
]


OTHERS = [
    ("focal_loss", {"class_weights": [1.0, 2.0, 0.5], "alpha": [0.2, 0.3, 0.5], "ignore_index": 1}),
    ("poly_loss", {"label_smoothing": 0.1}),
    ("entropic_open_set", {"background_class": [0, 2]}),
    ("corn", {"order": [{"a": 2}, {"b": 0}]}),
]


AS_DECLARED = [(name, {}) for name, found in declared.SINGLE.items() if "category" in found.features]


@pytest.mark.parametrize(
    ("name", "options"), [*PROJECTING, *OTHERS, *(row for row in AS_DECLARED if row not in PROJECTING)], ids=str
)
def test_neither_training_nor_predictions_wait_for_a_batch(
    name: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    loss = create_loss(resolved("category", name, **options))
    logits, target = batch(name)
    logits.requires_grad_()
    with SynchronisingOperators() as mode:
        loss(logits, target).backward()
        for predict in filter(None, (loss.projection, loss.score, loss.decision)):
            predict(logits)
            predict(logits.detach() / 2)  # nothing is known of these
    assert mode.found == []


@pytest.mark.parametrize(("name", "options"), PROJECTING, ids=str)
def test_predictions_are_what_the_loss_has_found(name: str, options: dict) -> None:
    """The same, with the same derivatives, as those of logits that no loss was computed of."""
    loss = create_loss(resolved("category", name, **options))
    logits, target = batch(name)
    logits = (3 * logits).requires_grad_()
    weight = torch.rand(ROWS, CLASSES)

    def predicted() -> list[torch.Tensor]:
        p = loss.projection(logits)
        (gradient,) = torch.autograd.grad((weight * p).sum(), logits)
        return [p.detach(), gradient, *([] if loss.score is None else [loss.score(logits)])]

    expected = predicted()
    loss(logits, target)
    assert loss.probabilities.remembered(logits) is not None
    assert (loss.score is None) == (loss.probabilities.remembered(logits, "score") is None)
    for found, fresh in zip(predicted(), expected, strict=True):
        torch.testing.assert_close(found, fresh, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        logits += 1
    assert loss.probabilities.remembered(logits) is None


@pytest.mark.parametrize(
    "loss",
    [
        {"type": "binary_weighted_cross_entropy"},
        {"type": "tempered_softmax_cross_entropy", "t1": 0.5, "t2": 1.5},
        {"type": "entropic_open_set", "background_class": [0]},
    ],
    ids=lambda loss: loss["type"],
)
def test_a_probability_at_the_threshold_is_true_as_with_ludwigs_own_loss(loss: dict) -> None:
    config = get_loss_cls("binary", loss["type"]).from_dict(loss)
    logits = torch.tensor([-0.01, 0.0, 0.01])

    def predicted(threshold: float) -> dict[str, torch.Tensor]:
        feature = SimpleNamespace(threshold=threshold, calibration_module=None, loss=config)
        return BinaryOutputFeature.create_predict_module(feature)({"y::logits": logits}, "y")

    at_zero = predicted(0.0)["probabilities"][1].item()
    assert predicted(at_zero)["predictions"].tolist() == [False, True, True]


def test_a_training_searches_a_projection_once_for_a_batch(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, path = matrix.write("category", {"type": "sparsemax_loss"}, tmp_path)
    calls = {"loss": 0, "projection": 0}

    def counted(function: Callable, name: str) -> Callable:
        def replacement(*args, **kwargs):
            calls[name] += torch.is_grad_enabled()  # neither in evaluations
            return function(*args, **kwargs)

        return replacement

    for name, function in (("loss", "loss_and_probabilities"), ("projection", "project")):
        monkeypatch.setattr(fenchel_young, function, counted(getattr(fenchel_young, function), name))
    monkeypatch.chdir(tmp_path)
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(str(path), skip_save_processed_input=True, skip_save_model=True)
    assert calls["loss"] > 0 == calls["projection"]


class Rows(RowsMetric):
    NAMES = ("rows",)
    columns = 2

    def update(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        self.keep_rows(preds, target)

    def compute(self) -> None:
        """Not asked for."""


@pytest.mark.parametrize("sizes", [[128] * 1000, [1, 5, 2, 128, 128, 7, 300]], ids=["equal", "unequal"])
def test_rows_are_kept_in_order(sizes: list[int]) -> None:
    metric, rows = Rows(), torch.rand(sum(sizes), 2)
    for part in rows.split(sizes):
        metric.update(*part.unbind(dim=1))
    assert torch.equal(torch.stack(metric.kept_rows(), dim=1), rows)
    metric.reset()
    assert metric.kept_rows() is None


@pytest.mark.parametrize(("loss", "stay"), [("poly_loss", True), ("softmax_cross_entropy", False)])
def test_metrics_of_features_with_our_losses_stay_where_they_are(
    loss: str, stay: bool, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ludwig moves each for every batch, and torchmetrics takes up each tensor of each state."""
    config, path = matrix.write("category", {"type": loss}, tmp_path)
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    metrics = model.model.output_features.get("y")._metric_functions.values()
    taken_up: list[int] = []

    def apply(metric: Metric, *args, **kwargs) -> Metric:
        taken_up.append(id(metric))
        return original(metric, *args, **kwargs)

    original = Metric._apply
    monkeypatch.setattr(Metric, "_apply", apply)
    for metric in metrics:
        assert metric.to(torch.device("cpu")) is metric
    assert not taken_up if stay else {*map(id, metrics)} <= {*taken_up}
    for metric in metrics:
        assert metric.to(torch.device("meta")).device.type == "meta"
        states = [getattr(metric, name) for name in metric._defaults]
        assert {state.device.type for state in states if isinstance(state, torch.Tensor)} <= {"meta"}


def test_batches_whose_loss_is_not_a_number_do_not_count() -> None:
    metric, (preds, target) = METRICS["loss"](), batch("loss")
    metric.update(preds, target)
    expected = metric.compute()
    metric.update(preds.new_full(preds.shape, torch.nan), target)
    with pytest.warns(UserWarning, match="not a number"):
        assert metric.compute() == expected


def test_what_is_remembered_belongs_to_unchanged_tensors() -> None:
    known, preds, target = Remembered(), torch.randn(4, 3), torch.arange(4) % 3
    known.values(preds, target)["loss"] = 1.0
    assert known.values(preds.detach(), target) == {"loss": 1.0}
    assert known.values(preds[:2], target) == {}
    known.values(preds, target)["loss"] = 1.0
    assert copy.deepcopy(known).values(preds, target) == {}
    preds += 1
    assert known.values(preds, target) == {}
    known.values(preds, target)["loss"] = 1.0
    address = preds.data_ptr()
    del preds
    elsewhere = [torch.randn(4, 3) for _ in range(100)]
    assert all(known.values(x, target) == {} for x in elsewhere if x.data_ptr() == address)


def test_another_threads_batch_is_not_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread predicts at the worst moment: after a look at the key, before one at the values."""
    known, mine, others = Remembered(), torch.randn(4, 3), torch.randn(4, 3)
    known.values(mine)["p"] = "mine"
    look = StorageWeakRef.expired

    def remember_others() -> None:
        known.values(others)["p"] = "others"

    def look_slowly(reference: StorageWeakRef) -> bool:
        monkeypatch.setattr(_remembered.StorageWeakRef, "expired", look)
        thread = threading.Thread(target=remember_others)
        thread.start()
        thread.join()
        return look(reference)

    monkeypatch.setattr(_remembered.StorageWeakRef, "expired", look_slowly)
    assert known.values(mine) == {"p": "mine"}
    assert _remembered.StorageWeakRef.expired is look, "the other thread has been there"
    assert known.values(mine) == {"p": "mine"}
    assert known.values(others) == {}


def test_a_prediction_in_another_thread_is_its_own() -> None:
    """As in a server: each thread remembers what it has computed itself, and predicts the same without."""
    loss = create_loss(resolved("category", "entropic_open_set", background_class=[1]))
    logits = [torch.randn(ROWS, CLASSES).requires_grad_() for _ in range(2)]
    expected = [loss.projection(z).detach() for z in logits]
    loss(logits[0], torch.arange(ROWS) % CLASSES)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(loss.probabilities.remembered, logits[0]).result() is None
        other.submit(loss, logits[1], torch.arange(ROWS) % CLASSES).result()
        assert other.submit(loss.probabilities.remembered, logits[1]).result() is not None
        torch.testing.assert_close(other.submit(loss.projection, logits[1]).result(), expected[1])
    assert loss.probabilities.remembered(logits[0]) is not None
    torch.testing.assert_close(loss.projection(logits[0]), expected[0])


CLASS_LOSSES = [
    *PROJECTING[:5],
    *OTHERS[:2],
    ("corn", {}),
    ("dice_loss", {}),
    ("lovasz_softmax_loss", {}),
    ("focal_loss", {}),
    ("compound_loss", {"terms": [{"type": "poly_loss"}]}),
]


@pytest.mark.parametrize(("name", "options"), CLASS_LOSSES, ids=str)
def test_one_class_is_refused(name: str, options: dict) -> None:
    """Its probability is 1: the loss would be 0, or constant, without a word."""
    feature = "image" if name in ("dice_loss", "lovasz_softmax_loss") else "category"
    options = {
        key: value for key, value in options.items() if key in ("alpha", "t2", "terms") and value != [0.2, 0.3, 0.5]
    }
    config = get_loss_cls(feature, name).from_dict({"type": name, **copy.deepcopy(options)})
    shape = (ROWS, 1, 4, 4) if feature == "image" else (ROWS, 1)
    target = torch.zeros(ROWS, 4, 4) if feature == "image" else torch.zeros(ROWS)
    with pytest.raises(ValueError, match=r"there is one class only, whose probability is 1 .* has nothing to learn"):
        create_loss(config)(torch.randn(shape), target.long())
    with pytest.raises(ValueError, match=r"^loss \(output feature 'y'\): there is one class only, 'a', whose"):
        config.resolve(Feature("y", classes=["a"], num_classes=1))
