"""Several losses at once, on every feature type: each term is checked, seen, saved and found again."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.error import ConfigValidationError
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.schema.model_types.base import ModelConfig

import matrix
from ludwig_losses import functional
from ludwig_losses.parameters import Feature

TERMS = {
    "binary": [{"type": "focal", "weight": 2}, {"type": "binary_weighted_cross_entropy", "positive_class_weight": 2.0}],
    "category": [
        {"type": "poly_loss", "class_weights": {"class_0": 1, "class_1": 2, "class_2": 3}},
        {"type": "softmax_cross_entropy", "class_weights": {"class_0": 1, "class_1": 2, "class_2": 3}, "weight": 0.5},
        {"type": "poly_loss", "epsilon": 2.0},
    ],
    "image": [
        {"type": "dice_loss", "smooth": 0.5},
        {"type": "softmax_cross_entropy", "class_weights": [1.0, 2.0]},
        {"type": "lovasz_softmax_loss", "weight": 0},
    ],
    "number": [{"type": "mean_squared_error", "weight": 0.5}, {"type": "mean_absolute_error"}],
    "sequence": [{"type": "entmax_1.5_loss"}, {"type": "sequence_softmax_cross_entropy", "weight": 0.5}],
    "set": [{"type": "sigmoid_cross_entropy", "class_weights": [1, 2, 3, 4]}, {"type": "sigmoid_cross_entropy"}],
    "text": [
        {"type": "sequence_softmax_cross_entropy", "class_weights": {"red": 1, "green": 2, "blue": 3, "black": 4}},
        {"type": "sparsemax", "padding_index": 0},
    ],
    "timeseries": [{"type": "huber", "delta": 0.5}, {"type": "mean_squared_error", "weight": 0.1}],
    "vector": [{"type": "nt_xent_loss", "temperature": 0.5}, {"type": "mean_squared_error", "weight": 2}],
}
NAMES = {
    "category": ["loss_poly_loss", "loss_softmax_cross_entropy", "loss_poly_loss_2"],
    "set": ["loss_sigmoid_cross_entropy", "loss_sigmoid_cross_entropy_2"],
}


def compound(*terms: dict, **options) -> dict:
    return {"type": "compound_loss", "terms": list(terms), **options}


def test_terms_of_tokens_ignore_padding():
    """Each by itself, with the index of the vocabulary or its own."""
    logits, target = torch.randn(3, 5, 4), torch.arange(15).view(3, 5) % 4
    terms = [{"type": "focal_loss"}, {"type": "generalized_cross_entropy", "top_k": 0.5}, {"type": "poly_loss"}]
    terms[2] |= {"padding_index": 2, "ignore_index": "c"}
    config = get_loss_cls("sequence", "compound_loss").from_dict(compound(*terms))
    config.resolve(Feature("y", classes=["<PAD>", "a", "b", "c"], num_classes=4, padding=0))
    assert [term["padding_index"] for term in config.terms] == [0, 0, 2]
    loss = create_loss(config)
    z, y = logits.view(15, 4), target.flatten()
    focal = functional.softmax_focal_loss(z, y)[y != 0].mean()
    generalized = functional.top_k_mean(functional.generalized_cross_entropy_loss(z, y)[y != 0], top_k=0.5)
    poly = functional.poly_loss(z, y)[y < 2].mean()
    torch.testing.assert_close(loss(logits, target), focal + generalized + poly)
    denominators = [float(denominator) for _, denominator in loss.batch_means(logits, target)]
    assert denominators == [(y != 0).sum(), (y != 0).sum(), (y < 2).sum()]


@pytest.mark.parametrize("feature", TERMS)
def test_each_term_is_seen_in_training_and_survives_reloading(feature, tmp_path):
    terms = TERMS[feature]
    names = NAMES.get(feature) or [f"loss_{term['type']}" for term in terms]
    config, path = matrix.write(feature, compound(*copy.deepcopy(terms)), tmp_path)
    config["trainer"]["validation_metric"] = names[-1]
    if feature == "text":
        config["output_features"][0]["preprocessing"] = {"lowercase": True}
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    for split in (result.train_stats.training["y"], result.train_stats.validation["y"]):
        weighted = [term.get("weight", 1) * np.array(split[name]) for term, name in zip(terms, names, strict=True)]
        assert all(len(values) == 2 and np.isfinite(values).all() for values in weighted)
        np.testing.assert_allclose(sum(weighted), split["loss"], rtol=1e-5)
    assert result.train_stats.training["y"]["loss"][-1] < result.train_stats.training["y"]["loss"][0]

    evaluated, predicted, _ = model.evaluate(str(path), collect_predictions=True)
    assert {*names} <= evaluated["y"].keys()
    model.save(str(tmp_path / "saved"))
    reloaded = LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR)
    again, predicted_again, _ = reloaded.evaluate(str(path), collect_predictions=True)
    pd.testing.assert_frame_equal(predicted, predicted_again)
    assert {name: again["y"][name] for name in names} == pytest.approx({name: evaluated["y"][name] for name in names})


def test_training_goes_on_where_it_was_interrupted(tmp_path):
    config, path = matrix.write("category", compound(*copy.deepcopy(TERMS["category"])), tmp_path)
    first = LudwigModel(config, logging_level=logging.ERROR)
    folder = first.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True).output_directory
    second = LudwigModel(config, logging_level=logging.ERROR)
    second.config_obj.trainer.epochs = 3
    result = second.train(str(path), model_resume_path=folder, skip_save_processed_input=True)
    assert all(len(result.train_stats.training["y"][name]) >= 2 for name in NAMES["category"])
    weights = second.model.output_features.get("y").train_loss_function.terms[1].loss_fn.weight
    assert sorted(weights.tolist()) == [1, 2, 3]


def message(feature: str, loss: dict, **output) -> str:
    output = {"name": "target", "type": feature, "loss": loss, **output}
    with pytest.raises(ConfigValidationError) as caught:
        ModelConfig.from_dict({"input_features": [{"name": "x", "type": "number"}], "output_features": [output]})
    text = str(caught.value)
    assert " (output feature 'target'): " in text.partition("\n")[0]
    return text.replace(" (output feature 'target')", "")


def parsed(feature: str, loss: dict, **more):
    output = {"name": "target", "type": feature, "loss": loss}
    return ModelConfig.from_dict(
        {"input_features": [{"name": "x", "type": "vector"}], "output_features": [output], **more}
    )


FOCAL, POLY = {"type": "focal_loss"}, {"type": "poly_loss"}
WRONG = [
    ("category", compound(POLY, {**FOCAL, "gama": 2}), "terms[1]", "unknown parameter 'gama' (value 2). Did you mean 'gamma'?"),
    ("category", compound({**FOCAL, "gamma": -1}), "terms[0]", ".gamma: got -1, expected a number in [0, 20]"),
    ("category", compound({**FOCAL, "weight": True}), "terms[0]", ".weight: got True, expected a number >= 0"),
    ("category", compound(POLY, {"type": "dice_loss"}), "terms[1]", "dice_loss is a loss for image features, not for category"),
    ("category", compound({"type": "focal_los"}), "terms[0]", "unknown loss 'focal_los'. Did you mean 'focal_loss'?"),
    ("category", compound({"tpye": "focal_loss"}), "terms[0]", "there is no `type`, which says which loss it is. Did you mean 'type'"),
    ("category", compound("focal_loss"), "terms[0]", "expected a mapping with a `type`. Write `{type: focal_loss}`."),
    ("category", compound(3), "terms[0]", "got 3, expected a mapping"),
    ("category", compound({"type": ["focal_loss"]}), "terms[0]", "unknown loss ['focal_loss']"),
    ("category", compound(POLY, compound(FOCAL)), "terms[1]", "compound_loss has terms itself, so it cannot be a term"),
    ("image", compound({**FOCAL, "effective_number_beta": 0.5}), "terms[0]", "effective_number_beta is for binary, category, sequence, set, text features only"),
    # Ludwig's own losses as strictly: it would drop or change these.
    ("category", compound({"type": "softmax_cross_entropy", "clas_weights": [1]}), "terms[0]", "Did you mean 'class_weights'?"),
    ("category", compound({"type": "softmax_cross_entropy", "class_weights": [-1]}), "terms[0]", ".class_weights: got [-1]"),
    ("number", compound({"type": "huber", "delta": 0}), "terms[0]", "delta"),
    ("number", compound({"type": "huber", "delta": "x"}), "terms[0]", ".delta: 'x' is not of type"),
    ("number", compound({"type": "mean_squared_error", "weight": float("nan")}), "terms[0]", ".weight: got nan, expected a number"),
    ("number", compound({"type": "binary_weighted_cross_entropy"}), "terms[0]", "unknown loss 'binary_weighted_cross_entropy'"),
    # the list
    ("category", compound(), "loss", ".terms: got [], expected a list of losses"),
    ("category", {"type": "compound_loss", "terms": FOCAL}, "loss", ".terms: got {'type': 'focal_loss'}, expected a list of losses"),
    ("category", compound(FOCAL, term=[]), "loss", "unknown parameter 'term' (value []). Did you mean 'terms'?"),
]  # fmt: skip


@pytest.mark.parametrize(("feature", "loss", "where", "expected"), WRONG, ids=[entry[3][:30] for entry in WRONG])
def test_mistakes_in_a_term_say_which_one(feature, loss, where, expected):
    text = message(feature, loss)
    place = "loss" if where == "loss" else f"loss.{where}"
    assert text.startswith(f"output_features[0].{place}")
    assert expected in text


@pytest.mark.parametrize(
    ("feature", "loss", "expected"),
    [
        ("category", {"type": "compound_loss"}, "loss: terms is missing. Write a list of losses"),
        ("category", compound({**FOCAL, "weight": 0}), "every weight is 0, so there is nothing to learn"),
        (
            "category",
            compound({"type": "sparsemax"}, POLY, {"type": "tempered_softmax_cross_entropy", "t2": 1.5}),
            "loss: terms[0] (sparsemax) and terms[2] (tempered_softmax_cross_entropy) each train predictions of their own",
        ),
    ],
)
def test_what_the_terms_say_together(feature, loss, expected):
    assert expected in message(feature, loss)


def test_terms_may_come_from_the_defaults():
    defaults = {"category": {"loss": compound({**FOCAL, "gamma": 3}, POLY)}}
    config = parsed("category", {"type": "compound_loss", "weight": 2}, defaults=defaults)
    loss = config.output_features[0].loss
    assert loss.weight == 2 and [term["type"] for term in loss.terms] == ["focal_loss", "poly_loss"]
    wrong = {"category": {"loss": compound({**FOCAL, "gama": 3})}}
    with pytest.raises(ConfigValidationError, match=r"defaults.category.loss.terms\[0\]: unknown parameter 'gama'"):
        parsed("category", {"type": "compound_loss"}, defaults=wrong)


@pytest.mark.parametrize("feature", TERMS)
def test_a_rendered_configuration_spells_out_every_default_and_parses_again(feature):
    config = parsed(feature, compound(*copy.deepcopy(TERMS[feature])))
    rendered = config.to_dict()
    terms = rendered["output_features"][0]["loss"]["terms"]
    assert [term["weight"] for term in terms] == [term.get("weight", 1) for term in TERMS[feature]]
    assert ModelConfig.from_dict(copy.deepcopy(rendered)).output_features[0].loss.terms == terms


def loss_of(feature: str, *terms: dict):
    return get_loss_cls(feature, "compound_loss").from_dict(compound(*terms))


def test_the_value_is_the_weighted_sum():
    logits, target = torch.randn(9, 4), torch.arange(9) % 4
    loss = create_loss(
        loss_of("category", {**FOCAL, "weight": 2}, {**POLY, "weight": 0}, {"type": "softmax_cross_entropy"})
    )
    expected = 2 * functional.softmax_focal_loss(logits, target).mean() + torch.nn.functional.cross_entropy(
        logits, target
    )
    torch.testing.assert_close(loss(logits, target.to(torch.int8)), expected)
    half = loss(logits.half(), target)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss(logits.half().float(), target))
    leaf = torch.full((9, 4), 1e4).index_fill(1, torch.tensor([1]), -1e4).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, target), leaf)
    assert gradient.isfinite().all()


def test_it_compiles_whole():
    logits, target = torch.randn(9, 4), torch.arange(9) % 4
    loss = create_loss(
        loss_of("category", FOCAL, {"type": "entmax15", "weight": 0.5}, {"type": "softmax_cross_entropy"})
    )
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))


def test_a_term_that_is_only_watched_costs_nothing():
    loss = create_loss(loss_of("number", {"type": "mean_squared_error"}, {"type": "mean_absolute_error", "weight": 0}))
    assert loss(torch.full((3,), 2.0), torch.zeros(3)) == 4
    assert loss.term(1, torch.full((3,), torch.inf), torch.zeros(3)) == torch.inf
    loss.weights[0] = 0.0
    with pytest.raises(TypeError, match="forward must return one number"):
        loss(torch.zeros(3), torch.zeros(3))


def test_only_a_term_with_a_weight_trains_its_parameters():
    learned = {"type": "nt_xent_loss", "temperature": "learned"}
    watched = create_loss(loss_of("vector", {**learned, "weight": 0}, {"type": "mean_squared_error"}))
    assert [parameter.requires_grad for parameter in watched.terms[0].parameters()] == [False]
    trained = create_loss(loss_of("vector", learned, {"type": "mean_squared_error", "weight": 0}))
    assert [parameter.requires_grad for parameter in trained.terms[0].parameters()] == [True]
    preds, target = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    trained(preds, target).backward()
    assert trained.terms[0].learned.position.grad != 0


CLASSES = Feature("y", classes=["a", "b", "c"], num_classes=3)


def test_classes_of_terms_are_resolved_as_those_of_a_loss():
    weights = {"a": 1, "b": 2, "c": 3}
    terms = [
        {**FOCAL, "alpha": {"a": 0.1, "b": 0.2, "c": 0.3}},
        {"type": "softmax_cross_entropy", "class_weights": weights},
        {"type": "entropic_open_set", "background_class": "c"},
    ]
    config = loss_of("category", *terms)
    for _ in range(2):  # a saved model resolves again
        config.resolve(CLASSES)
        assert config.terms[0]["alpha"] == [0.1, 0.2, 0.3]
        assert config.terms[1]["class_weights"] == [1, 2, 3]
        assert config.terms[2]["background_class"] == [2]
    assert create_loss(config).terms[1].loss_fn.weight.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ({**POLY, "class_weights": [1, 2]}, r"loss.terms\[1\].class_weights \(output feature 'y'\): \[1.*2.*\] has 2 numbers, but there are 3"),
        ({"type": "softmax_cross_entropy", "class_weights": {"a": 1, "d": 2}}, r"loss.terms\[1\].class_weights \(output feature 'y'\): .* unknown \['d'\]"),
        ({"type": "objectosphere", "background_class": "d"}, r"loss.terms\[1\].background_class \(output feature 'y'\): 'd' does not fit"),
    ],
)  # fmt: skip
def test_a_class_that_does_not_exist_names_the_term(term, expected):
    with pytest.raises(ValueError, match=expected):
        loss_of("category", FOCAL, term).resolve(CLASSES)


def test_class_names_that_yaml_reads_as_numbers_are_names_in_terms_too():
    terms = [{**FOCAL, "alpha": {0: 0.5, True: 1}}, {"type": "softmax_cross_entropy", "class_weights": {0: 1, 1: 2}}]
    loss = parsed("category", compound(*terms)).output_features[0].loss
    assert loss.terms[0]["alpha"] == {"0": 0.5, "True": 1} and loss.terms[1]["class_weights"] == {"0": 1, "1": 2}


def test_a_term_keeps_pairs_together():
    config = parsed("vector", compound({"type": "mean_squared_error"}, {"type": "nt_xent"}))
    assert config.output_features[0].loss.keeps_pairs and config.trainer.validation_metric == "loss"
    with pytest.raises(ConfigValidationError, match=r"Write batch_size: 34, or .* loss.terms\[1\].pairing: target"):
        parsed("vector", compound({"type": "mean_squared_error"}, {"type": "nt_xent"}), trainer={"batch_size": 33})
    by_target = parsed("vector", compound({"type": "nt_xent", "pairing": "target"}), trainer={"batch_size": 33})
    assert not by_target.output_features[0].loss.keeps_pairs


def test_predictions_and_metrics_are_those_of_the_term_that_has_its_own(tmp_path):
    terms = ({"type": "softmax_cross_entropy", "weight": 0.5}, {"type": "objectosphere", "background_class": "class_2"})
    config, path = matrix.write("category", compound(*terms), tmp_path)
    config["trainer"]["validation_metric"] = "oscr"
    config["output_features"][0]["calibration"] = True
    with pytest.raises(
        ConfigValidationError,
        match=r"calibration \(output feature 'y'\): true rescales softmax .* trained with compound_loss",
    ):
        LudwigModel(config)
    del config["output_features"][0]["calibration"]
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    assert {"oscr", "open_set_auroc", "loss_objectosphere"} <= result.train_stats.validation["y"].keys()
    predicted, _ = model.predict(str(path))
    assert (predicted["y_probabilities_class_2"] == 0).all() and predicted["y_known_score"].nunique() > 10


def test_a_metric_of_no_term_cannot_choose_the_model(tmp_path):
    config, path = matrix.write("category", compound(FOCAL, POLY), tmp_path)
    config["trainer"]["validation_metric"] = "loss_sparsemax_loss"
    with pytest.raises(
        ValueError,
        match=r"loss_sparsemax_loss is not available: output_features\[0\]\.loss \(output feature 'y'\): compound_loss",
    ):
        LudwigModel(config, logging_level=logging.ERROR).train(
            str(path), output_directory=str(tmp_path), skip_save_processed_input=True
        )


def test_a_search_may_choose_the_terms():
    space = {"target.loss.terms": {"space": "choice", "categories": [[FOCAL], [FOCAL, POLY]]}}
    parsed("category", compound(FOCAL), hyperopt={"parameters": space, "metric": "loss_focal_loss"})
