"""Every loss that Ludwig's schema offers for a feature trains: its own ones, those of the pack, and all their names."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from ludwig.api import LudwigModel

import declared
import matrix
from ludwig_losses.host.registry import find, losses_by_feature

# What other tests train: the matrix by the command line, its aliases through the API, and sums of losses.
TRAINED_ELSEWHERE = {*declared.PAIRS, *declared.ALIAS_PAIRS, *declared.SUMS}
OFFERED = {
    (feature, name)
    for feature, names in losses_by_feature().items()
    for name in names
    # A loss of a user, in another test.
    if (found := find(name)) is None or found.module_cls.__module__.startswith("ludwig_losses.")
}
WALKED = sorted((feature, name) for feature, name in OFFERED - TRAINED_ELSEWHERE if feature in matrix.FEATURES)


def test_every_offered_pair_is_trained():
    """Here or where the tests below say."""
    assert OFFERED >= TRAINED_ELSEWHERE
    assert {feature for feature, _ in OFFERED - TRAINED_ELSEWHERE - {*WALKED}} <= {"anomaly"}
    assert len(WALKED) >= 20


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The configuration of a feature and its preprocessed data, once for all losses."""
    found: dict[str, tuple] = {}

    def prepare(feature: str) -> tuple:
        if feature not in found:
            folder = tmp_path_factory.mktemp(feature)
            # Masks are looked at differently for losses of the pack, which refuse others.
            loss = {"type": "focal_loss"} if feature == "image" else {}
            config, path = matrix.write(feature, loss, folder)
            frame = pd.read_csv(path)
            if feature == "vector":
                frame["y"] = frame["y"].map(distribution)
            data = LudwigModel(config, logging_level=logging.ERROR).preprocess(
                frame, skip_save_processed_input=True, random_seed=1
            )
            found[feature] = config, data, folder
        return found[feature]

    return prepare


def distribution(row: str) -> str:
    """Make positive numbers add up to 1, which every other loss takes, too."""
    values = np.abs(np.fromstring(row, sep=" ")) + 0.1
    return " ".join(map(str, values / values.sum()))


@pytest.mark.parametrize(("feature", "name"), WALKED, ids=["-".join(pair) for pair in WALKED])
def test_an_offered_pair_trains(prepared, feature, name):
    config, (training, validation, test, metadata), folder = prepared(feature)
    (output,) = config["output_features"]
    model = LudwigModel(
        {
            **config,
            "output_features": [{**output, "loss": {"type": name, **declared.options(feature, name)}}],
            "trainer": {**config["trainer"], "epochs": 1},
        },
        logging_level=logging.ERROR,
    )
    result = model.train(
        training_set=training, validation_set=validation, test_set=test, training_set_metadata=metadata,
        output_directory=str(folder / name), skip_save_model=True, skip_save_progress=True, skip_save_log=True,
    )  # fmt: skip
    assert model.config_obj.output_features[0].loss.type == name
    for statistics in (result.train_stats.training, result.train_stats.validation, result.train_stats.test):
        assert np.isfinite(statistics["y"]["loss"]).all()


SOFT = {"type": "vector", "name": "y", "loss": {"type": "softmax_cross_entropy"}}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("0.5 0.6", "row 3 of the training data sums to 1.1"),
        ("-0.5 1.5", "has the value -0.5"),
        ("0 0", "sums to 0"),
    ],
)
def test_rows_that_are_no_distribution_are_named(row, expected, tmp_path):
    frame = pd.DataFrame({"x": np.arange(40.0), "y": "0.25 0.75", "split": [0] * 30 + [1] * 10})
    frame.loc[3, "y"] = row
    config = {
        "input_features": [{"name": "x", "type": "number"}],
        "output_features": [SOFT],
        "preprocessing": {"split": {"type": "fixed"}},
        "trainer": {"epochs": 1},
    }
    with pytest.raises(ValueError, match=rf"output_features\[0\]\.loss .*'y'.: softmax_cross_entropy .* {expected}"):
        LudwigModel(config, logging_level=logging.ERROR).train(
            frame, output_directory=str(tmp_path), skip_save_processed_input=True
        )


def test_soft_labels_are_learned_and_predicted_as_probabilities(tmp_path):
    x = np.random.default_rng(0).normal(size=200)
    p = 1 / (1 + np.exp(-2 * x))
    frame = pd.DataFrame({"x": x, "y": [f"{value:.3f} {1 - value:.3f}" for value in p]})
    config = {
        "input_features": [{"name": "x", "type": "number"}],
        "output_features": [SOFT],
        "trainer": {"epochs": 30, "batch_size": 32, "eval_batch_size": 64, "learning_rate": 0.05},
    }
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(frame, output_directory=str(tmp_path), skip_save_processed_input=True)
    predicted = np.stack(model.predict(frame)[0]["y_predictions"])
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-6)
    assert np.abs(predicted[:, 0] - p).mean() < 0.05
