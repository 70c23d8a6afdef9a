"""Every mistake in a loss section is an error that says where, what, and what to write instead; on both hosts."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from ludwig.api import LudwigModel
from ludwig.error import ConfigValidationError
from ludwig.schema.model_types.base import ModelConfig, model_type_schema_registry

from ludwig_losses.functional.dice import mistake_weights
from ludwig_losses.host.config.misplaced import misplaced_losses
from ludwig_losses.host.registry import find, losses_for
from ludwig_losses.losses.dice import DiceLossConfig
from ludwig_losses.parameters import Feature


def config(feature: str, loss, defaults=None, **output) -> dict:
    return {
        "input_features": [{"name": "x", "type": "number"}],
        "output_features": [{"name": "target", "type": feature, **({} if loss is None else {"loss": loss}), **output}],
        **({"defaults": defaults} if defaults else {}),
    }


def message(configuration: dict) -> str:
    """What is wrong with a configuration; without the name of its one output feature, which every line has to give."""
    with pytest.raises(ConfigValidationError) as caught:
        ModelConfig.from_dict(configuration)
    text = str(caught.value)
    assert all(
        re.match(r"output_features\[0\][^ ]* \(output feature 'target'\): |(?!output_features)", line)
        for line in text.split("\n")
    )
    return text.replace(" (output feature 'target')", "")


WRONG = [
    # unknown parameters
    ("category", {"type": "focal_loss", "gama": 2}, r"unknown parameter 'gama' \(value 2\). Did you mean 'gamma'\?"),
    ("image", {"type": "dice", "smoth": 1}, r"unknown parameter 'smoth' .* Did you mean 'smooth'\?"),
    ("image", {"type": "lovasz_softmax_loss", "smooth": 1}, "unknown parameter 'smooth'.*: classes, per_image, ignore_index"),
    ("image", {"type": "focal_loss", "effective_number_beta": 0.5}, "effective_number_beta is for binary, category, .* features only"),
    ("category", {"type": "entmax15", "padding_index": 0}, "padding_index is for text, sequence features only"),
    # wrong types
    ("category", {"type": "focal_loss", "gamma": "high"}, r"gamma: got 'high', expected a number in \[0, 20\]"),
    ("category", {"type": "focal_loss", "gamma": True}, "gamma: got True, expected a number"),
    ("category", {"type": "focal_loss", "gamma": None}, "gamma: got None, expected a number"),
    ("vector", {"type": "nt_xent_loss", "temperature": "1e-1"}, r"got '1e-1', .* In YAML this is text; write 0\.1\."),
    ("category", {"type": "focal_loss", "alpha": []}, r"alpha: got \[\], expected a number in \[0, 1\], null, a list"),
    ("category", {"type": "focal_loss", "alpha": [0.1, "x"]}, "alpha: got .* a list or a dict by class name"),
    ("category", {"type": "poly_loss", "class_weights": 2}, "class_weights: got 2, expected null, balanced, effective_number, a list or a dict"),
    ("category", {"type": "poly_loss", "class_weights": {"a": -1}}, "class_weights: got .* a number >= 0"),
    ("vector", {"type": "nt_xent", "pairing": "targets"}, "expected one of consecutive, target. Did you mean 'target'"),
    ("text", {"type": "sparsemax", "padding_index": -100}, "padding_index: got -100, expected a whole number >= 0, or null"),
    ("category", {"type": "poly_loss", "class_weights": "ballanced"}, "class_weights: got 'ballanced'.*Did you mean 'balanced'"),
    ("category", {"type": "focal_loss", "normalize": 1}, "normalize: got 1, expected true or false"),
    ("category", {"type": "poly_loss", "epsilon": [1, "x"]}, r"epsilon\[1\]: got 'x', expected a number >= -0.5"),
    ("category", {"type": "sparsemax", "ignore_index": -100}, "ignore_index: got -100, expected the name or the index"),
    ("binary", {"type": "asymmetric_loss", "ignore_index": 0}, "ignore_index is for set features only"),
    ("set", {"type": "poly_loss", "top_k": 0.5}, "top_k is for category, image, sequence, text features only"),
    ("image", {"type": "focal_loss", "top_k": 0}, r"top_k: got 0, expected a number in \(0, 1\]"),
    ("image", {"type": "focal_loss", "top_k": 0.1, "normalize": True}, "top_k: 0.1 by the hardest elements. Leave out one"),
    ("vector", {"type": "nt_xent_loss", "temperature": "lerned"}, "a number >= 0.001, learned. Did you mean 'learned'"),
    # what several parameters say together
    (
        "category",
        {"type": "poly_loss", "effective_number_beta": 0.9},
        "effective_number_beta = 0.9 belongs to class_weights: effective_number, but class_weights is null. Write",
    ),
    (
        "text",
        {"type": "entmax_loss", "class_weights": "balanced", "effective_number_beta": 0.9},
        "but class_weights is balanced. Write class_weights: effective_number, or remove effective_number_beta",
    ),
    ("image", {"type": "lovasz", "classes": "all"}, "unknown loss 'lovasz'"),
    ("image", {"type": "lovasz_softmax", "classes": "presnt"}, r"expected present, all, or a list .* Did you mean 'present'"),
    ("image", {"type": "lovasz_softmax", "classes": 1}, "classes: got 1, expected present, all, or a list"),
    ("image", {"type": "lovasz_softmax", "classes": None}, "classes: got None, expected present, all, or a list"),
    ("image", {"type": "dice_loss", "per_image": 1}, "per_image: got 1, expected true or false"),
    ("image", {"type": "dice_loss", "ignore_index": -100}, "ignore_index: got -100, expected the name or the index"),
    # out of range, and not numbers at all
    ("binary", {"type": "focal", "alpha": 1.5}, r"alpha: got 1.5, expected a number in \[0, 1\]"),
    ("category", {"type": "focal_loss", "gamma": -0.1}, r"gamma: got -0.1, expected a number in \[0, 20\]"),
    ("category", {"type": "entmax_loss", "alpha": 1}, r"alpha: got 1, expected a number in \(1, 2\]"),
    ("category", {"type": "focal_loss", "reduced_threshold": 0}, r"got 0, expected a number in \(0, 1\], or null"),
    ("category", {"type": "poly_loss", "effective_number_beta": 1.1}, r"got 1.1, expected a number in \[0, 1\]"),
    ("category", {"type": "poly_loss", "epsilon": -1.01}, "epsilon: got -1.01, expected a number >= -1"),
    ("vector", {"type": "nt_xent_loss", "temperature": 0}, "temperature: got 0, expected a number >= 0.001"),
    ("image", {"type": "dice_loss", "smooth": -1}, "smooth: got -1, expected a number >= 0"),
    ("image", {"type": "dice_loss", "weight": -1}, "weight: got -1, expected a number >= 0"),
    ("category", {"type": "focal_loss", "gamma": float("nan")}, "gamma: got nan, expected a number"),
    ("category", {"type": "poly_loss", "epsilon": float("inf")}, "epsilon: got inf, expected a number"),
    # wrong losses
    ("category", {"type": "dice_loss"}, "dice_loss is a loss for image features, not for category features.*focal_loss"),
    ("number", {"type": "focal_loss"}, "focal_loss is a loss for binary, category, image.*mean_squared_error"),
    ("category_distribution", {"type": "focal_loss"}, "not for category_distribution features"),
    ("category", {"type": "focal_los"}, "unknown loss 'focal_los'. Did you mean 'focal_loss'"),
    ("category", {"type": "Focal_Loss"}, "unknown loss 'Focal_Loss'. Did you mean 'focal_loss'"),
    ("category", {"tpye": "focal_loss"}, "unknown parameter 'tpye'. Did you mean 'type'"),
    ("category", {"gamma": 1}, "gamma: there is no `type`; gamma is a parameter of focal_loss"),
    ("category", "focal_loss", r"got 'focal_loss', expected a mapping .* Write `loss: \{type: focal_loss\}`"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("feature", "loss", "expected"), WRONG, ids=lambda value: str(value) if isinstance(value, dict) else ""
)
def test_mistakes_name_the_feature_the_parameter_and_what_is_allowed(feature, loss, expected):
    text = message(config(feature, loss))
    assert re.search(expected, text, re.DOTALL), text
    assert text.startswith("output_features[0].loss")


MEANINGLESS = [
    ({"jaccard": True, "tversky_beta": 0.7}, "jaccard: true means .* got 0.5 and 0.7"),
    ({"log_dice": True, "focal_tversky_gamma": 2}, "Leave out one of the two"),
    ({"generalized": True, "class_weights": [1, 2]}, "Leave out that, or class_weights"),
    ({"squared_denominator": True, "tversky_alpha": 0.1}, "Make them equal"),
    ({"tversky_alpha": 0, "tversky_beta": 0}, "let no mistake count"),
]


@pytest.mark.parametrize(("options", "expected"), MEANINGLESS, ids=str)
def test_options_that_mean_nothing_together_are_refused(options, expected):
    text = message(config("image", {"type": "dice_loss", **options}))
    assert re.search(expected, text) and text.startswith("output_features[0].loss: ")


# The whole message: the same words and the same place on both generations of Ludwig.
EXACT = [
    ("category", {"type": "poly_loss", "epsilon": [1, -1]}, ".epsilon[1]: got -1, expected a number >= -0.5."),
    ("category", {"type": "poly_loss", "epsilon": [-1, 0, -0.4]}, ".epsilon[2]: got -0.4, expected a number >= -0.333333."),
    ("category", {"type": "focal_loss", "alpha": [0, 0]}, ".alpha: got [0, 0], expected a number > 0 for at least one class: else there is nothing to learn."),
    ("category", {"type": "sparsemax", "class_weights": {"a": 0, "b": 0.0}}, ".class_weights: got {'a': 0, 'b': 0.0}, expected a number > 0 for at least one class: else there is nothing to learn."),
    ("image", {"type": "dice", "class_weights": [0, 0]}, ".class_weights: got [0, 0], expected a number > 0 for at least one class: else there is nothing to learn."),
    ("category", {"type": "focal_loss", "gamma": 1e6}, ".gamma: got 1000000.0, expected a number in [0, 20]."),
    ("category", {"type": "poly_loss", "gamma": 20.5}, ".gamma: got 20.5, expected a number in [0, 20]."),
    ("category", {"type": "focal_loss", "gamma": 10**400}, f".gamma: got 1{'0' * 99}...{'0' * 20}, expected a number in [0, 20]."),
    ("category", {"type": "focal_loss", "weight": 10**400}, f".weight: got 1{'0' * 99}...{'0' * 20}, expected a number >= 0."),
    ("vector", {"type": "nt_xent", "temperature": 1e-30}, ".temperature: got 1e-30, expected a number >= 0.001, learned."),
    ("category", {"type": "focal_loss", "ignore_index": ["nine", 2]}, ".ignore_index: got ['nine', 2], expected names or indices, which cannot be mixed: put quotes around a name that looks like a number."),
    ("vector", {"type": None}, ".type: type is empty; choose one of {losses}."),
    ("vector", {"type": None, "temperature": 1}, ".type: type is empty; choose one of {losses}."),
    ("vector", {"type": "compound_loss", "terms": [{"type": None}]}, ".terms[0].type: type is empty; choose one of {losses}."),
    ("category", {"type": "compound_loss", "terms": [{"type": "focal_loss", "alpha": [0]}]}, ".terms[0].alpha: got [0], expected a number > 0 for at least one class: else there is nothing to learn."),
    ("category", {"type": "compound_loss", "terms": [{"type": "softmax_cross_entropy", "class_weights": [0]}]}, ".terms[0].class_weights: got [0], expected a number > 0 for at least one class: else there is nothing to learn."),
    ("category", {"type": "compound_loss"}, ": terms is missing. Write a list of losses, for instance [{type: focal_loss, weight: 1.0}, ...]."),
    ("image", {"type": "dice_loss", "tversky_alpha": 0, "tversky_beta": 0}, ": {dice}"),
    ("image", {"type": "compound_loss", "terms": [{"type": "focal_loss"}, {"type": "dice_loss", "tversky_alpha": 0, "tversky_beta": 0}]}, ".terms[1]: {dice}"),
]  # fmt: skip


@pytest.mark.parametrize(("feature", "loss", "expected"), EXACT, ids=range(len(EXACT)))
def test_messages_are_the_same_to_the_letter_on_every_host(feature, loss, expected):
    dice = ""
    if "{dice}" in expected:
        with pytest.raises(ValueError) as of_function:  # noqa: PT011
            mistake_weights(False, 0, 0, False)
        dice = str(of_function.value)
    expected = expected.replace("{losses}", ", ".join(losses_for(feature))).replace("{dice}", dice)
    assert message(config(feature, copy.deepcopy(loss))) == f"output_features[0].loss{expected}"
    where = f"defaults.{feature}.loss"
    if not expected.startswith((":", ".terms[1]")):
        default = message(config(feature, None, defaults={feature: {"loss": copy.deepcopy(loss)}}))
        assert f"{where}{expected}" in default.split("\n")


def test_several_outputs_are_told_apart():
    several = config("category", {"type": "focal_loss"})
    several["output_features"] += [
        {"name": "second", "type": "category", "loss": {"type": "sparsemax"}, "calibration": True},
        {"name": "third", "type": "category", "loss": {"type": "focal_loss"}},
    ]
    with pytest.raises(ConfigValidationError) as caught:
        ModelConfig.from_dict(several)
    assert str(caught.value) == (
        "output_features[1].calibration (output feature 'second'): true rescales softmax probabilities, but a feature "
        "trained with sparsemax predicts others. Remove calibration, or choose another loss."
    )
    several["output_features"][1]["calibration"] = False
    several["output_features"][2]["loss"]["gamma"] = -1
    with pytest.raises(
        ConfigValidationError, match=r"^output_features\[2\]\.loss\.gamma \(output feature 'third'\): got"
    ):
        ModelConfig.from_dict(several)


@pytest.mark.parametrize("wrap", [np.array, torch.tensor, pd.Series], ids=["numpy", "torch", "pandas"])
def test_arrays_are_taken_as_the_lists_that_they_are(wrap):
    terms = [{"type": "softmax_cross_entropy", "class_weights": wrap([1.0, 2.0])}]
    for loss, key, expected in (
        ({"type": "focal_loss", "alpha": wrap([0.25, 0.75])}, "alpha", [0.25, 0.75]),
        ({"type": "focal_loss", "gamma": wrap([1, 2])[1], "ignore_index": wrap([1])[0]}, "ignore_index", 1),
        (
            {"type": "poly_loss", "ignore_index": wrap([0, 2]), "label_smoothing": wrap([0.5])[0]},
            "ignore_index",
            [0, 2],
        ),
        ({"type": "compound_loss", "terms": terms}, "terms", None),
    ):
        before = copy.deepcopy(loss)
        parsed = ModelConfig.from_dict(config("category", loss))
        section = parsed.to_dict()["output_features"][0]["loss"]
        assert repr(loss) == repr(before), "what the user holds stays as it is"
        assert json.loads(json.dumps(section)) == section
        assert section[key] == expected or section["terms"][0]["class_weights"] == [1, 2]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"type": "focal_loss", "ignore_index": ["a", "b"]}, "ignore_index: [1, 2] leave none of the 3 classes"),
        ({"type": "poly_loss", "ignore_index": "a", "class_weights": {"a": 1, "b": 0}}, "ignore_index: [1] and class_weights: [1, 1, 0] leave none"),
        ({"type": "focal_loss", "alpha": [1, 0, 1], "class_weights": [1, 1, 0]}, "ignore_index: None and alpha: [1, 0, 1] and class_weights: [1, 1, 0] leave none"),
        ({"type": "compound_loss", "terms": [{"type": "poly"}, {"type": "poly", "ignore_index": [1, 2]}]}, "ignore_index: [1, 2] leave none"),
    ],
)  # fmt: skip
def test_something_is_left_to_learn(loss, expected):
    feature = Feature("target", ["<UNK>", "a", "b"], 3, symbols=frozenset({"<UNK>"}), path="output_features[0].loss")
    found = ModelConfig.from_dict(config("category", copy.deepcopy(loss))).output_features[0].loss
    place = "output_features[0].loss" + (".terms[1]" if "terms" in loss else "")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        found.resolve(feature)
    text = str(caught.value)
    assert text.startswith(f"{place} (output feature 'target'): ") and text.endswith("so there is nothing to learn.")
    assert expected in text.replace(".0", "")


def test_dice_counts_some_class():
    loss = DiceLossConfig.from_dict({"type": "dice_loss", "class_weights": [1, 0], "include_background": False})
    with pytest.raises(ValueError, match=r"class_weights: \[1(.0)?, 0(.0)?\] leave none of the 2 classes"):
        loss.resolve(Feature("mask", num_classes=2))


def test_every_mistake_is_reported_at_once():
    text = message(config("category", {"type": "focal_loss", "gama": 2, "alpha": 3}))
    assert "gama" in text and "alpha: got 3" in text


def test_defaults_are_checked_where_they_stand():
    text = message(config("category", None, defaults={"category": {"loss": {"type": "focal_loss", "gamma": -1}}}))
    assert "defaults.category.loss.gamma: got -1" in text


def test_the_type_may_come_from_the_defaults():
    defaults = {"category": {"loss": {"type": "focal_loss", "alpha": None}}}
    parsed = ModelConfig.from_dict(config("category", {"gamma": 3}, defaults=defaults))
    loss = parsed.output_features[0].loss
    assert (loss.type, loss.alpha, loss.gamma) == ("focal_loss", None, 3)
    assert "gama" in message(config("category", {"gama": 3}, defaults=defaults))


ECD_ONLY = "works with model_type ecd; got model_type {}{}. Write model_type: ecd, or remove the loss."


@pytest.mark.parametrize("model_type", ["llm", "gbm", "nonsense", None])
@pytest.mark.parametrize(
    ("feature", "written", "place"),
    [
        ("text", {"loss": {"type": "entmax_1.5_loss"}}, ".loss: entmax_1.5_loss"),
        ("category", {"loss": {"type": "dice_loss"}}, ".loss: dice_loss"),  # which is for no such feature either
        ("category", {"loss": "focal_loss"}, ".loss: focal_loss"),
        ("text", {"loss": {"type": "compound_loss", "terms": [{"type": "sparsemax"}]}}, ".loss: compound_loss"),
        ("category", {"loss": {"epsilon": 1}}, ".loss.epsilon: there is no `type`; epsilon is a parameter of poly_loss, which"),
        ("category", {"focal_loss": {"gamma": 1}}, ".focal_loss: Ludwig reads no loss here. focal_loss"),
        ("category", {"Loss": {"type": "focal_loss"}}, ".Loss: Ludwig reads no loss here. focal_loss"),
    ],
    ids=str,
)  # fmt: skip
def test_models_that_are_not_ecd_are_refused_for_that_reason(feature, written, place, model_type):
    wrong = {**config(feature, None), "model_type": model_type, "base_model": "none"}
    wrong["output_features"][0] |= copy.deepcopy(written)
    there_are = sorted(model_type_schema_registry)
    missing = "" if model_type in there_are else f", which this Ludwig does not have (it has {', '.join(there_are)})"
    assert message(wrong) == f"output_features[0]{place} {ECD_ONLY.format(model_type, missing)}"


def test_nothing_is_suggested_that_another_model_type_refuses():
    for loss in ({"type": "sparsmax"}, {"type": None}):
        text = message({**config("text", loss), "model_type": "llm", "base_model": "none"})
        names = text.removesuffix(".").replace("choose one of", "there are:").rpartition("there are: ")[2].split(", ")
        assert names == [name for name in losses_for("text") if find(name) is None]
        assert "PLUGINS" not in text
    unknown_model = {**config("category", {"type": "focal_los"}), "model_type": "nonsense"}
    with pytest.raises(Exception, match="Invalid model type: 'nonsense'"):  # marshmallow's kind on 0.11
        ModelConfig.from_dict(unknown_model)


BALANCE = (
    "Write {} instead, the weight of the positive class; the negative class weighs 1 - alpha. focal_loss on binary"
)


@pytest.mark.parametrize(
    ("loss", "instead"),
    [
        ({"positive_class_weight": 3}, "alpha: 0.75"),
        ({"positive_class_weight": 1}, "alpha: 0.5"),
        ({"positive_class_weight": "high"}, "alpha"),
    ],
    ids=str,
)
def test_the_weight_of_the_positive_class_is_written_as_alpha(loss, instead):
    for section in (
        {"type": "focal_loss", **loss},
        {"type": "compound_loss", "terms": [{"type": "focal_loss", **loss}]},
    ):
        text = message(config("binary", section))
        assert BALANCE.format(instead) in text
    if instead != "alpha":
        ModelConfig.from_dict(config("binary", {"type": "focal_loss", **yaml.safe_load("{" + instead + "}")}))
    weights = message(config("binary", {"type": "tempered_softmax_cross_entropy", **loss}))
    number = loss["positive_class_weight"]
    assert "alpha" not in weights and (f"Write class_weights: [1, {number}] instead" in weights) == (number != "high")


@pytest.mark.parametrize("number", [1, 1.0, np.int64(1)], ids=repr)
@pytest.mark.parametrize(
    ("feature", "loss"),
    [
        ("category", {"type": "softmax_cross_entropy"}),  # what Ludwig does
        ("category", {"type": "focal_loss"}),
        ("text", {"type": "sparsemax"}),
        ("image", {"type": "dice_loss"}),
        ("binary", {"type": "focal_loss"}),
    ],
    ids=str,
)
def test_class_weights_of_1_are_none_as_in_ludwig(feature, loss, number):
    weighted = {**loss, "class_weights": number}
    assert ModelConfig.from_dict(config(feature, weighted)).output_features[0].loss.class_weights is None
    if find(loss["type"]):
        by_default = config(feature, None, defaults={feature: {"loss": copy.deepcopy(weighted)}})
        assert ModelConfig.from_dict(by_default).output_features[0].loss.class_weights is None
    term = config(feature, {"type": "compound_loss", "terms": [copy.deepcopy(weighted)]})
    assert ModelConfig.from_dict(term).output_features[0].loss.parsed[0].class_weights is None
    assert weighted == {**loss, "class_weights": number}, "what the user holds stays as it is"


@pytest.mark.parametrize("number", [True, 0, 2, 1.5])
def test_other_numbers_say_nothing_of_the_classes(number):
    text = message(config("category", {"type": "focal_loss", "class_weights": number}))
    assert f"class_weights: got {number}, expected null, balanced, effective_number, a list or a dict" in text


# At least .8 alike (loss_1 and LossFn just so), and at most .75, as boss and lots.
NEARLY_LOSS = ["los", "losss", "Loss", "floss", "loss_1", "LossFn", "criterion"]
NOT_NEARLY = ["boss", "lots", "class", "glossary", "column"]


@pytest.mark.parametrize(
    ("key", "is_one"), [*((key, True) for key in NEARLY_LOSS), *((key, False) for key in NOT_NEARLY)]
)
def test_a_word_means_a_loss_if_it_is_nearly_that_word(key, is_one):
    written = config("category", None, **{key: {"type": "softmax_cross_entropy"}})
    assert bool(misplaced_losses(written, of_ludwig_too=True)) == is_one
    assert not misplaced_losses(written)
    ours = config("category", None, **{key: {"type": "focal_loss"}})
    assert bool(misplaced_losses(ours)) == is_one


@pytest.mark.parametrize("loss", ["entmax_1.5_loss", "sparsemax", "entmax_loss"])
def test_calibration_of_sparse_predictions_is_refused(loss):
    assert "Remove calibration" in message(config("category", {"type": loss}, calibration=True))
    ModelConfig.from_dict(config("category", {"type": loss}, calibration=False))


RIGHT = [
    ("category", {"type": "focal_loss", "alpha": None, "gamma": 0}),
    ("category", {"type": "focal_loss", "gamma": np.float64(1.5)}),
    ("category", {"type": "focal_loss", "alpha": {0: 0.5, True: 1}, "class_weights": {"a": 1}}),
    ("binary", {"type": "focal", "alpha": [0.1, 0.9], "class_weights": None}),
    ("category", {"type": "poly_loss", "epsilon": -1}),
    ("vector", {"type": "nt_xent_loss", "pairing": "target", "temperature": 1e-3}),
    ("text", {"type": "entmax_1.5_loss", "padding_index": 0}),
    ("text", {"type": "entmax_loss", "alpha": 2, "ignore_index": ["a", True], "class_weights": "balanced"}),
    ("category", {"type": "poly_loss", "epsilon": [1, -0.5], "gamma": 1, "label_smoothing": 0.1, "ignore_index": [0]}),
    ("category", {"type": "focal_loss", "class_weights": "effective_number", "effective_number_beta": 0.9}),
    ("image", {"type": "focal_loss", "normalize": True, "reduced_threshold": 0.5, "class_weights": [1, 2]}),
    ("image", {"type": "lovasz_softmax", "classes": "all", "per_image": True, "ignore_index": ["#ff0000"]}),
    ("image", {"type": "lovasz_softmax", "classes": [0, 2]}),
    (
        "image",
        {"type": "dice", "jaccard": True, "tversky_alpha": 0.5, "class_weights": {0: 1, 255: 2}, "ignore_index": "0"},
    ),
    ("category", {"type": "softmax_cross_entropy", "class_weights": [1, 2]}),
    ("category", {"weight": 2.0}),
    ("binary", {"type": "focal_loss", "alpha": None, "class_weights": {"no": 1, "yes": 3}}),
    ("binary", {"type": "tempered_softmax_cross_entropy", "class_weights": [1, 3]}),
]


@pytest.mark.parametrize(("feature", "loss"), RIGHT, ids=str)
def test_what_is_allowed_parses_renders_and_parses_again(feature, loss):
    parsed = ModelConfig.from_dict(config(feature, copy.deepcopy(loss)))
    again = ModelConfig.from_dict(parsed.to_dict())
    assert again.output_features[0].loss.to_dict() == parsed.output_features[0].loss.to_dict()


UNTYPED = {
    "binary": [
        {"positive_class_weight": 3},
        {"robust_lambda": 1},
        {"confidence_penalty": 0.1},
        {"class_weights": [1, 2]},
    ],
    "category": [{"class_weights": {"a": 1, "b": 2}}, {"class_similarities": [[1, 0], [0, 1]]}],
    "image": [{"class_weights": [1, 2]}],
    "number": [],
    "sequence": [{"unique": True}],
    "set": [{"class_weights": None}],
    "text": [{"confidence_penalty": 0.1}],
    "timeseries": [],
    "vector": [],
}


@pytest.mark.parametrize("feature", UNTYPED)
def test_sections_without_a_type_and_without_our_parameters_are_ludwigs_alone(feature):
    for loss in ({}, {"weight": 2.0}, *UNTYPED[feature]):
        written = ModelConfig.from_dict(config(feature, copy.deepcopy(loss)))
        by_default = ModelConfig.from_dict(config(feature, None, defaults={feature: {"loss": copy.deepcopy(loss)}}))
        for parsed in (written, by_default, ModelConfig.from_dict(written.to_dict())):
            assert find(parsed.output_features[0].loss.type) is None
            assert parsed.output_features[0].loss.weight == loss.get("weight", 1.0)


@pytest.mark.parametrize("defaults", [None, {"category": {"loss": {"type": "poly_loss"}}}], ids=str)
def test_words_for_class_weights_survive_ludwigs_upgrade_of_old_configurations(defaults):
    loss = {"class_weights": "effective_number", "effective_number_beta": 0.9, **({} if defaults else {"type": "poly"})}
    parsed = ModelConfig.from_dict(config("category", loss, defaults=defaults)).output_features[0].loss
    assert (parsed.class_weights, parsed.effective_number_beta) == ("effective_number", 0.9)
    ludwigs_own = config("category", {"type": "softmax_cross_entropy", "class_weights": "balanced"})
    assert ModelConfig.from_dict(ludwigs_own).output_features[0].loss.class_weights is None


def test_class_names_that_yaml_reads_as_numbers_are_names():
    parsed = ModelConfig.from_dict(config("category", {"type": "focal_loss", "alpha": {0: 0.5, 1: 1}}))
    assert parsed.output_features[0].loss.alpha == {"0": 0.5, "1": 1}


def test_search_over_the_loss_type_leaves_other_parameters_behind():
    searched = config("category", {"type": "poly_loss", "alpha": 0.5})
    assert "unknown parameter 'alpha'" in message(searched)
    space = {"target.loss.type": {"space": "choice", "categories": ["poly_loss", "focal_loss"]}}
    ModelConfig.from_dict({**searched, "hyperopt": {"parameters": space}})
    of_ludwigs_own = config("category", {"type": "focal_loss", "robust_lambda": 1})
    ModelConfig.from_dict({**of_ludwigs_own, "hyperopt": {"parameters": space}})
    assert "gama" in message(
        {**config("category", {"type": "poly_loss", "gama": 2}), "hyperopt": {"parameters": space}}
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (
            {"type": "focal_loss", "alpha": [0.1, 0.2]},
            r"alpha \(output feature 'target'\): \[0.1, 0.2\] has 2 numbers, but there are 3 classes",
        ),
        (
            {"type": "poly_loss", "class_weights": {"a": 1, "b": 1, "d": 1}},
            r"class_weights \(output feature 'target'\): .*unknown \['d'\], missing \['c'\]",
        ),
    ],
)
def test_lists_and_names_must_fit_the_classes(loss, expected, tmp_path):
    import pandas as pd

    data = pd.DataFrame({"x": np.arange(60.0), "target": list("abc") * 20})
    with pytest.raises(ConfigValidationError, match=rf"^output_features\[0\]\.loss\..*{expected}"):
        LudwigModel(config("category", loss)).train(
            data, output_directory=str(tmp_path), skip_save_processed_input=True
        )


def test_names_that_yaml_reads_as_booleans_are_to_be_quoted():
    from ludwig_losses.losses.poly import PolyLossConfig

    loss = PolyLossConfig.from_dict({"type": "poly_loss", "class_weights": {"True": 1, "False": 2}})
    with pytest.raises(ValueError, match=r"unknown \['True', 'False'\], missing \['yes', 'no'\].* quote such names"):
        loss.resolve(Feature("target", classes=["yes", "no"], num_classes=2))


def test_a_padding_index_must_be_in_the_vocabulary():
    from ludwig_losses.losses.fenchel_young import SparsemaxLossConfig

    loss = SparsemaxLossConfig.from_dict({"type": "sparsemax_loss", "padding_index": 8})
    with pytest.raises(
        ValueError, match=r"padding_index \(output feature 'target'\): got 8, but the vocabulary has only 8 symbols"
    ):
        loss.resolve(Feature("target", num_classes=8, padding=2))


@pytest.mark.parametrize(("alpha", "level"), [(0.25, "INFO"), (0.5, "WARNING")])
def test_one_alpha_for_many_classes_is_reported(alpha, level, caplog):
    from ludwig_losses.losses.focal import FocalLossConfig

    loss = FocalLossConfig.from_dict({"type": "focal_loss", "alpha": alpha})
    with caplog.at_level("INFO"):
        loss.resolve(Feature("target", classes=["a", "b"], num_classes=2))
        assert not caplog.records
        loss.resolve(Feature("target", classes=["a", "b", "c"], num_classes=3))
    (record,) = caplog.records
    assert (
        record.levelname == level and f"loss.alpha (output feature 'target'): {alpha} is not applied" in record.message
    )
