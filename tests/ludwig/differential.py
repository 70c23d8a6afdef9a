"""Run by test_differential.py: what Ludwig makes of configurations that use no loss of the pack, with it or without.

The argument is a folder: ``ours.json`` in it holds the names of the pack's losses, and ``seen.pickle`` is written.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import pathlib
import pickle
import runpy
import sys
import warnings
from collections.abc import Iterator
from typing import Any

sys.path.append(str(pathlib.Path(__file__).parents[1]))  # the oracles, of which the matrix asks

import matrix

Config = dict[str, Any]
ANOMALY = "anomaly"  # a feature that does not work without the pack
WEIGHTS = {
    "binary": [[1.0, 3.0], {"False": 1.0, "True": 3.0}],
    "category": [[1.0, 2.0, 0.5], {"a": 1.0, "b": 2.0, "c": 0.5}],
}
SIMILARITIES = [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]]
ADDITIONS = (
    {"combiner": {"type": "sequence_concat"}},
    {"combiner": {"type": "tabnet"}},
    {"trainer": {"epochs": 3, "batch_size": 7, "validation_metric": "loss"}},
    {"preprocessing": {"split": {"type": "random", "probabilities": [0.6, 0.2, 0.2]}}},
    {"model_type": "gbm"},
    {"model_type": "llm", "base_model": "facebook/opt-350m"},
    {"hyperopt": {"parameters": {"y.loss.weight": {"space": "choice", "categories": [1, 2]}}}},
    {"hyperopt": {"parameters": {"trainer.learning_rate": {"space": "loguniform", "lower": 1e-4, "upper": 0.1}}}},
    {"backend": "local"},
    {"backend": {"type": "local", "cache_dir": "cache"}},
    # What versions before 0.5 and 0.6 called these.
    {"ludwig_version": "0.4", "training": {"epochs": 3, "decay": True}},
    {"ludwig_version": "0.5", "trainer": {"epochs": 3, "eval_batch_size": 0}},
)


def configurations(ours: set[str]) -> list[Config]:
    """Return configurations with every loss of Ludwig's own for every type of output feature, however written."""
    from ludwig.schema.features.loss.loss import _loss_feature_registry as registry

    found = []
    for feature in sorted({*registry} - {ANOMALY}):
        found += [_config(feature, **more) for more in ({}, *ADDITIONS)]
        for index, loss in enumerate(_sections(feature, sorted({*registry[feature]} - ours))):
            found.append(_config(feature, loss=loss))
            found.append(_elsewhere(feature, loss, index))
    return found


def _sections(feature: str, losses: list[str]) -> Iterator[dict[str, Any] | None]:
    """Yield loss sections: nearly empty ones, then each parameter of each loss, with and without a type."""
    yield from (None, {}, {"weight": 2.0}, {"weight": 0})
    for name in losses:
        yield {"type": name}
        for parameters in _parameters(feature, name):
            yield from ({"type": name, **parameters}, parameters)


def _parameters(feature: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield each parameter with its default and with another valid value, and what has to go together."""
    for key, schema in _schemas(name).items():
        if key in ("type", "class_similarities", "class_similarities_temperature"):
            continue
        if "default" in schema:
            yield {key: schema["default"]}
        if key == "class_weights":
            yield from ({key: weights} for weights in WEIGHTS.get(feature, WEIGHTS["category"]))
        else:
            yield {key: _another(schema)}
    if "class_similarities" in _schemas(name):
        yield {"class_similarities": None, "class_similarities_temperature": 0}
        yield {"class_similarities": SIMILARITIES, "class_similarities_temperature": 2}


def _schemas(name: str) -> dict[str, Any]:
    from ludwig.schema import utils
    from ludwig.schema.features.loss.loss import get_loss_schema_registry

    unload = getattr(utils, "unload_jsonschema_from_config_class", None)
    unload = unload or utils.unload_jsonschema_from_marshmallow_class
    return unload(get_loss_schema_registry()[name])["properties"]


def _another(schema: dict[str, Any]) -> Any:
    """Return a value that the JSON schema of a parameter allows, other than its default."""
    from jsonschema import Draft7Validator

    candidates = [*schema.get("enum", ()), 2, 0.5, 0.25, True, False, [0.1], "a"]
    accepted = (value for value in candidates if Draft7Validator(schema).is_valid(value))
    return next(value for value in accepted if value is not None and value != schema.get("default"))


def _elsewhere(feature: str, loss: dict[str, Any] | None, index: int) -> Config:
    """Return a configuration with a loss section under defaults, divided between them and the feature, or on one of
    several features and with something else that a configuration may have."""
    place = index % 3
    if place == 0:
        return _config(feature, defaults={feature: {"loss": loss}})
    if place == 1 and loss and "type" in loss:
        own = {key: value for key, value in loss.items() if key != "type"}
        return _config(feature, loss=own, defaults={feature: {"loss": {"type": loss["type"]}}})
    several = _config(feature, loss=loss, **ADDITIONS[index % len(ADDITIONS)])
    several["output_features"].append({"name": "z", "type": feature})
    return several


def _config(feature: str, **more: Any) -> Config:
    output = {"name": "y", "type": feature, **({"loss": more.pop("loss")} if "loss" in more else {})}
    encoder = {"encoder": {"type": "embed", "reduce_output": None}}
    if feature in ("text", "sequence"):
        inputs, output["decoder"] = {"name": "x", "type": "text", **encoder}, {"type": "tagger"}
    elif feature == "image":
        inputs, output["decoder"] = {"name": "x", "type": "image", "encoder": {"type": "unet"}}, {"type": "unet"}
    else:
        inputs = {"name": "x", "type": "number"}
    return copy.deepcopy({"input_features": [inputs], "output_features": [output], **more})


def parse(config: Config, again: bool) -> dict[str, Any]:
    """Return the parsed configuration as Ludwig renders it, perhaps the same once parsed again, and all that is said."""
    from ludwig.schema.model_types.base import ModelConfig

    records = _Records()
    with warnings.catch_warnings(record=True) as warned, records:
        warnings.simplefilter("always")
        try:
            given = copy.deepcopy(config)
            rendered = ModelConfig.from_dict(given).to_dict()
            seen = {"rendered": rendered, "given": given}
            if again:
                seen["again"] = ModelConfig.from_dict(copy.deepcopy(rendered)).to_dict()
        except Exception as error:  # Ludwig's own, of whichever kind
            seen = {"error": f"{type(error).__name__}: {error}"}
    # How often Ludwig's schemas repeat a deprecation, when they are first used, depends on how many losses there are.
    seen["warnings"] = sorted({f"{warning.category.__name__}: {warning.message}" for warning in warned})
    return {**seen, "records": records.messages}


class _Records(logging.Handler):
    """Collects what is logged, by whomever."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.name} {record.levelname}: {record.getMessage()}")

    def __enter__(self) -> None:
        logging.getLogger().addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)


