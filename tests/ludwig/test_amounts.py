"""Counts and amounts: means in the units of the data from the first step on, and targets that are some."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.error import ConfigValidationError
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.schema.model_types.base import ModelConfig
from sklearn.metrics import mean_poisson_deviance, mean_tweedie_deviance

POISSON, TWEEDIE = {"type": "poisson_nll_loss"}, {"type": "tweedie_loss"}


@pytest.fixture(scope="module")
def counts():
    """Large counts that grow with their input, in rows of three splits."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, 600)
    return pd.DataFrame({"x": x, "y": generator.poisson(200 * np.exp(x)), "split": np.arange(600) % 3})


def config_of(loss: dict[str, Any], **output: Any) -> dict[str, Any]:
    trainer = {"epochs": 8, "batch_size": 64, "eval_batch_size": 64, "learning_rate": 0.02}
    return {
        "input_features": [{"name": "x", "type": "number"}],
        "output_features": [{"name": "y", "type": "number", "loss": loss, **output}],
        "preprocessing": {"split": {"type": "fixed"}},
        "trainer": trainer,
    }


def trained(config: dict[str, Any], data: Any, folder: Any) -> tuple[LudwigModel, dict[str, list[float]]]:
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(data, output_directory=str(folder), skip_save_processed_input=True)
    return model, result.train_stats.validation["y"]


def loss_of(loss: dict[str, Any]) -> Any:
    return create_loss(get_loss_cls("number", loss["type"]).from_dict(dict(loss)))


@pytest.mark.parametrize(
    ("loss", "deviance"),
    [
        (POISSON, mean_poisson_deviance),
        (TWEEDIE, lambda y, mean: mean_tweedie_deviance(y, mean, power=1.5)),
        ({**TWEEDIE, "power": 2}, lambda y, mean: mean_tweedie_deviance(y, mean, power=2)),
    ],
    ids=["poisson", "tweedie", "gamma"],
)
def test_predicts_means_that_are_saved(loss, deviance, counts, tmp_path):
    config = config_of(loss)
    config["trainer"]["validation_metric"] = "deviance"
    model, statistics = trained(config, counts, tmp_path)
    predicted, _ = model.predict(counts)
    means, validation = predicted["y_predictions"].to_numpy(float), counts["split"] == 1
    assert np.corrcoef(means, np.exp(counts["x"]))[0, 1] > 0.95 and (means > 0).all()
    assert means.mean() == pytest.approx(counts["y"].mean(), rel=0.1)
    expected = deviance(counts["y"][validation], means[validation])
    assert min(statistics["deviance"]) == pytest.approx(expected, rel=1e-3)
    model.save(str(tmp_path / "saved"))
    again, _ = LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR).predict(counts)
    np.testing.assert_allclose(again["y_predictions"].astype(float), means, rtol=1e-5)
    wrong = counts.assign(y=counts["y"].where(counts.index != 5, -3))
    with pytest.raises(
        ValueError,
        match=rf"output_features\[0\]\.loss \(output feature 'y'\): {loss['type']} takes targets >=? 0, but row 5 of the "
        r"evaluated data has the value -3; 1 of 600 rows",
    ):
        model.evaluate(wrong)


def test_a_training_begins_with_the_mean_and_goes_on_with_it(counts, tmp_path):
    config = config_of(POISSON)
    config["trainer"]["epochs"] = 1
    model, _ = trained(config, counts, tmp_path)
    feature = model.model.output_features.get("y")
    start = feature.train_loss_function.means.start.exp().item()
    assert start == pytest.approx(counts["y"][counts["split"] == 0].mean(), rel=1e-5)
    # Ludwig's own metrics judge the means.
    predicted, _ = model.predict(counts)
    assert model.evaluate(counts)[0]["y"]["mean_absolute_error"] == pytest.approx(
        np.abs(predicted["y_predictions"].astype(float) - counts["y"]).mean(), rel=1e-4
    )
    more = counts.assign(y=5 * counts["y"])
    model.train(more, output_directory=str(tmp_path), skip_save_processed_input=True)
    assert model.model.output_features.get("y").train_loss_function.means.start.exp().item() == pytest.approx(start)


@pytest.mark.parametrize("loss", [POISSON, {"type": "gaussian_nll_loss"}], ids=lambda loss: loss["type"])
def test_the_first_predictions_are_a_constant(loss):
    model = LudwigModel.create_model(ModelConfig.from_dict(config_of(loss)), random_seed=1)
    feature = model.output_features.get("y")
    feature.train_loss_function.begin(200.0, 30.0)
    outputs = model({"x": torch.randn(5)})
    predicted = feature.predictions(outputs, "y")["predictions"]
    torch.testing.assert_close(predicted, torch.full((5,), 200.0))


@pytest.mark.parametrize("normalization", ["zscore", "minmax", "iq", "log1p"])
@pytest.mark.parametrize("loss", [POISSON, {"type": "compound_loss", "terms": [{"type": "huber"}, TWEEDIE]}], ids=str)
def test_normalised_counts_are_refused(loss, normalization):
    with pytest.raises(
        ConfigValidationError,
        match=rf"\.loss.* \(output feature 'y'\): (poisson_nll|tweedie)_loss learns from amounts as they are.*"
        rf"is {normalization}, .*Write preprocessing: {{normalization: null}}",
    ):
        ModelConfig.from_dict(config_of(loss, preprocessing={"normalization": normalization}))


@pytest.mark.parametrize(
    ("loss", "value", "said"),
    [
        (POISSON, -3, r"takes targets >= 0, but row 7 of the validation data has the value -3; 1 of 200 .*below 0"),
        ({**TWEEDIE, "power": 2}, 0, r"takes targets > 0, but row 7 .* the value 0; 1 .* a power below 2, under which"),
    ],
    ids=["poisson", "gamma"],
)
def test_targets_that_are_no_amounts_are_named(loss, value, said, counts, tmp_path):
    data = counts.copy()
    data.loc[7 * 3 + 1, "y"] = value
    with pytest.raises(ValueError, match=rf"output_features\[0\]\.loss \(output feature 'y'\): {loss['type']} {said}"):
        trained(config_of(loss), data, tmp_path)


def test_counts_need_not_be_whole(counts, tmp_path):
    config = config_of(POISSON)
    config["trainer"]["epochs"] = 1
    _, statistics = trained(config, counts.assign(y=counts["y"] + 0.5), tmp_path)
    assert np.isfinite(statistics["loss"]).all()


def test_targets_that_are_all_0_are_learned():
    loss = loss_of(POISSON)
    loss.begin(0.0, 0.0)
    assert loss(torch.zeros(3), torch.zeros(3)) == 1
    assert torch.jit.script(loss.estimates)(torch.zeros(3, dtype=torch.float16))["predictions"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("power", [0.5, 2.1, "x", None, True], ids=str)
def test_what_is_no_power_is_refused(power):
    with pytest.raises(ConfigValidationError, match=r"output_features\[0\]\.loss\.power .*a number in \[1, 2\]"):
        ModelConfig.from_dict(config_of({**TWEEDIE, "power": power}))
