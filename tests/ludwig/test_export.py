"""What a loss brings to predictions is exported with a model: by TorchScript (Ludwig 0.11) and by `torch.export`."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel, update_config_with_metadata
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from torch import Tensor, nn

import declared
import matrix

CLASSES = 4
# The losses that say how to predict, with each option that changes the way, classes as indices. Names of classes and
# their number are known when a model is exported, so an order or a background is a list of indices here. The others
# predict as Ludwig does, with no code of the pack.
PREDICTING: list[tuple[str, str, dict[str, Any]]] = [
    *((feature, name, options) for name, facts in declared.FACTS.items() for feature, options in facts.predicts),
    *(
        ("category", "compound_loss", {"terms": [{"type": "poly_loss"}, {"type": name, **options}]})
        for name, options in (
            ("objectosphere", {"background_class": [1]}),
            ("corn", {"order": [{"a": 2}, {"b": 0}, {"c": 3}, {"d": 1}]}),
            ("sparsemax_loss", {}),
        )
    ),
]


def loss_of(feature: str, name: str, options: dict[str, Any]) -> nn.Module:
    config = get_loss_cls(feature, name).from_dict({"type": name, **copy.deepcopy(options)})
    return create_loss(config)


def parts_of(loss: nn.Module) -> dict[str, nn.Module]:
    parts = {part: getattr(loss, part) for part in ("projection", "decision", "score")}
    return {name: part for name, part in parts.items() if part is not None}


def logits_for(feature: str, rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
    shape = {"binary": (rows,), "text": (rows, 5, CLASSES)}.get(feature, (rows, CLASSES))
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(rows)).to(dtype)


def test_every_loss_is_exported() -> None:
    for name, facts in declared.FACTS.items():
        feature = declared.SINGLE[name].features[0]
        own = [parts_of(loss_of(at, name, options)) for at, options in facts.predicts or [(feature, {})]]
        assert bool(facts.predicts) == any(own), f"{name}: `predicts` in tests/oracles says otherwise"


@pytest.mark.parametrize(("feature", "name", "options"), PREDICTING, ids=str)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_predictions_are_scripted(feature: str, name: str, options: dict[str, Any], tmp_path) -> None:
    for part in parts_of(loss_of(feature, name, options)).values():
        torch.jit.script(part).save(str(tmp_path / "part.pt"))
        scripted = torch.jit.load(str(tmp_path / "part.pt"))
        for rows in (1, 6):
            for dtype in (torch.float32, torch.float16):
                logits = logits_for(feature, rows, dtype)
                for _ in range(2):  # the second run is the optimised one
                    value = scripted(logits)
                torch.testing.assert_close(value, part(logits), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("feature", "name", "options"), [row for row in PREDICTING if row[1] != "compound_loss"], ids=str
)
def test_predictions_are_exported(feature: str, name: str, options: dict[str, Any]) -> None:
    for part in parts_of(loss_of(feature, name, options)).values():
        rows = {0: torch.export.Dim("rows")}
        exported = torch.export.export(part, (logits_for(feature, 6),), dynamic_shapes=(rows,)).module()
        for count in (2, 6, 9):
            logits = logits_for(feature, count)
            torch.testing.assert_close(exported(logits), part(logits), rtol=1e-5, atol=1e-6)


MODELS = [
    ("category", {"type": "entropic_open_set", "background_class": "class_2"}),
    ("category", {"type": "objectosphere", "background_class": ["class_0", "class_2"]}),
    ("category", {"type": "corn", "order": ["class_1", "class_0", "class_2"]}),
    ("category", {"type": "compound_loss", "terms": [{"type": "entmax_loss", "alpha": 1.2}, {"type": "poly_loss"}]}),
    ("binary", {"type": "objectosphere", "background_class": "benign"}),
    ("binary", {"type": "tempered_softmax_cross_entropy", "t2": 2.0}),
]


@pytest.mark.skipif(not hasattr(LudwigModel, "to_torchscript"), reason="this Ludwig does not script models")
@pytest.mark.parametrize(("feature", "loss"), MODELS, ids=str)
def test_a_scripted_model_predicts_as_the_model(feature: str, loss: dict[str, Any], tmp_path) -> None:
    config, path = matrix.write(feature, loss, tmp_path)
    model = LudwigModel(config, logging_level=logging.ERROR)
    *_, model.training_set_metadata = model.preprocess(str(path), skip_save_processed_input=True)
    update_config_with_metadata(model.config_obj, model.training_set_metadata)
    model.model = LudwigModel.create_model(model.config_obj, random_seed=1)  # as it is before it is trained
    model.to_torchscript().save(str(tmp_path / "model.pt"))
    frame = pd.read_csv(path).sample(20, random_state=1)
    inputs = {name: torch.tensor(frame[name].to_numpy(), dtype=torch.float32) for name in frame if name != "y"}
    scripted = torch.jit.load(str(tmp_path / "model.pt"))(inputs)["y"]
    expected, _ = model.predict(frame)
    assert [*map(str, scripted["predictions"])] == [*map(str, expected["y_predictions"])]
    probabilities = np.stack(expected["y_probabilities"].to_list())
    np.testing.assert_allclose(scripted["probabilities"].numpy(), probabilities, atol=1e-6)
