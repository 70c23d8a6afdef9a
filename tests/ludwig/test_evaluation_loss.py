"""The loss of an evaluation is that of all rows together, whatever the size of the batches."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.distributed import init_dist_strategy
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.utils.strings_utils import SpecialSymbol
from torch import Tensor

import declared
from ludwig_losses import ClassificationLoss, Loss
from ludwig_losses.declare.remembered import Remembered
from ludwig_losses.functional import _numerics
from ludwig_losses.host.model.metrics import DeclaredLossMetric
from ludwig_losses.host.registry import find, losses_for
from ludwig_losses.metrics.reported.terms import TermsMetric
from synchronising import SynchronisingOperators

ROWS, CLASSES = 14, 4
SIZES = (1, 2, 7, ROWS)

# What changes which elements count, and how much, once classes are indices.
OPTIONS = {
    "class_weights": [0.5, 2.0, 1.0, 3.0],
    "ignore_index": [1],
    "padding_index": 0,
    "normalize": True,
    "background_class": [1],
    "order": [{"a": 2}, {"b": 0}, {"c": 3}],
}


def classes(*shape: int) -> Tensor:
    """Classes by row: two rows of class 1, four of class 0, one of each, and others."""
    target = torch.randint(CLASSES, (ROWS, *shape), generator=torch.Generator().manual_seed(1))
    target[:2], target[2:6] = 1, 0
    target[-CLASSES:] = torch.arange(CLASSES).view(-1, *[1] * len(shape))
    return target


def logits(*shape: int) -> Tensor:
    return 2 * torch.randn((ROWS, *shape), generator=torch.Generator().manual_seed(2))


BATCHES: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "anomaly": lambda: (logits().abs(), (classes() % 3 - 1 + (classes() == 1)).clamp_max(1).float()),
    "binary": lambda: (logits(), classes() % 2 == 1),
    "category": lambda: (logits(CLASSES), classes().to(torch.int8)),
    "image": lambda: (logits(CLASSES, 3, 2), classes(3, 2).to(torch.uint8)),
    "number": lambda: (logits(), logits().flip(0)),
    "sequence": lambda: (logits(5, CLASSES), classes(5).to(torch.int8)),
    "set": lambda: (logits(CLASSES), classes(CLASSES) > 1),
    "text": lambda: (logits(5, CLASSES), classes(5).to(torch.int8)),
    "timeseries": lambda: (logits(3), logits(3).flip(0)),
    "vector": lambda: (logits(CLASSES), logits(CLASSES).flip(0).softmax(dim=1)),
}


def cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every loss on every feature, with each option that it has and with all of them."""
    for name, declaration in declared.SINGLE.items():
        for feature in declaration.features:
            options = {
                key: value
                for key, value in OPTIONS.items()
                if key in declaration.parameters and feature in declaration.features_with(key)
            }
            each = [{key: value} for key, value in options.items()]
            for chosen in ({}, *each, *([options] if len(each) > 1 else ())):
                yield feature, name, chosen


CASES = list(cases())
MEANS = [case for case in CASES if not declared.FACTS[case[1]].of_whole_batch] + [
    ("image", "lovasz_softmax_loss", {"per_image": True, **options})
    for options in ({}, {"ignore_index": [1]}, {"classes": [2, 3], "ignore_index": [1]})
]
with_every_mean = pytest.mark.parametrize(("feature", "name", "options"), MEANS, ids=str)


def test_every_declared_loss_is_here() -> None:
    found = {(feature, name) for feature, name, _ in CASES} | {(feature, "compound_loss") for feature in BATCHES}
    assert found - {("anomaly", "compound_loss")} == {
        (feature, name) for name, loss in declared.DECLARATIONS.items() for feature in loss.features
    }
    used = {key for _, _, options in CASES for key in options}
    assert used == {*OPTIONS}


def config_of(feature: str, name: str, options: dict[str, Any]) -> Any:
    """A configuration in which classes are indices already."""
    config = get_loss_cls(feature, name).from_dict({"type": name})
    for option, value in options.items():
        setattr(config, option, value)
    return config


def batch_of(feature: str, config: Any) -> tuple[Tensor, Tensor]:
    """A batch, with as many outputs of the decoder for each target as the loss has."""
    preds, target = BATCHES[feature]()
    target = target.abs() if config.of_amounts else target
    return (preds if config.outputs is None else logits(*preds.shape[1:], config.outputs)), target


