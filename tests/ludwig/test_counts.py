"""How many rows have each class of a binary or set feature: counted for the losses that ask for it, and for no other."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
import pytest
from ludwig.api import LudwigModel
from ludwig.error import ConfigValidationError
from ludwig.schema.model_types.base import ModelConfig

import matrix

ASKING: list[tuple[str, dict[str, Any]]] = [
    ("binary", {"type": "focal_loss", "class_weights": "balanced"}),
    ("binary", {"type": "logit_adjusted_loss"}),
    ("set", {"type": "compound_loss", "terms": [{"type": "logit_adjusted_loss"}, {"type": "poly_loss"}]}),
]
NOT_ASKING: list[tuple[str, dict[str, Any]]] = [
    ("binary", {"type": "focal_loss", "class_weights": [1.0, 2.0]}),
    ("set", {"type": "focal_loss", "class_weights": "balanced"}),
    ("category", {"type": "logit_adjusted_loss"}),
    ("binary", {}),
    ("set", {"type": "sigmoid_cross_entropy"}),
]


def trained(feature: str, loss: dict[str, Any], folder, **arguments: Any) -> LudwigModel:
    config, path = matrix.write(feature, loss, folder)
    config["trainer"]["epochs"] = 1
    frame = pd.read_csv(path)
    if feature == "set":
        frame.loc[3, "y"] += " a a b"  # a row has a label once
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(frame, output_directory=str(folder), **arguments)
    return model


def loss_of(model: LudwigModel) -> Any:
    loss = model.model.output_features.get("y").train_loss_function
    return loss.terms[0] if hasattr(loss, "terms") else loss


@pytest.mark.parametrize(("feature", "loss"), ASKING, ids=["balanced", "priors", "labels"])
def test_the_rows_of_each_class_are_counted(feature: str, loss: dict[str, Any], tmp_path) -> None:
    model = trained(feature, loss, tmp_path, skip_save_processed_input=True)
    metadata, module = model.training_set_metadata["y"], loss_of(model)
    if feature == "binary":  # 357 benign, 212 malignant, which is true here
        assert metadata["bool2str"] == ["benign", "malignant"]
        assert (metadata["rows"], metadata["rows_of_classes"]) == (569, [357, 212])
        found = module.probabilities.priors if loss["type"] == "logit_adjusted_loss" else 1 / module.class_weights
        assert (found[0] / found[1]).item() == pytest.approx(357 / 212)
    else:  # 59, 71 and 48 rows of wine
        counts = dict(zip(metadata["idx2str"], metadata["rows_of_classes"], strict=True))
        assert counts == {"a": 59 + 48, "b": 59 + 71, "c": 48} | ({"<UNK>": 0} if "<UNK>" in counts else {})
        shares = dict(zip(metadata["idx2str"], module.probabilities.priors.tolist(), strict=True))
        assert shares["b"] == pytest.approx(130 / 178)
    # What was counted is in the configuration that a model is saved with.
    model.save(str(tmp_path / "model"))
    reloaded = LudwigModel.load(str(tmp_path / "model"), logging_level=logging.ERROR)
    saved = loss_of(reloaded)
    for name, numbers in module.named_buffers():
        assert numbers.tolist() == pytest.approx(saved.get_buffer(name).tolist())


@pytest.mark.parametrize(("feature", "loss"), NOT_ASKING, ids=str)
def test_other_losses_leave_the_metadata_alone(feature: str, loss: dict[str, Any], tmp_path) -> None:
    config, path = matrix.write(feature, loss, tmp_path)
    model = LudwigModel(config, logging_level=logging.ERROR)
    metadata = model.preprocess(str(path), skip_save_processed_input=True).training_set_metadata
    assert not {"rows", "rows_of_classes"} & {*metadata["y"]}


def test_data_in_the_cache_of_another_loss_is_not_taken(tmp_path) -> None:
    config, path = matrix.write("binary", {"type": "focal_loss"}, tmp_path)
    LudwigModel(config, logging_level=logging.ERROR).preprocess(str(path))
    config["output_features"][0]["loss"]["class_weights"] = "effective_number"
    for _ in range(2):  # prepared anew, and from the cache
        found = LudwigModel(config, logging_level=logging.ERROR).preprocess(str(path)).training_set_metadata
        assert found["y"]["rows_of_classes"] == [357, 212]


@pytest.mark.parametrize("key", ["oversample_minority", "undersample_majority"])
@pytest.mark.parametrize("loss", [ASKING[0][1], ASKING[1][1]], ids=["balanced", "priors"])
def test_counts_beside_rows_that_are_balanced_later_are_refused(loss: dict[str, Any], key: str) -> None:
    config: dict[str, Any] = {
        "input_features": [{"name": "x", "type": "number"}],
        "output_features": [{"name": "y", "type": "binary", "loss": loss}],
        "preprocessing": {key: 0.5},
    }
    with pytest.raises(ConfigValidationError, match=rf"\.loss .*: {loss['type']} counts .*preprocessing\.{key}: 0\.5"):
        ModelConfig.from_dict(config)
    config["output_features"][0]["loss"] = NOT_ASKING[0][1]
    ModelConfig.from_dict(config)
