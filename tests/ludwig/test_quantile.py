"""Quantiles of number and timeseries features: outputs of the decoder, columns, and the units of the data."""

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
from ludwig_losses.host.model.calibration import rows_to_calibrate

LEVELS = [0.05, 0.5, 0.95]
COLUMNS = [f"y_quantile_{level:g}" for level in LEVELS]


@pytest.fixture(scope="module")
def amounts():
    """A skewed target that is larger, and varies more, the larger its input."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=600)
    return pd.DataFrame({"x": x, "y": 40 * np.exp(0.5 * x) * (1 + 0.2 * generator.gamma(2, 1, 600))})


def config_of(loss: dict[str, Any], normalization: str | None = "zscore", **output: Any) -> dict[str, Any]:
    trainer = {"epochs": 15, "batch_size": 64, "eval_batch_size": 64, "learning_rate": 0.02}
    y = {"name": "y", "type": "number", "preprocessing": {"normalization": normalization}, "loss": loss, **output}
    return {"input_features": [{"name": "x", "type": "number"}], "output_features": [y], "trainer": trainer}


def trained(config: dict[str, Any], data: Any, folder: Any) -> tuple[LudwigModel, dict[str, list[float]]]:
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(data, output_directory=str(folder), skip_save_processed_input=True)
    return model, result.train_stats.validation["y"]


def test_the_module_is_the_function_of_ordered_outputs():
    loss = create_loss(
        get_loss_cls("number", "quantile_loss").from_dict({"type": "quantile_loss", "quantiles": LEVELS})
    )
    logits, target = torch.randn(20, 4, 3), torch.randn(20, 4)
    q = functional.ordered_quantiles(logits)
    assert (q.diff(dim=-1) >= 0).all()
    expected = functional.quantile_loss(q, target, quantiles=torch.tensor(LEVELS)).mean()
    torch.testing.assert_close(loss(logits, target), expected)
    found = torch.jit.script(loss.estimates)(logits)
    assert torch.equal(found["predictions"], q[..., 1]) and torch.equal(found["quantile_0.95"], q[..., 2])


def test_quantiles_of_a_constant_model_are_those_of_numpy():
    y = torch.from_numpy(np.random.default_rng(0).gamma(2, 1, 4_000))
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.995)
    for _ in range(1500):
        optimizer.zero_grad()
        q = functional.ordered_quantiles(logits)
        functional.quantile_loss(q.expand(len(y), 3), y, quantiles=torch.tensor(LEVELS)).mean().backward()
        optimizer.step()
        schedule.step()
    found = functional.ordered_quantiles(logits).detach().numpy()
    np.testing.assert_allclose(found, np.quantile(y, LEVELS), atol=1e-2)


@pytest.mark.parametrize("normalization", [None, "zscore", "minmax", "log1p", "iq"])
def test_every_quantile_is_in_the_units_of_the_data(normalization, amounts, tmp_path):
    """Of a model whose quantiles are known: its decoder gives the same numbers for each row."""
    config = config_of({"type": "quantile_loss"}, normalization)
    config["trainer"]["epochs"] = 1
    model, _ = trained(config, amounts, tmp_path)
    layer = model.model.output_features.get("y").decoder_obj.dense.dense
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([-1.0, 0.3, 0.5]))
    predicted, _ = model.predict(amounts)
    assert [*predicted] == ["y_predictions", *COLUMNS]
    y = amounts["y"].astype(np.float32)
    metadata = model.training_set_metadata["y"]
    undo = {
        None: lambda q: q,
        "zscore": lambda q: q * metadata.get("std", 0) + metadata.get("mean", 0),
        "minmax": lambda q: q * (y.max() - y.min()) + y.min(),
        "log1p": np.expm1,
        "iq": lambda q: q * (metadata.get("q3", 0) - metadata.get("q1", 0)) + metadata.get("q2", 0),
    }[normalization]
    q = functional.ordered_quantiles(torch.tensor([-1.0, 0.3, 0.5])).numpy()
    np.testing.assert_allclose(predicted[COLUMNS].iloc[0].astype(float), undo(q), rtol=1e-4)
    assert (predicted["y_predictions"] == predicted["y_quantile_0.5"]).all()


def test_learns_quantiles_that_do_not_cross_and_are_saved(amounts, tmp_path):
    model, statistics = trained(config_of({"type": "quantile_loss"}), amounts, tmp_path)
    predicted, _ = model.predict(amounts)
    q = predicted[COLUMNS].to_numpy(float)
    assert (np.diff(q, axis=1) >= 0).all()
    np.testing.assert_allclose((amounts[["y"]].to_numpy() <= q).mean(axis=0), LEVELS, atol=0.12)
    assert min(statistics["loss"]) < statistics["loss"][0] and model.config_obj.trainer.validation_metric == "loss"
    model.save(str(tmp_path / "saved"))
    again, _ = LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR).predict(amounts)
    np.testing.assert_allclose(again[COLUMNS].to_numpy(float), q, rtol=1e-5)


@pytest.mark.parametrize("quantiles", [0.5, [0.2, 0.5, 0.9]], ids=str)
def test_a_timeseries_has_quantiles_of_each_step(quantiles, tmp_path):
    config, path = matrix.write("timeseries", {"type": "quantile_loss", "quantiles": quantiles}, tmp_path)
    model, statistics = trained(config, str(path), tmp_path)
    predicted, _ = model.predict(str(path))
    assert np.isfinite(statistics["loss"]).all()
    columns = [name for name in predicted if "quantile" in name]
    steps = np.array([predicted[name].tolist() for name in columns])
    assert steps.shape == (len(np.ravel(quantiles)), 100, 4) and (np.diff(steps, axis=0) >= 0).all()
    assert predicted["y_predictions"].tolist() == predicted["y_quantile_0.5"].tolist()


@pytest.mark.parametrize("quantiles", [[0.5, 0.1], [0.1, 0.1], [], 0, 1.0, [0.5, "a"], None, True], ids=str)
def test_what_are_no_ascending_levels_is_refused(quantiles):
    with pytest.raises(ConfigValidationError, match=r"output_features\[0\]\.loss\.quantiles .*a number in \(0, 1\)"):
        ModelConfig.from_dict(config_of({"type": "quantile_loss", "quantiles": quantiles}))


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (
            [{"type": "huber"}, {"type": "quantile_loss", "quantiles": [0.1, 0.9]}],
            r"terms\[1\]: .*Add 0\.5 to quantiles",
        ),
        ([{"type": "huber"}, {"type": "quantile_loss", "weight": 0}], r"terms\[1\]: .*cannot be watched only"),
        (
            [{"type": "gaussian_nll_loss"}, {"type": "quantile_loss"}],
            r"terms\[0\] .* and terms\[1\] .* only one of them",
        ),
    ],
    ids=["no median", "watched", "two"],
)
def test_what_is_no_sum_is_refused(terms, said):
    with pytest.raises(ConfigValidationError, match=said):
        ModelConfig.from_dict(config_of({"type": "compound_loss", "terms": terms}))


@pytest.mark.parametrize(
    ("term", "predictions"),
    [
        ({"type": "quantile_loss"}, lambda z: functional.ordered_quantiles(z)[:, 1]),
        ({"type": "gaussian_nll_loss"}, lambda z: z[:, 0]),
        ({"type": "tweedie_loss"}, lambda z: z.exp()),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_other_terms_judge_the_predictions(term, predictions):
    terms = [
        {"type": "huber", "weight": 2.0},
        {"type": "log_cosh_loss"},
        term,
        {"type": "mean_absolute_error", "weight": 0},
    ]
    loss = create_loss(get_loss_cls("number", "compound_loss").from_dict({"type": "compound_loss", "terms": terms}))
    alone = create_loss(get_loss_cls("number", term["type"]).from_dict(dict(term)))
    target = torch.rand(20)
    logits = torch.randn(20, *([] if term["type"] == "tweedie_loss" else [3 if "quantile" in term["type"] else 2]))
    predicted = predictions(logits)
    huber = torch.nn.functional.huber_loss(predicted, target)
    expected = 2 * huber + functional.log_cosh_loss(predicted, target).mean() + alone(logits, target)
    torch.testing.assert_close(loss(logits, target), expected)
    torch.testing.assert_close(loss.mean_of_term(3, logits, target)[0], (predicted - target).abs().mean())
    torch.testing.assert_close(
        loss.mean_of_term(1, logits, target)[0], functional.log_cosh_loss(predicted, target).mean()
    )
    assert torch.equal(loss.estimates(logits)["predictions"], predicted)


def test_a_sum_predicts_and_calibrates_quantiles(amounts, tmp_path):
    terms = [{"type": "mean_absolute_error", "weight": 0.1}, {"type": "quantile_loss", "calibrate": True}]
    config = config_of({"type": "compound_loss", "terms": terms})
    config["trainer"]["epochs"] = 1
    model, statistics = trained(config, amounts, tmp_path)
    assert {"loss_mean_absolute_error", "loss_quantile_loss", "interval_coverage"} <= statistics.keys()
    offsets = model.model.output_features.get("y").train_loss_function.estimates.offsets
    assert offsets.abs().min() > 0
    predicted, _ = model.predict(amounts)
    assert [*predicted] == ["y_predictions", *COLUMNS]


def test_a_sum_has_the_share_and_the_columns_of_its_quantiles():
    quantiles = {"type": "quantile_loss", "calibrate": True, "calibration_share": 0.4}
    config = get_loss_cls("number", "compound_loss").from_dict(
        {"type": "compound_loss", "terms": [{"type": "huber"}, quantiles]}
    )
    loss = create_loss(config)
    assert loss.calibration_share == 0.4
    assert loss.quantile_columns == {"quantile_0.05": 0.05, "quantile_0.5": 0.5, "quantile_0.95": 0.95}


def test_a_module_for_metrics_follows_calibration():
    config = get_loss_cls("number", "quantile_loss").from_dict({"type": "quantile_loss", "calibrate": True})
    trained_loss = create_loss(config)
    other = create_loss(config).learning_from(trained_loss)
    logits, target = torch.randn(60, 3), torch.randn(60)
    trained_loss.prepare(())
    before = other.estimates(logits)["quantile_0.95"]
    trained_loss.calibrate(logits, target)
    after = other.estimates(logits)["quantile_0.95"]
    assert not torch.equal(before, after) and torch.equal(after, trained_loss.estimates(logits)["quantile_0.95"])


@pytest.mark.parametrize(("name", "value"), [("clip", [0, 1]), ("activation", "relu")])
def test_what_changes_the_outputs_of_the_decoder_is_refused(name, value, tmp_path):
    config, path = matrix.write("timeseries", {"type": "quantile_loss"}, tmp_path)
    config["output_features"][0]["decoder"] = {"type": "projector", name: value}
    with pytest.raises(ValueError, match=rf"decoder\.{name}: .* changes the numbers from which quantile_loss makes"):
        trained(config, str(path), tmp_path)


@pytest.mark.parametrize("count", [8, 9])
def test_pairs_stay_together_where_some_rows_calibrate(count):
    order = rows_to_calibrate(count, together=2)
    assert sorted(order) == [*range(count)]
    assert all(second == first + 1 and first % 2 == 0 for first, second in zip(order[:8:2], order[1:8:2], strict=True))


def test_calibrated_intervals_hold_and_are_saved(amounts, tmp_path):
    loss = {"type": "quantile_loss", "quantiles": [0.1, 0.25, 0.5, 0.75, 0.9], "calibrate": True}
    config = config_of(loss)
    config["trainer"].update(epochs=4, validation_metric="interval_score")
    config["preprocessing"] = {"split": {"type": "fixed"}}
    model, statistics = trained(config, amounts.assign(split=np.arange(600) % 3), tmp_path)
    assert {"pinball_loss", "interval_coverage", "interval_width", "interval_score"} <= statistics.keys()
    share = np.ceil(201 * 0.8) / 200
    assert min(statistics["interval_coverage"]) >= share - 1e-6
    offsets = model.model.output_features.get("y").train_loss_function.intervals.offsets
    assert offsets.shape == (2, 1) and offsets.abs().min() > 0
    predicted, _ = model.predict(amounts)
    q = predicted[[f"y_quantile_{level:g}" for level in loss["quantiles"]]].to_numpy(float)
    assert (np.diff(q, axis=1) >= 0).all()
    y = amounts["y"].to_numpy()
    tested = np.arange(600) % 3 == 2
    assert ((q[tested, 0] <= y[tested]) & (y[tested] <= q[tested, -1])).mean() > 0.7
    model.save(str(tmp_path / "saved"))
    again = LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR)
    kept = again.model.output_features.get("y").train_loss_function.intervals.offsets
    torch.testing.assert_close(kept, offsets)
    np.testing.assert_allclose(again.predict(amounts)[0].to_numpy(float), predicted.to_numpy(float), rtol=1e-5)
    served, _ = again.predict(dataset=[amounts.iloc[0].to_dict()], data_format=dict)  # As `ludwig serve` does.
    assert [*served] == [*predicted]
    np.testing.assert_allclose(served.to_numpy(float), predicted.iloc[:1].to_numpy(float), rtol=1e-5)


def test_too_few_validation_rows_are_refused(amounts, tmp_path):
    config = config_of({"type": "quantile_loss", "calibrate": True})
    config["preprocessing"] = {"split": {"type": "fixed"}}
    few = amounts[:60].assign(split=[*[0] * 44, *[1] * 8, *[2] * 8])
    with pytest.raises(ValueError, match=r"loss\.calibrate .*: true needs at least 9 validation rows .*; got 8\."):
        trained(config, few, tmp_path)


def test_one_quantile_has_no_interval_to_calibrate():
    with pytest.raises(ConfigValidationError, match=r"calibrate: true needs an interval, but quantiles: 0\.5"):
        ModelConfig.from_dict(config_of({"type": "quantile_loss", "quantiles": 0.5, "calibrate": True}))


def test_calibrated_quantiles_stay_in_order():
    loss = create_loss(get_loss_cls("number", "quantile_loss").from_dict({"type": "quantile_loss", "calibrate": True}))
    loss.prepare((1,))
    logits, target = 3 * torch.randn(50, 3), torch.zeros(50)
    loss.intervals.offsets.fill_(-100.0)
    assert torch.equal(loss.intervals.of(logits), functional.ordered_quantiles(logits)[..., 1:2].expand(50, 3))
    loss.calibrate(logits, target)
    q = loss.intervals.of(logits)
    assert (q.diff(dim=-1) >= 0).all() and ((q[:, 0] <= 0) & (q[:, 2] >= 0)).sum() >= 46
    torch.jit.script(loss.intervals)


def test_rows_that_only_calibrate_are_seen_by_no_metric(amounts, tmp_path):
    """Another target of theirs changes the offsets, and nothing else that the training ends with."""
    config = config_of({"type": "quantile_loss", "calibrate": True, "calibration_share": 0.3})
    config["trainer"].update(epochs=3, validation_metric="interval_score")
    config["preprocessing"] = {"split": {"type": "fixed"}}
    config["output_features"][0]["preprocessing"]["normalization"] = None
    data = amounts.assign(split=np.arange(600) % 3)
    only_calibrate = np.flatnonzero(data["split"] == 1)[rows_to_calibrate(200)[:60]]
    others = data.copy()
    others.loc[only_calibrate, "y"] += 7
    found = [trained(config, table, tmp_path / str(number)) for number, table in enumerate((data, others))]
    assert found[0][1] == found[1][1]
    modules = [model.model.output_features.get("y") for model, _ in found]
    assert torch.equal(*(module.decoder_obj.dense.dense.weight for module in modules))
    # 7 does not reach from below the interval to above it.
    offsets = torch.stack([module.train_loss_function.intervals.offsets for module in modules])
    assert offsets[1] > offsets[0]
    model, _ = found[1]
    q, y = model.predict(others)[0].iloc[only_calibrate], others["y"][only_calibrate]
    inside = (q["y_quantile_0.05"].to_numpy(float) - 1e-3 <= y) & (y <= q["y_quantile_0.95"].to_numpy(float) + 1e-3)
    assert inside.sum() >= functional.conformal_rank(60, 0.9)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"calibration_share": 0.5}, r"calibration_share: 0\.5 belongs to calibrate: true"),
        ({"calibrate": True, "calibration_share": 1}, "leaves no validation rows that choose the best epoch"),
    ],
)
def test_a_share_that_has_no_meaning_is_refused(loss, message):
    with pytest.raises(ConfigValidationError, match=message):
        ModelConfig.from_dict(config_of({"type": "quantile_loss", **loss}))


def test_too_small_a_share_is_refused(amounts, tmp_path):
    config = config_of({"type": "quantile_loss", "calibrate": True, "calibration_share": 0.1})
    with pytest.raises(ValueError, match=r"at least 9 validation rows .*; got 6, calibration_share: 0\.1 of them\."):
        trained(config, amounts, tmp_path)


def test_metrics_take_the_quantiles_that_the_loss_has_computed() -> None:
    loss = create_loss(get_loss_cls("number", "quantile_loss").from_dict({"type": "quantile_loss"}))
    logits, target = torch.randn(5, 3, requires_grad=True), torch.randn(5)
    loss(logits, target)
    known = loss.intervals.of(logits.detach())
    assert known is loss.intervals.of(logits.detach())
    assert torch.equal(known, functional.ordered_quantiles(logits))
    assert loss.intervals.of(logits).requires_grad  # where a gradient is asked for, there is one
    with torch.no_grad():
        logits += 1
        assert torch.equal(loss.intervals.of(logits), functional.ordered_quantiles(logits))
