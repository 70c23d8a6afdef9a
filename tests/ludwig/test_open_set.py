"""Open-set losses in Ludwig: the background is never predicted, and what is unknown can be rejected."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.distributed import init_dist_strategy
from ludwig.error import ConfigValidationError
from ludwig.models.predictor import get_output_columns
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from sklearn.metrics import auc, roc_auc_score

import matrix
from ludwig_losses import functional
from ludwig_losses.host.model.evaluation import HitsOfProbabilities
from ludwig_losses.metrics.reported.open_set import OpenSetMetric
from ludwig_losses.parameters import Feature


def make_loss(name: str, feature: str = "category", **options):
    return create_loss(get_loss_cls(feature, name).from_dict({"type": name, **options}))


def resolved(value, classes=("a", "b", "c"), symbols=frozenset(), synonyms=None, num_classes=None):
    config = get_loss_cls("category", "entropic_open_set").from_dict({"type": "entropic_open_set"})
    config.background_class = value
    names = None if classes is None else list(classes)
    config.resolve(Feature("y", names, num_classes or len(names or ()), symbols, synonyms or {}))
    return config.background_class


@pytest.mark.parametrize(
    ("value", "expected"), [("b", [1]), (2, [2]), (["c", "a"], [0, 2]), ([0, 1], [0, 1]), (None, None)]
)
def test_the_background_is_given_by_name_or_index(value, expected):
    assert resolved(value) == expected
    if expected is not None:
        assert resolved(expected) == expected, "a saved model resolves again"


def test_the_unknown_symbol_belongs_to_the_background():
    assert resolved("b", ("<UNK>", "a", "b"), symbols=frozenset({"<UNK>"})) == [0, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "d",
            r"loss.background_class \(output feature '\w+'\): 'd' does not fit the classes: unknown \['d'\]. The classes are \['a', 'b', 'c'\]",
        ),
        (["a", "d"], "unknown"),
        (3, "there is no class with index 3; the 3 classes are numbered from 0, in this order"),
        (["a", "b", "c"], "leaves no known class"),
        (True, "quote such names"),
    ],
)
def test_a_class_that_does_not_exist_is_an_error(value, message):
    with pytest.raises(ValueError, match=message):
        resolved(value)


def test_an_index_that_is_the_name_of_another_class_is_an_error():
    assert resolved(1, ("10", "1", "0")) == [1]
    assert resolved("0", ("10", "1", "0")) == [2] and resolved([0], ("10", "1", "0")) == [0]
    with pytest.raises(ValueError, match="is the index of class '10', but there is a class named '0', too"):
        resolved(0, ("10", "1", "0"))


def test_no_background_is_pointed_out(caplog):
    resolved(None)
    assert "entropic_open_set has no background_class" in caplog.text


@pytest.mark.parametrize("name", ["entropic_open_set", "objectosphere"])
def test_a_binary_feature_and_its_two_classes_are_the_same(name):
    z, target = torch.randn(20, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    for background in (None, [0], [1]):
        loss = make_loss(name, "binary", background_class=background)
        pairs = torch.stack([torch.zeros_like(z), z], dim=1)
        torch.testing.assert_close(loss(z, target.bool()), loss(pairs, target.to(torch.int8)))


def test_the_mean_is_over_samples():
    logits, target = torch.randn(6, 4), torch.tensor([0, 1, 3, 3, 2, 0])
    known = torch.tensor([0, 1, 2])
    for name in ("entropic_open_set", "objectosphere"):
        function = getattr(functional, f"{name}_loss")
        torch.testing.assert_close(
            make_loss(name, background_class=[3])(logits, target), function(logits, target, known=known).mean()
        )


@pytest.fixture
def strategy():
    """Ludwig's metrics ask for one when they compute."""
    init_dist_strategy("local")


def oscr(score, known, correct):
    """The area under the correct classification rate over the false positive rate, threshold by threshold."""
    thresholds = np.concatenate([[np.inf], np.unique(score)[::-1], [-np.inf]])
    correct_rate = [(known & correct & (score >= threshold)).sum() / known.sum() for threshold in thresholds]
    false_rate = [(~known & (score >= threshold)).sum() / (~known).sum() for threshold in thresholds]
    return auc(false_rate, correct_rate)