def parse_all(configs: list[Config]) -> Iterator[dict[str, Any]]:
    """Parse configurations, and every fourth one once more as it was rendered."""
    return (parse(config, again=index % 4 == 0) for index, config in enumerate(configs))


def train_all(folder: pathlib.Path) -> dict[str, Any]:
    """Train, evaluate and predict with Ludwig's default loss of each type of output feature, and save the models."""
    return {feature: train(feature, folder / feature) for feature in sorted({*matrix.FEATURES} - {ANOMALY})}


def train(feature: str, folder: pathlib.Path) -> dict[str, Any]:
    """Return what a training on the data in a folder ends with."""
    from ludwig.api import LudwigModel

    data, results = folder / "data.csv", folder / ("without" if without_pack() else "with")
    model = LudwigModel(json.loads((folder / "config.json").read_text()), logging_level=logging.ERROR)
    trained = model.train(
        dataset=str(data), output_directory=str(results), random_seed=7,
        skip_save_processed_input=True, skip_save_progress=True, skip_save_log=True,
    )  # fmt: skip
    model.save(str(results / "saved"))
    statistics = trained.train_stats
    return {
        "statistics": [getattr(statistics, split)["y"] for split in ("training", "validation", "test")],
        "predictions": predict(model, data),
        "evaluated": model.evaluate(str(data), skip_save_predictions=True, skip_save_eval_stats=True)[0]["y"],
    }


def predict(model: Any, data: pathlib.Path) -> dict[str, list]:
    return model.predict(str(data), skip_save_predictions=True)[0].to_dict("list")


def reload_all(folder: pathlib.Path) -> dict[str, Any]:
    """Predict with the models that were trained with the pack, in this process without it."""
    from ludwig.api import LudwigModel

    return {
        path.parts[-3]: predict(LudwigModel.load(str(path), logging_level=logging.ERROR), path.parents[1] / "data.csv")
        for path in sorted(folder.glob("*/with/saved"))
    }


def without_pack() -> bool:
    return os.environ.get("LUDWIG_LOSSES_DISABLE") == "1"


def json_schema() -> dict[str, Any]:
    from ludwig.config_validation.validation import get_schema

    return get_schema()


def main(folder: pathlib.Path) -> None:
    import ludwig.api  # noqa: F401

    assert ("ludwig_losses.host" in sys.modules) is not without_pack()
    # Not imported, since one of the processes is without the pack.
    schemas = runpy.run_path(str(pathlib.Path(__file__).parents[2] / "ludwig_losses/host/config/schemas.py"))
    with schemas["each_checked_once"]():
        seen = look(folder)
    assert ("ludwig_losses.host" in sys.modules) is not without_pack()
    (folder / "seen.pickle").write_bytes(pickle.dumps(seen))


def look(folder: pathlib.Path) -> dict[str, Any]:
    """Return what Ludwig makes of the configurations and data in a folder."""
    configs = configurations({*json.loads((folder / "ours.json").read_text())})
    return {
        "configs": configs,
        "parsed": list(parse_all(configs)),
        "schema": json_schema(),
        "focal": parse(_config("category", loss={"type": "focal_loss", "gamma": 3}), again=False),
        "trained": train_all(folder),
        "reloaded": reload_all(folder) if without_pack() else {},
    }


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
