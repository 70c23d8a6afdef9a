"""What chooses the best model and stops a training early, where the configuration says nothing."""

from __future__ import annotations

import logging

import pytest
from ludwig.api import LudwigModel
from ludwig.schema.model_types.base import ModelConfig

import declared
import matrix

CORN = {"type": "corn", "order": ["class_0", "class_1", "class_2"]}
BACKGROUND = {"type": "entropic_open_set", "background_class": "class_2"}
CROSS_ENTROPY, SQUARED = {"type": "softmax_cross_entropy"}, {"type": "mean_squared_error"}
UNET = {
    "decoder": {"type": "unet", "num_fc_layers": 0},
    "preprocessing": {"height": 16, "width": 16, "num_channels": 1, "num_classes": 2},
}


def compound(*terms) -> dict:
    return {"type": "compound_loss", "terms": list(terms)}


def parse(*outputs, **trainer) -> ModelConfig:
    features = [
        {"name": f"y{index}", "type": feature, "loss": dict(loss), **(UNET if feature == "image" else {})}
        for index, (feature, loss) in enumerate(outputs)
    ]
    inputs = [{"name": "x", "type": "number"}]
    return ModelConfig.from_dict({"input_features": inputs, "output_features": features, "trainer": trainer})


# The loss where the feature's default metric does not judge what the loss trains; else Ludwig's default.
DEFAULTS = [
    *(
        (feature, {"type": name, **options}, metric)
        for name, facts in declared.FACTS.items()
        for feature, options, metric in facts.validates_by
    ),
    ("category", compound(CORN, CROSS_ENTROPY), "loss"),
    ("category", compound(CROSS_ENTROPY, BACKGROUND), "loss"),
    ("category", compound(CROSS_ENTROPY, {**CORN, "weight": 0}), "accuracy"),
    ("category", compound(CROSS_ENTROPY), "accuracy"),
    ("binary", compound({"type": "focal_loss"}), "roc_auc"),
    ("number", compound({"type": "mean_absolute_error"}), "mean_squared_error"),
    ("vector", compound(SQUARED, {"type": "nt_xent_loss"}), "loss"),
    ("vector", compound(SQUARED, {"type": "nt_xent_loss", "weight": 0}), "mean_squared_error"),
    ("vector", compound(CROSS_ENTROPY), "loss"),
    ("category", CROSS_ENTROPY, "accuracy"),
    ("vector", SQUARED, "mean_squared_error"),
]


@pytest.mark.parametrize(("feature", "loss", "expected"), DEFAULTS, ids=lambda value: str(value)[:60])
def test_the_loss_where_the_default_metric_does_not_judge_it(feature, loss, expected):
    config = parse((feature, loss))
    assert (config.trainer.validation_field, config.trainer.validation_metric) == ("y0", expected)
    again = ModelConfig.from_dict(config.to_dict())
    assert again.trainer.validation_metric == expected


@pytest.mark.parametrize("metric", ["accuracy", "rank_mae", "quadratic_weighted_kappa", "loss"])
def test_what_the_user_names_or_a_saved_model_has_stays(metric):
    config = parse(("category", CORN), validation_metric=metric)
    assert config.trainer.validation_metric == metric
    assert ModelConfig.from_dict(config.to_dict()).trainer.validation_metric == metric


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, ("y0", "accuracy")),
        ({"validation_field": "y1"}, ("y1", "loss")),
        ({"validation_field": "y2"}, ("y2", "mean_squared_error")),
        ({"validation_field": "combined"}, ("combined", "loss")),
        ({"validation_metric": "rank_mae"}, ("y1", "rank_mae")),
    ],
    ids=str,
)
def test_several_output_features_are_as_ludwig_has_them(trainer, expected):
    if trainer.get("validation_metric"):  # Ludwig finds no field for a metric that two category features may have
        trainer = {**trainer, "validation_field": "y1"}
    config = parse(("category", CROSS_ENTROPY), ("category", CORN), ("number", SQUARED), **trainer)
    assert (config.trainer.validation_field, config.trainer.validation_metric) == expected


@pytest.mark.parametrize(
    ("loss", "metric", "at_least"), [(CORN, "quadratic_weighted_kappa", 0.8), (BACKGROUND, "open_set_auroc", 0.8)]
)
def test_early_stopping_does_not_keep_a_model_that_is_next_to_chance(loss, metric, at_least, tmp_path):
    """With one step an epoch accuracy stands still at first: with it the values are .15 and .66 on this split."""
    config, path = matrix.write("category", loss, tmp_path)
    config["trainer"] = {"epochs": 60, "learning_rate": 0.01, "batch_size": 128, "eval_batch_size": 512}
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(
        str(path), output_directory=str(tmp_path), skip_save_processed_input=True, skip_save_log=True, random_seed=2
    )
    data = result.preprocessed_data.test_set
    statistics, *_ = model.evaluate(data, skip_save_predictions=True)
    assert statistics["y"][metric] > at_least