@pytest.mark.parametrize("name", ["entropic_open_set", "objectosphere"])
def test_metrics_are_the_areas_under_their_curves(name, strategy):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 4, generator=generator).round(decimals=1)  # with ties
    target = torch.randint(4, (200,), generator=generator)
    loss = make_loss(name, background_class=[1])
    metric = OpenSetMetric(
        create_loss(get_loss_cls("category", name).from_dict({"type": name, "background_class": [1]}))
    )
    for rows in torch.arange(200).split(64):
        metric.update(logits[rows], target[rows].to(torch.int8))
    measured = {key: value.item() for key, value in metric.compute().items()}

    probabilities = logits[:, [0, 2, 3]].softmax(dim=1)
    score = probabilities.amax(dim=1)
    if name == "objectosphere":
        score = score * logits[:, [0, 2, 3]].norm(dim=1)
    torch.testing.assert_close(loss.score(logits), score)
    known = (target != 1).numpy()
    correct = (torch.tensor([0, 2, 3])[probabilities.argmax(dim=1)] == target).numpy()
    score = loss.score(logits).numpy()
    assert measured["open_set_auroc"] == pytest.approx(roc_auc_score(known, score), abs=1e-6)
    assert measured["oscr"] == pytest.approx(oscr(score, known, correct), abs=1e-6)
    assert measured["closed_set_accuracy"] == pytest.approx(correct[known].mean(), abs=1e-6)


def test_metrics_need_known_and_unknown_examples(strategy):
    config = get_loss_cls("category", "entropic_open_set").from_dict({"type": "entropic_open_set"})
    config.background_class = [1]
    for target in ([0, 2, 0], [1, 1, 1]):
        metric = OpenSetMetric(create_loss(config))
        assert metric.compute() == {}
        metric.update(torch.randn(3, 3), torch.tensor(target))
        assert metric.compute() == {}


def test_metrics_of_ranks_are_those_of_all_rows(strategy):
    config = get_loss_cls("category", "entropic_open_set").from_dict({"type": "entropic_open_set"})
    config.background_class = [1]
    logits, target = torch.randn(40, 3), torch.arange(40) % 3
    whole, rank, empty = (OpenSetMetric(create_loss(config)) for _ in range(3))
    whole.update(logits, target)
    rank.update(logits, target)
    # What torchmetrics makes of the states of a rank with rows and one without.
    for state in rank._defaults:
        setattr(rank, state, torch.cat([*getattr(rank, state), *getattr(empty, state), torch.zeros(0)]))
    assert rank.compute() == whole.compute() != {}


@pytest.mark.parametrize("name", ["entropic_open_set", "objectosphere"])
def test_predictions_leave_the_background_out(name, tmp_path):
    config, path = matrix.write("category", {"type": name, "background_class": "class_2"}, tmp_path)
    config["trainer"]["validation_metric"] = "oscr"
    config["output_features"][0]["top_k"] = 1
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    for split in (result.train_stats.training, result.train_stats.validation):
        assert all(len(split["y"][metric]) == 2 for metric in ("oscr", "open_set_auroc", "closed_set_accuracy"))
        assert split["y"]["hits_at_k"] == pytest.approx(split["y"]["accuracy"]), "the background is no hit"
    assert isinstance(model.model.output_features.get("y")._metric_functions["hits_at_k"], HitsOfProbabilities)
    predicted, _ = model.predict(str(path))
    assert "y_known_score" in get_output_columns(model.model.output_features)
    assert (predicted["y_probabilities_class_2"] == 0).all()
    assert set(predicted["y_predictions"]) <= {"class_0", "class_1"}
    assert np.stack(predicted["y_probabilities"].tolist()).sum(axis=1) == pytest.approx(1)
    assert predicted["y_known_score"].between(0, np.inf).all() and predicted["y_known_score"].nunique() > 10
    if name == "entropic_open_set":
        np.testing.assert_allclose(predicted["y_known_score"], predicted["y_probability"], rtol=1e-6)


def test_without_background_nothing_differs_from_cross_entropy(tmp_path):
    config, path = matrix.write("category", {"type": "entropic_open_set"}, tmp_path)
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    assert "oscr" not in result.train_stats.training["y"]
    predicted, _ = model.predict(str(path))
    assert "y_known_score" not in predicted
    logits, target = torch.randn(9, 3), torch.arange(9) % 3
    loss = model.model.output_features.get("y").train_loss_function(logits, target)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, target))


def test_a_binary_class_by_its_yaml_boolean(tmp_path):
    config, path = matrix.write("binary", {"type": "entropic_open_set", "background_class": False}, tmp_path)
    del config["output_features"][0]["preprocessing"]
    data = pd.read_csv(path).assign(y=lambda frame: frame["y"] == "malignant")
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(data, output_directory=str(tmp_path), skip_save_processed_input=True)
    assert model.model.output_features.get("y").train_loss_function.background == [0]
    predicted, _ = model.predict(data)
    assert {"y_known_score", "y_probabilities_True"} <= {*predicted}


