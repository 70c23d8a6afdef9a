"""The options of the classification losses: each parameter does something, and all of them work from YAML."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls

import declared
import matrix
from ludwig_losses import functional
from ludwig_losses.parameters import Feature

# What changes a loss, and what it needs beside it. Losses of other features have tests of their own.
SECOND = {
    name: {key: (facts.beside.get(key, {}), value) for key, value in facts.changes.items()}
    for name, facts in declared.FACTS.items()
    if "category" in declared.SINGLE[name].features
}
LETTERS = Feature("y", classes=["a", "b", "c", "d"], num_classes=4, frequencies=[50, 30, 15, 5])


def resolved(name: str, options: dict[str, Any], feature: Feature = LETTERS):
    config = get_loss_cls("category", name).from_dict({"type": name, **options})
    config.resolve(feature)
    return config


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, values in SECOND.items() for key in values])
def test_every_parameter_changes_the_loss(name: str, key: str) -> None:
    base, second = SECOND[name][key]
    logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    target = torch.arange(20) % 4
    without = create_loss(resolved(name, base))(logits, target)
    assert abs(create_loss(resolved(name, {**base, key: second}))(logits, target) - without) > 1e-3


OF_PREDICTIONS = [(name, key) for name in SECOND for key in declared.FACTS[name].of_predictions]


@pytest.mark.parametrize(("name", "key"), OF_PREDICTIONS)
def test_other_parameters_change_the_predictions(name: str, key: str) -> None:
    logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    options = [{}, {key: declared.FACTS[name].of_predictions[key]}]
    losses = [(create_loss(config), config) for config in (resolved(name, each) for each in options)]
    without, second = (
        loss.projection(logits) if loss.projects(config) else logits.softmax(dim=1) for loss, config in losses
    )
    assert (second - without).abs().max() > 1e-3


def test_no_parameter_is_left_out() -> None:
    for name, values in SECOND.items():
        assert {*values, *declared.FACTS[name].of_predictions, "weight"} == set(
            declared.SINGLE[name].parameters
        )  # Ludwig applies the weight


def weights(word: str, **options) -> list[float]:
    return resolved("poly_loss", {"class_weights": word, **options}).class_weights


def test_balanced_classes_weigh_the_same_and_examples_1_on_average() -> None:
    found = weights("balanced")
    assert found == pytest.approx([100 / (4 * n) for n in LETTERS.frequencies])
    assert np.average(found, weights=LETTERS.frequencies) == pytest.approx(1)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.999, 0.999999])
def test_effective_numbers_are_those_of_the_paper(beta: float) -> None:
    found = np.array(weights("effective_number", effective_number_beta=beta))
    of_paper = np.array([(1 - beta) / (1 - beta**n) for n in LETTERS.frequencies])
    assert found / found[0] == pytest.approx(of_paper / of_paper[0])
    assert np.average(found, weights=LETTERS.frequencies) == pytest.approx(1)


def test_effective_numbers_go_from_equal_to_balanced() -> None:
    assert weights("effective_number", effective_number_beta=0) == [1, 1, 1, 1]
    assert weights("effective_number", effective_number_beta=1) == weights("balanced")
    assert weights("effective_number") == weights("effective_number", effective_number_beta=0.999)


def test_what_has_no_examples_weighs_1() -> None:
    names = ["<UNK>", "a", "b", "c"]
    feature = Feature("y", names, 4, symbols=frozenset({"<UNK>"}), frequencies=[70, 20, 10, 0])
    found = resolved("poly_loss", {"class_weights": "balanced"}, feature).class_weights
    assert found == pytest.approx([1, 30 / 40, 30 / 20, 1])


def test_unknown_frequencies_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"loss.class_weights \(output feature 'y'\): balanced needs to know how often each class occurs",
    ):
        resolved("poly_loss", {"class_weights": "balanced"}, Feature("y", num_classes=3))


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"loss.ignore_index \(output feature 'y'\): 'z' does not fit the classes: unknown \['z'\]. The classes",
    ):
        resolved("focal_loss", {"ignore_index": "z"})


def test_ignored_classes_leave_numerator_and_denominator() -> None:
    logits, target = torch.randn(20, 4), torch.arange(20) % 4
    kept = target != 1
    for name in (name for name, parameters in SECOND.items() if "ignore_index" in parameters):
        for weights in ({}, {"class_weights": [1, 2, 3, 4]}):
            options = {**SECOND[name]["ignore_index"][0], **weights}
            options |= {"alpha": None} if name == "focal_loss" else {}
            expected = create_loss(resolved(name, options))(logits[kept], target[kept])
            found = create_loss(resolved(name, {**options, "ignore_index": "b"}))(logits, target.to(torch.int8))
            torch.testing.assert_close(found, expected)


# Of the losses of tokens, the one of each token.
PER_TOKEN = {
    "entmax_loss": functional.entmax_loss,
    "focal_loss": lambda logits, target: functional.softmax_focal_loss(logits.movedim(-1, 1), target),
    "poly_loss": lambda logits, target: functional.poly_loss(logits.movedim(-1, 1), target),
    "tempered_softmax_cross_entropy": functional.bi_tempered_logistic_loss,
}


@pytest.mark.parametrize("weights", [None, {"a": 9.0, "b": 9.0, "c": 1.0, "d": 5.0}], ids=["equal", "by name"])
@pytest.mark.parametrize("name", PER_TOKEN)
def test_padding_and_ignored_tokens_do_not_count(name: str, weights: dict | None) -> None:
    logits, target = torch.randn(3, 5, 4), torch.arange(15).view(3, 5) % 4
    target[0, 1:] = 0  # rows of different lengths: no mean of row means
    section = {"type": name, "ignore_index": ["b"], "class_weights": weights}
    config = get_loss_cls("text", name).from_dict(section)
    config.resolve(dataclasses.replace(LETTERS, padding=0))
    kept = target > 1
    weight = torch.tensor([9.0, 9.0, 1.0, 5.0] if weights else [1.0] * 4)[target[kept]]
    expected = (weight * PER_TOKEN[name](logits, target)[kept]).sum() / weight.sum()
    torch.testing.assert_close(create_loss(config)(logits, target), expected)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0, 4.0]], ids=["equal", "weighted"])
@pytest.mark.parametrize("name", [name for name, parameters in SECOND.items() if "top_k" in parameters])
def test_the_hardest_of_the_counted_elements_are_averaged(name: str, weights: list | None) -> None:
    logits, target = torch.randn(2, 7, 4), torch.arange(14).view(2, 7) % 4
    options = {"class_weights": weights, "ignore_index": "b", "padding_index": 2}
    each = create_loss(resolved(name, {}))
    losses = torch.stack([each(z, y) for z, y in zip(logits.view(14, 1, 4), target.view(14, 1), strict=True)])
    weight = torch.tensor(weights or [1.0] * 4)[target.flatten()]
    counted = (target.flatten() % 4 != 1) & (target.flatten() != 2)
    hardest = (weight * losses * counted).topk(4).indices  # round(0.5 * 8)
    loss = create_loss(resolved(name, {**options, "top_k": 0.5}))
    expected = (weight * losses)[hardest].sum() / weight[hardest].sum()
    torch.testing.assert_close(loss(logits, target), expected)
    ((value, denominator),) = loss.batch_means(logits, target)
    torch.testing.assert_close((value, float(denominator)), (expected, (weight * counted).sum().item()))


BINARY = Feature("y", classes=["malignant", "benign"], num_classes=2, frequencies=[30, 10])
ON_BINARY = [name for name in declared.SINGLE if "binary" in declared.SINGLE[name].features]


@pytest.mark.parametrize("name", ON_BINARY)
def test_class_weights_of_a_binary_feature_by_name(name: str) -> None:
    logits, target = torch.randn(20), torch.arange(20) % 3 == 0

    def loss(weights: dict | None, kept: torch.Tensor) -> torch.Tensor:
        section = {"type": name, **declared.options("binary", name), "class_weights": weights}
        config = get_loss_cls("binary", name).from_dict(section)
        config.resolve(BINARY)
        return create_loss(config)(logits[kept], target[kept])

    negative, positive = loss(None, ~target), loss(None, target)
    counts = (~target).sum(), 3 * target.sum()
    expected = (counts[0] * negative + counts[1] * positive) / sum(counts)
    torch.testing.assert_close(loss({"benign": 3.0, "malignant": 1.0}, target >= 0), expected)


@pytest.mark.parametrize("name", [name for name in ON_BINARY if name != "asymmetric_loss"])
def test_ignored_classes_of_a_binary_feature(name: str, caplog: pytest.LogCaptureFixture) -> None:
    logits, target = torch.randn(20), torch.arange(20) % 3 == 0
    options = {"type": name, "priors": [2.0, 1.0]} if name == "logit_adjusted_loss" else {"type": name}
    config = get_loss_cls("binary", name).from_dict({**options, "ignore_index": "malignant"})
    config.resolve(BINARY)
    assert "of 2 classes one alone counts, and its examples draw every prediction to it" in caplog.text
    loss, plain = create_loss(config), create_loss(get_loss_cls("binary", name).from_dict(options))
    torch.testing.assert_close(loss(logits, target), plain(logits[target], target[target]))
    assert loss.batch_means(logits, target)[0][1] == target.sum()
    config = get_loss_cls("binary", name).from_dict({**options, "ignore_index": ["benign", "malignant"]})
    with pytest.raises(ValueError, match=r"ignore_index: \[1, 0\] leave none of the 2 classes"):
        config.resolve(BINARY)


def test_balanced_is_refused_where_the_classes_were_not_counted() -> None:
    config = get_loss_cls("binary", "focal_loss").from_dict({"type": "focal_loss", "class_weights": "balanced"})
    with pytest.raises(ValueError, match="balanced needs to know how often each class occurs, which is not counted"):
        config.resolve(dataclasses.replace(BINARY, frequencies=None))
    config.resolve(BINARY)
    assert config.class_weights == pytest.approx([40 / 60, 40 / 20])


@pytest.mark.parametrize("options", [{}, {"class_weights": [1, 2, 3, 4]}, {"ignore_index": "b"}], ids=str)
def test_normalized_focal_loss_is_divided_by_the_foreground(options: dict) -> None:
    logits, target = torch.randn(20, 4, dtype=torch.float64), torch.arange(20) % 4
    loss = functional.softmax_focal_loss(logits, target)
    weight = torch.tensor(options.get("class_weights", [1, 1, 1, 1]))[target]
    counted = target != 1 if "ignore_index" in options else target >= 0
    module = create_loss(resolved("focal_loss", {"alpha": None, "normalize": True, **options}))
    expected = (weight * loss)[counted].sum() / (counted & (target > 0)).sum()
    torch.testing.assert_close(module(logits, target), expected)
    background = torch.zeros(20, dtype=torch.uint8)
    torch.testing.assert_close(
        module(logits, background), functional.softmax_focal_loss(logits, background).sum() * weight[0]
    )


def test_normalized_focal_loss_of_a_binary_feature() -> None:
    logits, target = torch.randn(20), torch.arange(20) % 3 == 0
    config = get_loss_cls("binary", "focal_loss").from_dict({"type": "focal_loss", "alpha": None, "normalize": True})
    expected = functional.sigmoid_focal_loss(logits, target).sum() / target.sum()
    torch.testing.assert_close(create_loss(config)(logits, target), expected)


TRAINED = [
    (
        "category",
        {
            "type": "focal_loss",
            "label_smoothing": 0.1,
            "reduced_threshold": 0.5,
            "normalize": True,
            "ignore_index": "class_2",
            "class_weights": "balanced",
        },
    ),
    (
        "image",
        {
            "type": "poly_loss",
            "epsilon": [1.0, 0.5],
            "gamma": 0.5,
            "label_smoothing": 0.05,
            "ignore_index": [0],
            "class_weights": [1.0, 2.0],
            "top_k": 0.3,
        },
    ),
    ("binary", {"type": "focal_loss", "label_smoothing": 0.1, "reduced_threshold": 0.5, "normalize": True}),
    ("category", {"type": "entmax_loss", "alpha": 1.3, "ignore_index": 2, "class_weights": "effective_number"}),
    (
        "text",
        {
            "type": "entmax_loss",
            "alpha": 1.05,
            "label_smoothing": 0.05,
            "ignore_index": ["<UNK>"],
            "class_weights": "effective_number",
            "effective_number_beta": 0.9,
        },
    ),
    ("sequence", {"type": "entmax_loss", "alpha": 1.7, "ignore_index": ["<UNK>"], "class_weights": "balanced"}),
    ("sequence", {"type": "sparsemax_loss", "label_smoothing": 0.05, "ignore_index": "<UNK>"}),
    ("category", {"type": "entmax_1.5_loss", "label_smoothing": 0.1, "ignore_index": "class_2"}),
    ("text", {"type": "focal_loss", "ignore_index": ["<UNK>", "RED"], "class_weights": "balanced"}),
    ("sequence", {"type": "tempered_softmax_cross_entropy", "t2": 1.5, "ignore_index": "RED", "top_k": 0.5}),
]


@pytest.mark.parametrize(
    ("feature", "loss"), TRAINED, ids=lambda value: value if isinstance(value, str) else value["type"]
)
def test_options_train_evaluate_predict_and_reload(feature: str, loss: dict, tmp_path) -> None:
    config, path = matrix.write(feature, loss, tmp_path)
    config["trainer"]["epochs"] = 3
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path / "results"), skip_save_processed_input=True)
    losses = result.train_stats.training["y"]["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    module = module_of(model)
    assert_resolved(loss, module, model.training_set_metadata["y"])

    predicted, _ = model.predict(str(path))
    reloaded = LudwigModel.load(result.output_directory + "/model", logging_level=logging.ERROR)
    again, _ = reloaded.predict(str(path))
    if loss["type"] == "entmax_loss":
        logits = torch.randn(6, 9)
        outputs = reloaded.model.output_features.get("y").prediction_module({"y::logits": logits}, "y")
        torch.testing.assert_close(outputs["probabilities"], functional.entmax(logits, loss["alpha"]), rtol=0, atol=0)
    assert predicted.equals(again) or feature == "image"
    assert_same_loss(module, module_of(reloaded))


@pytest.mark.parametrize("feature", ["sequence", "text"])
def test_a_generator_is_trained_and_predicts(feature: str, tmp_path) -> None:
    loss = {"type": "focal_loss", "alpha": None, "class_weights": "balanced", "ignore_index": "RED", "top_k": 0.8}
    config, path = matrix.write(feature, loss, tmp_path)
    config["output_features"][0]["decoder"] = {"type": "generator"}
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    values = result.train_stats.training["y"]["loss"]
    assert np.isfinite(values).all() and values[-1] < values[0]
    evaluated, predictions, _ = model.evaluate(str(path), collect_predictions=True)
    assert 0 <= evaluated["y"]["token_macro_f1"] <= 1 and len(predictions) == 300
    again = LudwigModel.load(f"{result.output_directory}/model", logging_level=logging.ERROR)
    found = [
        {name for name in each["y"] if name.startswith("token_f1_")}
        for each in (evaluated, again.evaluate(str(path))[0])
    ]
    assert found == [{"token_f1_BLACK", "token_f1_BLUE", "token_f1_GREEN"}] * 2  # RED is ignored
    assert "_named" not in again.config["output_features"][0]["loss"]


def test_a_resumed_training_keeps_the_weights(tmp_path) -> None:
    config, path = matrix.write("category", {"type": "poly_loss", "class_weights": "balanced"}, tmp_path)
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path / "results"), skip_save_processed_input=True)
    resumed = LudwigModel(config, logging_level=logging.ERROR)
    resumed.train(str(path), model_resume_path=result.output_directory, skip_save_processed_input=True)
    assert_resolved(config["output_features"][0]["loss"], module_of(resumed), resumed.training_set_metadata["y"])
    assert_same_loss(module_of(model), module_of(resumed))


def module_of(model: LudwigModel) -> torch.nn.Module:
    return model.model.output_features.get("y").train_loss_function


def assert_same_loss(module: torch.nn.Module, other: torch.nn.Module) -> None:
    assert module.options == other.options and module.ignored == other.ignored
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name))


def assert_resolved(loss: dict[str, Any], module: torch.nn.Module, metadata: dict[str, Any]) -> None:
    """Names have become indices, and words numbers."""
    ignored = loss.get("ignore_index", [])
    names = metadata.get("idx2str", [])
    expected = [
        names.index(x) if isinstance(x, str) else x for x in (ignored if isinstance(ignored, list) else [ignored])
    ]
    assert module.ignored == (expected or None)
    if not isinstance(loss.get("class_weights"), str):
        return
    found = dict(zip(names, module.class_weights.tolist(), strict=True))
    counts = {name: n for name, n in metadata["str2freq"].items() if n}
    assert all(found[name] == 1 for name in names if name not in counts)
    beta = 1 - 1e-9 if loss["class_weights"] == "balanced" else loss.get("effective_number_beta", 0.999)
    ratio = {name: found[name] * (1 - beta**n) / (1 - beta) for name, n in counts.items()}
    assert max(ratio.values()) == pytest.approx(min(ratio.values()), rel=1e-4)
    assert sum(n * found[name] for name, n in counts.items()) == pytest.approx(sum(counts.values()), rel=1e-5)


CUT = Feature("y", classes=["<UNK>", "a"], num_classes=2, symbols=frozenset({"<UNK>"}), frequencies=[0, 50])


@pytest.mark.parametrize("priors", [None, {"a": 0.7}])
def test_priors_name_the_symbol_of_a_vocabulary_that_was_cut(priors: dict | None) -> None:
    with pytest.raises(ValueError, match="the vocabulary was cut, and how many rows <UNK> stands for is not known"):
        resolved("logit_adjusted_loss", {"priors": priors}, CUT)
    named = {"priors": {"<UNK>": 0.3, "a": 0.7}}
    assert resolved("logit_adjusted_loss", named, CUT).priors == [0.3, 0.7]
    assert resolved("logit_adjusted_loss", {"priors": [0.3, 0.7]}, CUT).priors == [0.3, 0.7]
