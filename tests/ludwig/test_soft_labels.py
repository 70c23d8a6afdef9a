"""Targets that are distributions over classes, of features that train with a loss of Ludwig's own."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from ludwig.api import LudwigModel


def test_overall_statistics_of_distributions_are_those_of_the_most_probable_class(tmp_path) -> None:
    x = np.random.default_rng(0).normal(size=(120, 3))
    p = np.exp(2 * x) / np.exp(2 * x).sum(axis=1, keepdims=True)
    frame = pd.DataFrame(x, columns=[*"abc"]).assign(y=[" ".join(f"{v:.4f}" for v in row) for row in p])
    output = {"name": "y", "type": "category_distribution", "preprocessing": {"vocab": ["u", "v", "w"]}}
    config = {
        "input_features": [{"name": name, "type": "number"} for name in "abc"],
        "output_features": [output],
        "trainer": {"epochs": 5, "batch_size": 16},
    }
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(frame, output_directory=str(tmp_path), skip_save_processed_input=True)
    evaluated, predictions, _ = model.evaluate(frame, collect_predictions=True, collect_overall_stats=True)
    true = np.array(["u", "v", "w"])[p.argmax(axis=1)]
    right = (predictions["y_predictions"].to_numpy() == true).mean()
    statistics = evaluated["y"]
    assert np.isclose(statistics["overall_stats"]["token_accuracy"], right)
    assert np.array(statistics["confusion_matrix"]).sum() == 120
    assert {*statistics["per_class_stats"]} == {"u", "v", "w"}
