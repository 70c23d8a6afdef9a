"""Ordinal regression: the order of the classes, what is predicted, and the metrics of ranks."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.distributed import init_dist_strategy
from ludwig.error import ConfigValidationError
from ludwig.modules.loss_modules import create_loss
from ludwig.modules.metric_registry import get_metric_objective
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.schema.model_types.base import ModelConfig
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

import matrix
from ludwig_losses import functional
from ludwig_losses.metrics.reported.ordinal import OrdinalMetric
from ludwig_losses.parameters import Feature

CLASSES = ["mild", "none", "severe", "moderate"]
ORDER = ["none", "mild", "moderate", "severe"]
INDICES = [1, 0, 3, 2]


def resolved(classes=CLASSES, **parameters):
    config = get_loss_cls("category", "corn").from_dict({"type": "corn", **parameters})
    config.resolve(Feature("y", classes=classes, num_classes=len(classes), symbols=frozenset({"<UNK>"})))
    return config


def order_of(config) -> list[str]:
    return [name for entry in config.order for name in entry]


def test_the_order_is_resolved_by_name_and_survives_a_saved_model():
    config = resolved(order=ORDER)
    assert config.order == [{"none": 1}, {"mild": 0}, {"moderate": 3}, {"severe": 2}]
    again = type(config).from_dict(config.to_dict())
    again.resolve(Feature("y", classes=CLASSES, num_classes=4))
    assert again.order == config.order and create_loss(again).order.tolist() == INDICES


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["3", "10", "-1", "2"], ["-1", "2", "3", "10"]),
        (["5.0", "0.5", "1e1"], ["0.5", "5.0", "1e1"]),
        (["<UNK>", "2", "1"], ["1", "2"]),
    ],
)
def test_names_that_are_numbers_have_their_numeric_order(classes, expected):
    assert order_of(resolved(classes)) == expected


@pytest.mark.parametrize(
    ("classes", "order", "expected"),
    [
        (
            CLASSES,
            None,
            r"loss.order \(output feature '\w+'\): order is missing: .* Write order: with these names from low to high: .*'mild', 'moderate'",
        ),
        (["1", "1.0"], None, r"loss.order \(output feature '\w+'\): order is missing"),
        (["1", "nan"], None, r"loss.order \(output feature '\w+'\): order is missing"),
        (CLASSES, ORDER[:3], r"missing \['severe'\]"),
        (CLASSES, [*ORDER, "fatal"], r"unknown \['fatal'\]"),
        (CLASSES, [{name: i} for i, name in enumerate(ORDER)], "gives indices that are not those of the classes"),
    ],
)
def test_no_order_or_a_wrong_one_is_an_error(classes, order, expected):
    with pytest.raises(ValueError, match=expected):
        resolved(classes, order=order)


@pytest.mark.parametrize("order", ["none", ["a", "a"], [1, "1"], [["a"]], [None]])
def test_what_is_no_list_of_names_is_refused_where_it_stands(order):
    output = {"name": "y", "type": "category", "loss": {"type": "corn", "order": order}}
    with pytest.raises(
        ConfigValidationError, match=r"output_features\[0\]\.loss\.order \(.*\): got .*a list with the names"
    ):
        ModelConfig.from_dict({"input_features": [{"name": "x", "type": "number"}], "output_features": [output]})


def test_numbers_and_booleans_are_names():
    output = {"name": "y", "type": "category", "loss": {"type": "corn", "order": [2, 1.5, True]}}
    config = ModelConfig.from_dict({"input_features": [{"name": "x", "type": "number"}], "output_features": [output]})
    assert config.output_features[0].loss.order == ["2", "1.5", "True"]


def test_logits_of_classes_are_those_of_the_boundaries_below_them():
    module = create_loss(resolved(order=ORDER))
    logits, target = 2 * torch.randn(50, 4), torch.randint(4, (50,), dtype=torch.int8)
    tasks, rank = logits[:, INDICES[1:]], torch.tensor([1, 0, 3, 2])[target.long()]
    losses = functional.corn_loss(tasks, rank)
    torch.testing.assert_close(module(logits, target), losses.sum() / (rank + 1).clamp_max(3).sum())
    torch.testing.assert_close(module.projection(logits)[:, INDICES], functional.corn_probabilities(tasks))
    assert torch.equal(module.decision(logits), torch.tensor(INDICES)[functional.corn_rank(tasks)])


def test_a_class_without_a_rank_is_not_predicted_and_does_not_count():
    classes = ["<UNK>", "b", "a"]
    module = create_loss(resolved(classes, order=["a", "b"], class_weights=[5.0, 1.0, 2.0]))
    logits, target = torch.randn(6, 3, requires_grad=True), torch.tensor([0, 1, 2, 2, 1, 0])
    counted = target > 0
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[counted, 1], (target[counted] == 1).float(), weight=torch.tensor([1.0, 2, 2, 1]), reduction="sum"
    )
    torch.testing.assert_close(module(logits, target), expected / 6)
    assert (module.projection(logits)[:, 0] == 0).all() and (module.decision(logits) > 0).all()
    nothing = module(logits, torch.zeros(6, dtype=torch.int8))
    (gradient,) = torch.autograd.grad(nothing, logits)
    assert nothing == 0 and nothing.shape == () and (gradient == 0).all()
    named = create_loss(resolved(classes, order=["a", "<UNK>", "b"]))
    assert named.order.tolist() == [2, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_empty_batches(dtype):
    module = create_loss(resolved(order=ORDER))
    logits, target = (6e4 * torch.randn(8, 4).sign()).to(dtype), torch.randint(4, (8,))
    loss = module(logits.requires_grad_(), target)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.dtype == torch.float32 and loss.isfinite() and gradient.isfinite().all()
    assert module(logits[:0], target[:0]) == 0


@pytest.fixture
def strategy():
    """Ludwig's own metrics cannot be computed without one."""
    init_dist_strategy("local")


