"""Means and standard deviations of number and timeseries features: columns, units, and what is saved."""

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

import matrix
from ludwig_losses import functional

GAUSSIAN = {"type": "gaussian_nll_loss"}


@pytest.fixture(scope="module")
def amounts():
    """A target far from 0 that varies more, the larger its input."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, 600)
    return pd.DataFrame({"x": x, "y": 500 + 20 * x + 10 * np.exp(x) * generator.normal(size=600)})


def config_of(loss: dict[str, Any], normalization: str | None = None, **output: Any) -> dict[str, Any]:
    trainer = {"epochs": 15, "batch_size": 64, "eval_batch_size": 64, "learning_rate": 0.02}
    y = {"name": "y", "type": "number", "preprocessing": {"normalization": normalization}, "loss": loss, **output}
    return {"input_features": [{"name": "x", "type": "number"}], "output_features": [y], "trainer": trainer}


def trained(config: dict[str, Any], data: Any, folder: Any) -> tuple[LudwigModel, dict[str, list[float]]]:
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(data, output_directory=str(folder), skip_save_processed_input=True)
    return model, result.train_stats.validation["y"]


def loss_of(**options: Any) -> Any:
    return create_loss(get_loss_cls("number", "gaussian_nll_loss").from_dict({**GAUSSIAN, **options}))


def test_the_module_is_the_function_of_standardised_targets():
    loss, logits, target = loss_of(), torch.randn(20, 2), 500 + 10 * torch.randn(20)
    expected = functional.gaussian_nll_loss(logits, target).mean()
    torch.testing.assert_close(loss(logits, target), expected)
    loss.begin(500.0, 10.0)
    loss.begin(0.0, 1.0)  # of a model that has begun
    expected = functional.gaussian_nll_loss(logits, (target - 500) / 10).mean() + np.log(10)
    torch.testing.assert_close(loss(logits, target), expected)
    mean, std = functional.mean_and_std(logits).unbind(dim=-1)
    found = torch.jit.script(loss.estimates)(logits)
    torch.testing.assert_close(found["predictions"], 500 + 10 * mean)
    torch.testing.assert_close(found["std"], 10 * std)
    nll = -torch.distributions.Normal(found["predictions"], found["std"]).log_prob(target).mean()
    torch.testing.assert_close(loss(logits, target), nll)


@pytest.mark.parametrize("normalization", [None, "zscore", "minmax", "iq"])
def test_mean_and_deviation_are_in_the_units_of_the_data(normalization, amounts, tmp_path):
    """Of a model whose decoder gives the same numbers for each row: whatever the normalization, the same predictions."""
    config = config_of(GAUSSIAN, normalization, clip=[0.0, 2.0] if normalization == "zscore" else None)
    config["trainer"]["epochs"] = 1
    model, statistics = trained(config, amounts, tmp_path)
    layer = model.model.output_features.get("y").decoder_obj.dense.dense
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, 3.0]))
    predicted, _ = model.predict(amounts)
    assert [*predicted] == ["y_predictions", "y_std"]
    training = model.preprocess(amounts, skip_save_processed_input=True)[0].dataset
    column = next(name for name in training if name.startswith("y_"))
    if normalization is None:
        mean, std = training[column].mean(), training[column].std()
        np.testing.assert_allclose(predicted["y_predictions"].iloc[0], mean + std, rtol=1e-4)
        np.testing.assert_allclose(predicted["y_std"].iloc[0], std * (np.log1p(np.exp(3)) + 1e-3), rtol=1e-4)
    np.testing.assert_allclose(predicted["y_predictions"].iloc[0], 516, atol=4)
    np.testing.assert_allclose(predicted["y_std"].iloc[0], 49, atol=6)
    assert {"interval_coverage", "interval_score", "pinball_loss"} <= statistics.keys()


def test_learns_how_far_off_it_is_and_is_saved(amounts, tmp_path):
    model, statistics = trained(config_of(GAUSSIAN), amounts, tmp_path)
    assert model.config_obj.trainer.validation_metric == "loss"
    predicted, _ = model.predict(amounts)
    z = (amounts["y"] - predicted["y_predictions"]) / predicted["y_std"]
    assert abs((z.abs() < 1.645).mean() - 0.9) < 0.05
    low, high = (predicted["y_std"][half].mean() for half in (amounts["x"] < -0.5, amounts["x"] > 0.5))
    assert high > 1.7 * low and min(statistics["loss"]) < 4.2
    model.save(str(tmp_path / "saved"))
    again, _ = LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR).predict(amounts)
    np.testing.assert_allclose(again.to_numpy(float), predicted.to_numpy(float), rtol=1e-5)


AFTER_A_REPORTED_TERM = {"type": "compound_loss", "terms": [{"type": "huber", "weight": 0}, GAUSSIAN]}


@pytest.mark.parametrize("loss", [GAUSSIAN, AFTER_A_REPORTED_TERM], ids=lambda loss: loss["type"])
def test_a_timeseries_has_a_deviation_of_each_step(loss, tmp_path):
    config, path = matrix.write("timeseries", loss, tmp_path)
    model, statistics = trained(config, str(path), tmp_path)
    predicted, _ = model.predict(str(path))
    assert np.isfinite(statistics["loss"]).all()
    std = np.array(predicted["y_std"].tolist())
    assert std.shape == (100, 4) and (std > 0).all()


def test_a_logarithm_is_refused():
    with pytest.raises(
        ConfigValidationError,
        match=r"output_features\[0\]\.loss \(output feature 'y'\): gaussian_nll_loss predicts a standard deviation.*"
        r"log1p.* Write preprocessing: \{normalization: null or zscore or minmax or iq\}",
    ):
        ModelConfig.from_dict(config_of(GAUSSIAN, "log1p"))


@pytest.mark.parametrize("beta", [-0.5, 2, "x", None, True], ids=str)
def test_what_is_no_beta_is_refused(beta):
    with pytest.raises(ConfigValidationError, match=r"output_features\[0\]\.loss\.beta .*a number in \[0, 1\]"):
        ModelConfig.from_dict(config_of({**GAUSSIAN, "beta": beta}))