def measured(metric: Any, size: int, preds: Tensor, target: Tensor) -> Any:
    for batch in zip(preds.split(size), target.split(size), strict=True):
        metric.update(*batch)
    return metric.compute()


@pytest.fixture(autouse=True, scope="module")
def one_process() -> None:
    """Ludwig's metrics ask for a strategy, which a model would have chosen."""
    init_dist_strategy("local")


@pytest.fixture(params=["remembered", "computed anew"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a loss was divided by is known from the loss, or has to be found again."""
    if request.param != "remembered":
        monkeypatch.setattr(Remembered, "values", lambda self, *tensors: {})


@with_every_mean
@pytest.mark.usefixtures("memory")
def test_a_mean_is_that_of_all_rows(feature: str, name: str, options: dict[str, Any]) -> None:
    config = config_of(feature, name, options)
    batch = batch_of(feature, config)
    expected = float(create_loss(config)(*batch))
    assert expected != 0
    for size in SIZES:
        assert float(measured(DeclaredLossMetric(config), size, *batch)) == pytest.approx(expected, rel=1e-6), size


@pytest.mark.parametrize(("feature", "name", "options"), CASES, ids=str)
def test_no_batch_is_waited_for(
    feature: str, name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its denominator is remembered or not."""
    monkeypatch.setattr(_numerics, "HOST_DEVICES", frozenset())
    config = config_of(feature, name, options)
    metric, batch = DeclaredLossMetric(config), batch_of(feature, config)
    with SynchronisingOperators() as mode:
        metric.update(*batch)
        metric.loss_function.denominator(*batch)
    assert mode.found == []


# Ludwig's own losses, which are means of elements, as terms of a loss.
DEPENDS_ON_THE_FIRST_ROW = "sequence_softmax_cross_entropy"
OWN = [
    (feature, name, options)
    for feature in BATCHES
    for name in losses_for(feature)
    if find(name) is None and name != DEPENDS_ON_THE_FIRST_ROW
    for options in ({}, *([{"class_weights": OPTIONS["class_weights"]}] if "cross_entropy" in name else ()))
    if not options or "binary" not in name
]


def compound(feature: str, *terms: dict[str, Any]) -> Any:
    return get_loss_cls(feature, "compound_loss").from_dict({"type": "compound_loss", "terms": copy.deepcopy([*terms])})


@pytest.mark.parametrize(("feature", "name", "options"), OWN, ids=str)
def test_terms_of_ludwig_are_means_of_all_rows(feature: str, name: str, options: dict[str, Any]) -> None:
    config = compound(
        feature, {"type": name, "weight": 0.5, **options}, {"type": name, "weight": 2}, {"type": name, "weight": 0}
    )
    loss, batch = create_loss(config), BATCHES[feature]()
    terms = {term: float(loss.term(index, *batch)) for index, term in enumerate(loss.names)}
    for size in SIZES:
        assert float(measured(DeclaredLossMetric(config), size, *batch)) == pytest.approx(float(loss(*batch)), rel=1e-6)
        found = measured(TermsMetric(create_loss(config)), size, *batch)
        assert {term: float(value) for term, value in found.items()} == pytest.approx(terms, rel=1e-6)


def test_what_ludwig_ignores_does_not_count() -> None:
    """Its cross-entropies leave out -100, and those for sequences the padding and the first row of a batch."""
    preds, target = BATCHES["category"]()
    target[:3] = -100
    config = compound("category", {"type": "softmax_cross_entropy", "class_weights": OPTIONS["class_weights"]})
    expected = float(create_loss(config)(preds, target))
    for size in (7, ROWS):  # Ludwig's loss of nothing is no number
        assert float(measured(DeclaredLossMetric(config), size, preds, target)) == pytest.approx(expected, rel=1e-6)
    preds, target = BATCHES["sequence"]()
    metric = TermsMetric(create_loss(compound("sequence", {"type": DEPENDS_ON_THE_FIRST_ROW})))
    (found,) = measured(metric, 7, preds, target).values()
    rows = [row for row in range(ROWS) if row % 7]
    tokens, padding = target[rows].flatten().long(), SpecialSymbol.PADDING.value
    expected = torch.nn.functional.cross_entropy(preds[rows].flatten(0, 1), tokens, ignore_index=padding)
    assert (tokens == padding).any() and float(found) == pytest.approx(float(expected), rel=1e-6)


def test_the_sum_of_terms_is_that_of_their_values() -> None:
    """Each with its own denominator, and a term without a number in some batches."""
    terms = (
        {"type": "poly_loss", "weight": 2, "ignore_index": [1]},
        {"type": "focal_loss", "normalize": True},
        {"type": "softmax_cross_entropy", "class_weights": OPTIONS["class_weights"], "weight": 0.5},
        {"type": "sparsemax_loss", "weight": 0},
    )
    config, batch = compound("category", *terms), BATCHES["category"]()
    expected = float(create_loss(config)(*batch))
    for size in SIZES:
        assert float(measured(DeclaredLossMetric(config), size, *batch)) == pytest.approx(expected, rel=1e-6)
        values = measured(TermsMetric(create_loss(config)), size, *batch)
        assert sum(term.get("weight", 1) * value for term, value in zip(terms, values.values(), strict=True)) == (
            pytest.approx(expected, rel=1e-6)
        )


IMAGES = [{}, {"ignore_index": [1]}, {"per_image": False}, {"per_image": False, "ignore_index": [1, 0]}]


@pytest.mark.parametrize("options", IMAGES, ids=str)
@pytest.mark.parametrize("name", ["dice_loss", "lovasz_softmax_loss"])
@pytest.mark.parametrize("size", SIZES)
def test_batches_of_images_count_by_the_images_with_something_that_counts(name: str, options: dict, size: int) -> None:
    config, (preds, target) = config_of("image", name, options), BATCHES["image"]()
    loss, total, count = create_loss(config), 0.0, 0
    for part, labels in zip(preds.split(size), target.split(size), strict=True):
        images = sum(
            any(c not in options.get("ignore_index", ()) for c in image.flatten().tolist()) for image in labels
        )
        total, count = total + images * float(loss(part, labels)), count + images
    assert float(measured(DeclaredLossMetric(config), size, preds, target)) == pytest.approx(total / count, rel=1e-6)


@pytest.mark.parametrize("options", [{}, {"pairing": "target"}, {"pairing": "target", "average": "anchors"}], ids=str)
@pytest.mark.parametrize("size", [2, 7, ROWS])
def test_contrastive_batches_count_by_their_pairs(options: dict, size: int) -> None:
    config, (preds, _) = config_of("vector", "nt_xent_loss", options), BATCHES["vector"]()
    target = torch.tensor([0, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8, 8, 8.0]).unsqueeze(1)
    loss, total, count = create_loss(config), 0.0, 0
    for part, labels in zip(preds.split(size), target.split(size), strict=True):
        label = labels.flatten().tolist() if options else [row // 2 for row in range(len(part))]
        partners = [label.count(one) - 1 for one in label]
        pairs = sum(map(bool, partners)) if "average" in options else sum(partners)
        total, count = total + pairs * float(loss(part, labels)), count + pairs
    assert float(measured(DeclaredLossMetric(config), size, preds, target)) == pytest.approx(total / count, rel=1e-6)


def test_data_of_which_nothing_counts_has_a_loss_of_0_and_says_so() -> None:
    metric, preds = DeclaredLossMetric(config_of("category", "poly_loss", {"ignore_index": [1]})), logits(CLASSES)
    with pytest.warns(UserWarning, match="No row of the data counts in the loss"):
        assert measured(metric, 2, preds, torch.ones(ROWS, dtype=torch.int8)) == 0
    metric.update(preds, classes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metric.compute() > 0


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_without_a_batch_there_is_no_loss() -> None:
    for metric in (
        DeclaredLossMetric(config_of("category", "poly_loss", {})),
        DeclaredLossMetric(compound("category", {"type": "poly_loss"}, {"type": "focal_loss"})),
    ):
        assert metric.compute().isnan()
    assert TermsMetric(create_loss(compound("category", {"type": "poly_loss"}))).compute() == {}


class Own(ClassificationLoss):
    """Decides itself what counts."""

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return self.mean(preds.logsumexp(dim=1), target, target != 1)


class OfRows(Loss):
    """A mean over rows of any shape."""

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return (preds - target).square().flatten(1).sum(dim=1).mean()


def test_a_loss_of_ones_own_counts_by_what_it_has_divided_by() -> None:
    config = config_of("category", "poly_loss", {"class_weights": OPTIONS["class_weights"]})
    for loss, batch in ((Own(config), BATCHES["category"]()), (OfRows(config), BATCHES["timeseries"]())):
        expected = float(loss(*batch))
        for size in SIZES:
            metric = DeclaredLossMetric(config)
            metric.loss_function = loss
            assert float(measured(metric, size, *batch)) == pytest.approx(expected, rel=1e-6)


def test_many_batches_are_added_up_without_losing_digits() -> None:
    """Added one by one in float32, their sum would be off by more."""
    config = config_of("anomaly", "deep_sad", {})
    metric, scores = DeclaredLossMetric(config), torch.rand(5000, generator=torch.Generator().manual_seed(3)) + 1000
    found = measured(metric, 1, scores, torch.full((len(scores),), -1.0))
    assert float(found) == pytest.approx(float(scores.double().mean()), rel=1e-7)


def frame() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    target = BATCHES["category"]()[1].numpy()
    x = generator.normal(size=(ROWS, 3)).round(3)
    words = np.array(["red", "green", "blue"])
    return pd.DataFrame(
        {
            **{f"x{i}": x[:, i] for i in range(3)},
            "category": np.array(["a", "ignored", "b", "c"])[target],
            "binary": np.where(target == 0, "no", "yes"),
            "anomaly": np.where(target == 1, 1, np.where(target == 0, 0, -1)),
            "number": x[:, 0] * x[:, 1],
            "words": [" ".join(words[generator.integers(3, size=1 + row % 4)]) for row in range(ROWS)],
        }
    )


WEIGHTS = {"a": 1, "ignored": 5, "b": 2, "c": 4}
ROWS_OF_NUMBERS = {
    "input_features": [{"name": f"x{i}", "type": "number"} for i in range(3)],
    "output_features": [
        {
            "name": "focal",
            "column": "category",
            "type": "category",
            "loss": {
                "type": "focal_loss",
                "ignore_index": "ignored",
                "class_weights": WEIGHTS,
                "weight": 3,
                "alpha": None,
            },
        },
        {
            "name": "compound",
            "column": "category",
            "type": "category",
            "loss": {
                "type": "compound_loss",
                "terms": [
                    {"type": "poly_loss", "ignore_index": ["ignored", "a"]},
                    {"type": "softmax_cross_entropy", "class_weights": WEIGHTS, "weight": 0.5},
                ],
            },
        },
        {
            "name": "corn",
            "column": "category",
            "type": "category",
            "loss": {"type": "corn", "order": ["a", "b", "c", "ignored"]},
        },
        {"name": "binary", "type": "binary", "loss": {"type": "focal_loss", "normalize": True}},
        {"name": "anomaly", "type": "anomaly", "loss": {"type": "deep_svdd"}},
        {"name": "number", "type": "number"},
    ],
}
TOKENS = {
    "input_features": [{"name": "words", "type": "text", "encoder": {"type": "embed", "reduce_output": None}}],
    "output_features": [
        {
            "name": "tags",
            "column": "words",
            "type": "text",
            "decoder": {"type": "tagger"},
            "loss": {"type": "sparsemax_loss"},
        }
    ],
}


@pytest.mark.parametrize("config", [ROWS_OF_NUMBERS, TOKENS], ids=["rows", "tokens"])
def test_an_evaluation_does_not_depend_on_the_size_of_its_batches(config: dict, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = frame()
    trainer = {"epochs": 1, "batch_size": 4, "eval_batch_size": 4}
    model = LudwigModel(
        {**copy.deepcopy(config), "combiner": {"type": "concat"}, "trainer": trainer},
        logging_level=logging.ERROR,
    )
    options = {"skip_save_processed_input": True, "skip_save_model": True, "skip_save_progress": True}
    model.train(data.assign(split=0), random_seed=1, **options)
    found = {}
    for size in SIZES:
        statistics, _, _ = model.evaluate(data, batch_size=size)
        losses = {
            (feature, name): value
            for feature, metrics in statistics.items()
            for name, value in metrics.items()
            if name.startswith("loss")
        }
        combined = sum(
            output.get("loss", {}).get("weight", 1) * losses[output["name"], "loss"]
            for output in config["output_features"]
        )
        assert losses["combined", "loss"] == pytest.approx(combined, rel=1e-6)
        found[size] = losses
    assert all(np.isfinite(value) and value != 0 for value in found[ROWS].values())
    for size in SIZES:
        assert found[size] == pytest.approx(found[ROWS], rel=1e-6), size