def test_metrics_are_those_of_scikit_learn_over_all_batches(strategy):
    config = resolved(order=ORDER)
    metric, module = OrdinalMetric(create_loss(config)), create_loss(config)
    generator = torch.Generator().manual_seed(0)
    batches = [
        (2 * torch.randn(n, 4, generator=generator), torch.randint(4, (n,), generator=generator)) for n in (5, 40)
    ]
    for logits, target in batches:
        metric.update(logits, target.to(torch.int8))
    values = pickle.loads(pickle.dumps(metric)).compute()
    places = torch.tensor([1, 0, 3, 2])
    predicted = torch.cat([places[module.decision(logits)] for logits, _ in batches])
    true = torch.cat([places[target] for _, target in batches])
    assert values["rank_mae"].item() == pytest.approx(mean_absolute_error(true, predicted))
    kappa = cohen_kappa_score(true, predicted, weights="quadratic")
    assert values["quadratic_weighted_kappa"].item() == pytest.approx(kappa)


def test_kappa_is_left_out_where_there_is_one_class_only(strategy):
    metric = OrdinalMetric(create_loss(resolved(order=ORDER)))
    assert metric.compute() == {}
    metric.update(torch.tensor([[0.0, 0, -9, -9]]).repeat(3, 1) - torch.tensor([9.0, 0, 0, 0]), torch.tensor([1, 1, 1]))
    assert {name: value.item() for name, value in metric.compute().items()} == {"rank_mae": 0}
    assert not create_loss(resolved(order=ORDER)).can_evaluate(np.zeros(3))


