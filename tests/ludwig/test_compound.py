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


@pytest.mark.parametrize("feature", TERMS)
def test_each_term_is_seen_in_training_and_survives_reloading(feature, tmp_path):
    terms = TERMS[feature]
    names = NAMES.get(feature) or [f"loss_{term['type']}" for term in terms]
    config, path = matrix.write(feature, compound(*copy.deepcopy(terms)), tmp_path)
    config["trainer"]["validation_metric"] = names[-1]
    if feature == "set":
        config["output_features"][0]["preprocessing"] = {"most_common": 4}
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    for split in (result.train_stats.training["y"], result.train_stats.validation["y"]):
        weighted = [term.get("weight", 1) * np.array(split[name]) for term, name in zip(terms, names, strict=True)]
        assert all(len(values) == 2 and np.isfinite(values).all() for values in weighted)
        np.testing.assert_allclose(sum(weighted), split["loss"], rtol=1e-5)
    assert result.train_stats.training["y"]["loss"][-1] < result.train_stats.training["y"]["loss"][0]

    predicted, _ = model.predict(str(path))
    evaluated, _, _ = model.evaluate(str(path))
    assert {*names} <= evaluated["y"].keys()
    model.save(str(tmp_path / "saved"))
    reloaded = LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR)
    pd.testing.assert_frame_equal(predicted, reloaded.predict(str(path))[0])
    again = reloaded.evaluate(str(path))[0]["y"]
    assert {name: again[name] for name in names} == pytest.approx({name: evaluated["y"][name] for name in names})
