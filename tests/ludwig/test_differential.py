"""A pack that is installed changes nothing for configurations that do not use its losses."""

from __future__ import annotations

import json
import math
import os
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import differential
import matrix
from ludwig_losses.host.registry import catalogue

FEATURES = sorted({*matrix.FEATURES} - {differential.ANOMALY})
OURS = [name for loss in catalogue().values() for name in (loss.name, *loss.aliases)]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What happens in a process with the pack, and in one without it."""
    folder = tmp_path_factory.mktemp("differential")
    (folder / "ours.json").write_text(json.dumps([*OURS]))
    for feature in FEATURES:
        (folder / feature).mkdir()
        config, _ = matrix.write(feature, {"weight": 2.0}, folder / feature)
        config["trainer"]["epochs"] = 1
        (folder / feature / "config.json").write_text(json.dumps(config))
    return run(folder), run(folder, LUDWIG_LOSSES_DISABLE="1")


def run(folder: pathlib.Path, **environment: str) -> dict[str, Any]:
    # Both start from nothing: Ludwig warns of some things only when they are used for the first time.
    done = subprocess.run(
        [sys.executable, differential.__file__, str(folder)],
        # Ludwig 0.11 numbers the values of binary features in the order of their hashes.
        env={**os.environ, "PYTHONHASHSEED": "0", **environment},
        check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return pickle.loads((folder / "seen.pickle").read_bytes())


def test_configurations_parse_alike(both):
    seen, expected = both
    assert seen["configs"] == expected["configs"]
    # Some are refused by Ludwig itself, in the same words.
    assert sum("error" not in parsed for parsed in expected["parsed"]) >= 500
    outcomes = zip(expected["configs"], expected["parsed"], seen["parsed"], strict=True)
    different = [outcome for outcome in outcomes if outcome[1] != outcome[2]]
    if different:
        pytest.fail(f"{len(different)} differ. The first: {shown(*different[0])}")


def test_switched_off_it_leaves_the_error_to_ludwig(both):
    seen, expected = both
    assert seen["focal"]["rendered"]["output_features"][0]["loss"]["gamma"] == 3
    assert "focal_loss" in expected["focal"]["error"] and "ludwig_losses" not in str(expected["focal"])


@pytest.mark.parametrize("feature", FEATURES)
def test_trainings_without_our_losses_are_the_same(both, feature):
    seen, expected = (outcome["trained"][feature] for outcome in both)
    assert plain(seen["predictions"]) == plain(expected["predictions"])
    measured = (*seen["statistics"], seen["evaluated"]), (*expected["statistics"], expected["evaluated"])
    for ours, theirs in zip(*measured, strict=True):
        added = ours.keys() - theirs.keys()
        assert ("mean_iou" in added) == (feature == "image") == bool(added), "the one addition, to all image features"
        assert plain({name: ours[name] for name in theirs}) == plain(theirs)


@pytest.mark.parametrize("feature", FEATURES)
def test_models_without_our_losses_load_and_predict_where_the_pack_is_not(both, feature):
    with_pack, without = both
    assert plain(without["reloaded"][feature]) == plain(with_pack["trained"][feature]["predictions"])


def plain(value: Any) -> Any:
    """Numbers in nested lists, which compare as a whole; NaN equals NaN."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(each) for each in value]
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def shown(config: dict, expected: dict, got: dict) -> str:
    keys = [key for key in {**expected, **got} if expected.get(key) != got.get(key)]
    return f"{config}\n" + "\n".join(f"{key}: {expected.get(key)}\nwith the pack: {got.get(key)}" for key in keys)


def test_the_json_schema_has_what_it_has_without_the_pack(both):
    seen, expected = both
    assert not [*lost(expected["schema"], seen["schema"], {*OURS, differential.ANOMALY})][:5]


def lost(expected: Any, schema: Any, ours: set[str], path: str = "") -> Iterator[str]:
    """Yield what a JSON schema lacks or has changed, beside what belongs to losses of the pack."""
    if isinstance(expected, dict) and isinstance(schema, dict):
        for key, value in expected.items():
            if key not in schema:
                yield f"{path}.{key}"
            else:
                yield from lost(value, schema[key], ours, f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(schema, list):
        for value in expected:
            if loss_of(value) not in ours and value not in schema:
                counterpart = next((other for other in schema if loss_of(other) == loss_of(value) is not None), None)
                same = [other for other in schema if not list(lost(value, other, ours))]
                if counterpart is None and not same:
                    yield f"{path}[{value!r:.200}]"
                elif counterpart is not None:
                    yield from lost(value, counterpart, ours, f"{path}[{loss_of(value)}]")
    elif expected != schema:
        yield f"{path}: {expected!r:.200} became {schema!r:.200}"


def loss_of(condition: Any) -> str | None:
    """The name that a branch of a JSON schema is for."""
    branch = condition.get("if", {}) if isinstance(condition, dict) else {}
    return branch.get("properties", {}).get("type", {}).get("const")