def test_tempered_predictions_follow_threshold_and_temperature(tmp_path):
    config, path = matrix.write("binary", {"type": "tempered_softmax_cross_entropy", "t2": 3.0}, tmp_path)
    config["output_features"][0]["threshold"] = 0.6
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    predict = model.model.output_features.get("y").prediction_module
    z = torch.linspace(-5, 5, 101)
    outputs = predict({"y::logits": z}, "y")
    expected = functional.tempered_softmax(torch.stack([torch.zeros_like(z), z], dim=1), 3.0)[:, 1]
    torch.testing.assert_close(outputs["probabilities"], expected)
    assert torch.equal(outputs["predictions"], expected >= 0.6)


@pytest.mark.parametrize(
    ("loss", "refused"),
    [
        ({"type": "entropic_open_set", "background_class": "b"}, True),
        ({"type": "entropic_open_set"}, False),
        ({"type": "tempered_softmax_cross_entropy", "t2": 1.5}, True),
        ({"type": "tempered_softmax_cross_entropy", "t1": 0.5}, False),
    ],
)
def test_calibration_is_refused_where_predictions_are_not_softmax(loss, refused):
    output = {"name": "y", "type": "category", "calibration": True, "loss": loss}
    config = {"input_features": [{"name": "x", "type": "number"}], "output_features": [output]}
    if refused:
        with pytest.raises(
            ConfigValidationError, match=r"calibration \(output feature 'y'\): true rescales softmax probabilities"
        ):
            LudwigModel(config)
    else:
        LudwigModel(config)


@pytest.mark.parametrize("loss", [{"type": "softmax_cross_entropy"}, {"type": "entropic_open_set"}])
def test_a_metric_that_the_loss_does_not_report_cannot_choose_the_model(loss, tmp_path):
    config, path = matrix.write("category", loss, tmp_path)
    config["trainer"]["validation_metric"] = "oscr"
    model = LudwigModel(config, logging_level=logging.ERROR)
    with pytest.raises(
        ValueError, match=r"trainer.validation_metric: oscr is not available: output_features\[0\]\.loss"
    ):
        model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)


def test_a_metric_that_the_validation_data_does_not_have_cannot_choose_the_model(tmp_path):
    config, path = matrix.write("category", {"type": "objectosphere", "background_class": "class_2"}, tmp_path)
    config["trainer"]["validation_metric"] = "open_set_auroc"
    config["preprocessing"] = {"split": {"type": "fixed"}}
    data = pd.read_csv(path).assign(split=lambda frame: np.where(frame["y"] == "class_2", 0, np.arange(len(frame)) % 2))
    model = LudwigModel(config, logging_level=logging.ERROR)
    with pytest.raises(ValueError, match="needs examples of the background class and of a known one"):
        model.train(data, output_directory=str(tmp_path), skip_save_processed_input=True)


def test_ignored_rows_are_neither_known_nor_unknown() -> None:
    init_dist_strategy("local")
    logits, target = torch.randn(40, 4), torch.arange(40) % 4
    kept = target != 2
    for name in ("entropic_open_set", "objectosphere"):
        config = get_loss_cls("category", name).from_dict(
            {"type": name, "background_class": "d", "ignore_index": "c", "class_weights": [1.0, 2.0, 3.0, 4.0]}
        )
        config.resolve(Feature("y", ["a", "b", "c", "d"], 4))
        loss, leaf = create_loss(config), logits.clone()
        leaf[~kept] = torch.nan
        loss(leaf.requires_grad_(), target).backward()
        assert leaf.grad[~kept].count_nonzero() == 0 and leaf.grad.isfinite().all()
        # As if the class did not exist: unknown examples are not drawn to it.
        alone = make_loss(name, background_class=[2], class_weights=[1.0, 2.0, 4.0])
        z, y = logits[kept][:, [0, 1, 3]], target[kept].clamp_max(2)
        torch.testing.assert_close(loss(leaf, target).detach(), alone(z, y))
        assert (loss.projection(logits)[:, 2:] == 0).all()
        metric, expected = OpenSetMetric(loss), OpenSetMetric(alone)
        metric.update(logits, target)
        expected.update(z, y)
        torch.testing.assert_close(metric.compute(), expected.compute())
        assert not loss.can_evaluate(np.array([2, 3])) and loss.can_evaluate(np.array([0, 3]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"background_class": "c", "ignore_index": "c"},
            r"\['c'\] is in ignore_index, too: .* either unknown or ignored",
        ),
        (
            {"background_class": "c", "ignore_index": ["a", "b"]},
            r"\[2\] beside ignore_index: \[0, 1\] leaves no known class",
        ),
        ({"ignore_index": ["a", "b", "c"]}, "leave none of the 3 classes"),
    ],
)
def test_background_and_ignored_classes_leave_a_known_one(options: dict, message: str) -> None:
    config = get_loss_cls("category", "objectosphere").from_dict({"type": "objectosphere", **options})
    with pytest.raises(ValueError, match=message):
        config.resolve(Feature("y", ["a", "b", "c"], 3))
