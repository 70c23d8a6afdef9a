"""The same matrix under Ludwig's in-tree names through LudwigModel, several in one process."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel

import declared
import matrix
from ludwig_losses import functional

PROJECTIONS = {"entmax15": functional.entmax15, "sparsemax": functional.sparsemax}


def train(feature: str, loss: dict, folder) -> tuple[LudwigModel, str, dict]:
    config, path = matrix.write(feature, loss, folder)
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(folder / "results"), skip_save_processed_input=True)
    return model, str(path), result.train_stats.training["y"]


def numbers(predictions: pd.DataFrame) -> np.ndarray:
    """All numeric output of some predictions as one array."""
    columns = [predictions[name] for name in predictions if not isinstance(np.ravel(predictions[name].iloc[0])[0], str)]
    return np.concatenate([np.ravel(value).astype(float) for column in columns for value in column])


# Anomaly features are ours where Ludwig has none, and replace its own where it has.
PAIRS = [*declared.ALIAS_PAIRS, *(pair for pair in declared.PAIRS if pair[0] == "anomaly")]


@pytest.mark.parametrize(("feature", "alias"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_alias_trains_evaluates_predicts_and_reloads(feature, alias, tmp_path):
    model, data, statistics = train(feature, {"type": alias}, tmp_path)
    losses = statistics["loss"]
    assert np.isfinite(losses).all() and (losses[-1] < losses[0] or declared.may_grow(alias))
    evaluated, _, _ = model.evaluate(data)
    assert np.isfinite(evaluated["y"]["loss"])

    predicted, _ = model.predict(data)
    assert np.isfinite(numbers(predicted)).all()
    model.save(str(tmp_path / "saved"))
    reloaded = LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR)
    assert reloaded.config_obj.output_features[0].loss.type == alias
    again, _ = reloaded.predict(data)
    pd.testing.assert_frame_equal(predicted, again)

    if alias in PROJECTIONS:
        assert_predicts_with(PROJECTIONS[alias], reloaded, feature)


def assert_predicts_with(projection, model: LudwigModel, feature: str) -> None:
    """The prediction module of the output feature applies the projection to whatever logits it gets."""
    logits = 3 * torch.randn((7, 9) if feature == "category" else (7, 5, 9), generator=torch.Generator().manual_seed(0))
    outputs = model.model.output_features.get("y").prediction_module({"y::logits": logits}, "y")
    torch.testing.assert_close(outputs["probabilities"], projection(logits), rtol=0, atol=0)
    assert (outputs["probabilities"] == 0).any()
    torch.testing.assert_close(outputs["probabilities"].sum(dim=-1), torch.ones(logits.shape[:-1]))


@pytest.mark.parametrize("feature", ["text", "sequence"])
def test_sparse_losses_train_the_generator_decoder(feature, tmp_path):
    config, path = matrix.write(feature, {"type": "entmax_1.5_loss"}, tmp_path)
    config["output_features"][0]["decoder"] = {"type": "generator"}
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    losses = result.train_stats.training["y"]["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    model.predict(str(path))
    assert_predicts_with(functional.entmax15, model, feature)


def test_padding_does_not_count(tmp_path):
    model, _, _ = train("sequence", {"type": "sparsemax_loss"}, tmp_path)
    loss = model.model.output_features.get("y").train_loss_function
    padding = model.training_set_metadata["y"]["str2idx"]["<PAD>"]
    logits = torch.randn(2, 6, 8)
    target = torch.tensor([[4, 5, 6, padding, padding, padding], [4, 4, 5, 6, 7, padding]])
    expected = functional.sparsemax_loss(logits, target)[target != padding].mean()
    torch.testing.assert_close(loss(logits, target.to(torch.int8)), expected)

    logits.requires_grad_()
    nothing = loss(logits, torch.full((2, 6), padding))
    (gradient,) = torch.autograd.grad(nothing, logits)
    assert nothing.shape == () and nothing == 0 and (gradient == 0).all()


def test_serving_a_record_predicts_as_for_a_file(tmp_path):
    model, data, _ = train("category", {"type": "sparsemax_loss"}, tmp_path)
    frame = pd.read_csv(data).head(1)
    served, _ = model.predict(dataset=frame.drop(columns="y").to_dict("list"), data_format=dict)
    expected, _ = model.predict(frame)
    np.testing.assert_allclose(served["y_probabilities"][0], expected["y_probabilities"][0], rtol=1e-6)


def test_class_weights_by_name_survive_training_twice_and_reloading(tmp_path):
    weights = {"class_0": 1, "class_1": 2.5, "class_2": 0.5}
    model, data, _ = train("category", {"type": "poly_loss", "class_weights": weights}, tmp_path)
    names = model.training_set_metadata["y"]["idx2str"]
    expected = torch.tensor([weights[name] for name in names], dtype=torch.float32)
    assert torch.equal(model.model.output_features.get("y").train_loss_function.class_weights, expected)
    model.train(data, output_directory=str(tmp_path / "again"), skip_save_processed_input=True)
    model.save(str(tmp_path / "saved"))
    reloaded = LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR)
    assert torch.equal(reloaded.model.output_features.get("y").train_loss_function.class_weights, expected)


def test_class_weights_of_tokens_may_leave_out_special_symbols(tmp_path):
    weights = {"RED": 1, "GREEN": 2, "BLUE": 3, "BLACK": 4}
    if_lowercase = {name.lower(): weight for name, weight in weights.items()}
    config, path = matrix.write("text", {"type": "entmax15", "class_weights": weights}, tmp_path)
    config["output_features"][0]["preprocessing"] = {"lowercase": False}
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    names = model.training_set_metadata["y"]["idx2str"]
    found = model.model.output_features.get("y").train_loss_function.class_weights.tolist()
    assert found == [weights.get(name, if_lowercase.get(name, 1.0)) for name in names]


def test_alpha_by_name_follows_the_classes_of_a_binary_feature(tmp_path):
    model, _, _ = train("binary", {"type": "focal_loss", "alpha": {"benign": 0.2, "malignant": 0.8}}, tmp_path)
    assert model.training_set_metadata["y"]["bool2str"] == ["benign", "malignant"]
    torch.testing.assert_close(model.model.output_features.get("y").train_loss_function.alpha, torch.tensor([0.2, 0.8]))


def test_alpha_by_name_of_a_column_of_zeros_and_ones(tmp_path):
    config, path = matrix.write("binary", {"type": "focal_loss", "alpha": {0: 0.2, 1: 0.8}}, tmp_path)
    del config["output_features"][0]["preprocessing"]
    data = pd.read_csv(path).assign(y=lambda frame: (frame["y"] == "malignant").astype(int))
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(data, output_directory=str(tmp_path), skip_save_processed_input=True)
    torch.testing.assert_close(model.model.output_features.get("y").train_loss_function.alpha, torch.tensor([0.2, 0.8]))


def test_state_dict_holds_nothing_of_the_loss(tmp_path):
    model, _, _ = train("category", {"type": "focal", "class_weights": [1, 2, 3]}, tmp_path)
    assert not [name for name in model.model.state_dict() if "loss" in name]


@pytest.mark.skipif(not hasattr(LudwigModel, "to_torchscript"), reason="this Ludwig does not script models")
@pytest.mark.parametrize(
    "loss", [{"type": "sparsemax_loss"}, {"type": "entmax_loss", "alpha": 1.2}], ids=lambda loss: loss["type"]
)
def test_scripted_model_predicts_with_the_projection(loss, tmp_path):
    model, data, _ = train("category", loss, tmp_path)
    frame = pd.read_csv(data).head(20)
    inputs = {name: torch.tensor(frame[name].to_numpy(), dtype=torch.float32) for name in frame if name != "y"}
    scripted = model.to_torchscript()
    scripted.save(str(tmp_path / "model.pt"))
    probabilities = torch.jit.load(str(tmp_path / "model.pt"))(inputs)["y"]["probabilities"]
    expected, _ = model.predict(frame)
    np.testing.assert_allclose(probabilities.numpy(), np.stack(expected["y_probabilities"].tolist()), atol=1e-6)
    assert (probabilities == 0).any() or loss["type"] == "entmax_loss"