def test_objectives():
    assert get_metric_objective("rank_mae") == "minimize"
    assert get_metric_objective("quadratic_weighted_kappa") == "maximize"


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    """Grades 1 to 5 that follow from one number with some noise; the middle ones are the most frequent."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=300)
    y = np.digitize(x + generator.normal(0, 0.3, 300), [-1.2, -0.4, 0.4, 1.2]) + 1
    return pd.DataFrame({"x": x, "y": y}), tmp_path_factory.mktemp("grades")


def train(grades, loss: dict, **trainer) -> tuple[LudwigModel, dict]:
    frame, folder = grades
    output = {"name": "y", "type": "category", "loss": loss, "top_k": 2}
    config = {
        "input_features": [{"name": "x", "type": "number"}],
        "output_features": [output],
        "trainer": {"epochs": 30, "batch_size": 32, "eval_batch_size": 64, "learning_rate": 0.03, **trainer},
    }
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(frame, output_directory=str(folder), skip_save_processed_input=True)
    return model, result.train_stats.validation["y"]


@pytest.mark.parametrize("metric", ["rank_mae", "quadratic_weighted_kappa"])
def test_learns_grades_and_follows_its_metrics(grades, metric):
    model, statistics = train(grades, {"type": "corn"}, validation_metric=metric)
    assert order_of(model.config_obj.output_features[0].loss) == ["1", "2", "3", "4", "5"]
    assert min(statistics["rank_mae"]) < 0.5 and max(statistics["quadratic_weighted_kappa"]) > 0.7
    assert {"accuracy", "hits_at_k", "roc_auc", "loss"} <= statistics.keys()
    predicted, _ = model.predict(grades[0])
    names = model.training_set_metadata["y"]["idx2str"]
    p = pd.DataFrame(predicted["y_probabilities"].tolist(), columns=names)[["1", "2", "3", "4", "5"]]
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    median = (p.cumsum(axis=1) < 0.5).sum(axis=1) + 1
    assert (predicted["y_predictions"].astype(int) == median).all()
    # The classes with the largest probabilities, which are not those with the largest logits.
    truth = grades[0]["y"].to_numpy() - 1
    hit = [true in row.argsort()[-2:] for true, row in zip(truth, p.to_numpy(), strict=True)]
    evaluated, _, _ = model.evaluate(grades[0])
    assert evaluated["y"]["hits_at_k"] == pytest.approx(pd.Series(hit).groupby(truth).mean().mean())


def test_is_a_term_that_the_feature_predicts_with(grades):
    terms = [{"type": "corn", "order": [1, 2, 3, 4, 5]}, {"type": "softmax_cross_entropy", "weight": 0.1}]
    model, statistics = train(grades, {"type": "compound_loss", "terms": terms})
    assert {"loss_corn", "loss_softmax_cross_entropy", "rank_mae"} <= statistics.keys()
    loss = model.model.output_features.get("y").train_loss_function
    logits = torch.randn(9, 5)
    outputs = model.model.output_features.get("y").prediction_module({"y::logits": logits}, "y")
    torch.testing.assert_close(outputs["probabilities"], loss.terms[0].projection(logits))
    assert torch.equal(outputs["predictions"], loss.terms[0].decision(logits))


def test_decides_on_the_device_of_the_loss(grades):
    model, _ = train(grades, {"type": "corn"})
    feature = model.model.output_features.get("y").to("meta")
    outputs = feature.prediction_module({"y::logits": torch.empty(9, 5, device="meta")}, "y")
    assert {x.device.type for x in outputs.values()} == {"meta"}


def test_a_cut_vocabulary_trains(grades):
    frame, folder = grades
    model = LudwigModel(
        {
            "input_features": [{"name": "x", "type": "number"}],
            "output_features": [
                {"name": "y", "type": "category", "loss": {"type": "corn"}, "preprocessing": {"most_common": 3}}
            ],
            "trainer": {"epochs": 2},
        },
        logging_level=logging.ERROR,
    )
    result = model.train(frame, output_directory=str(folder), skip_save_processed_input=True)
    assert model.training_set_metadata["y"]["idx2str"][0] == "<UNK>"
    assert np.isfinite(result.train_stats.validation["y"]["loss"]).all()
    predicted, _ = model.predict(frame)
    assert "<UNK>" not in set(predicted["y_predictions"]) and (predicted["y_probabilities_<UNK>"] == 0).all()


def test_names_without_an_order_stop_the_training(tmp_path):
    config, path = matrix.write("category", {"type": "corn"}, tmp_path)
    with pytest.raises(
        ConfigValidationError,
        match=r"output_features\[0\]\.loss\.order \(output feature 'y'\): order is missing.*class_0",
    ):
        LudwigModel(config, logging_level=logging.ERROR).train(str(path), output_directory=str(tmp_path))


def test_ignored_classes_need_no_place_in_the_order() -> None:
    classes = [*CLASSES, "unknown"]
    config = resolved(classes, order=ORDER, ignore_index="unknown", class_weights=[1.0, 2.0, 1.0, 3.0, 9.0])
    assert order_of(config) == ORDER
    assert order_of(resolved(["2", "1", "none"], ignore_index="none")) == ["1", "2"]
    with pytest.raises(ValueError, match=r"missing \['severe'\]"):
        resolved(classes, order=ORDER[:-1], ignore_index="unknown")
    logits, target = torch.randn(20, 5), torch.arange(20) % 5
    kept = target < 4
    expected = create_loss(resolved(order=ORDER, class_weights=[1.0, 2.0, 1.0, 3.0]))(logits[kept, :4], target[kept])
    logits[4] = torch.nan
    loss, leaf = create_loss(config), logits.requires_grad_()
    loss(leaf, target).backward()
    torch.testing.assert_close(loss(leaf, target).detach(), expected)
    assert leaf.grad[~kept].count_nonzero() == 0 and leaf.grad.isfinite().all()


def test_ignored_classes_leave_the_metrics_of_ranks() -> None:
    logits, target = torch.randn(40, 4), torch.arange(40) % 4
    loss = create_loss(resolved(order=ORDER, ignore_index="severe"))
    metric, without = OrdinalMetric(loss), OrdinalMetric(loss)
    metric.update(logits, target)
    without.update(logits[target != 2], target[target != 2])
    assert metric.compute() == without.compute()
    assert not loss.can_evaluate(np.array([2, 1, 1])) and loss.can_evaluate(np.array([0, 1]))
