"""A search that compares losses on different scales says so, and which metric would not."""

from __future__ import annotations

import logging
import pathlib
import re

import pytest
import yaml
from ludwig.hyperopt import run
from ludwig.schema.model_types.base import ModelConfig

from ludwig_losses.host.config.search import incomparable, search_with_warning

FEATURES = {"y": "category", "z": "binary", "mask": "image", "e": "vector", "t": "text", "my.loss": "category"}


def search(parameters, **section) -> dict:
    return {
        "output_features": [{"name": name, "type": kind} for name, kind in FEATURES.items()],
        "hyperopt": {"parameters": {name: {"space": "choice"} for name in parameters}, **section},
    }


@pytest.mark.parametrize(
    ("parameters", "section", "expected"),
    [
        (["y.loss.gamma"], {}, "`output_feature: y`, `metric: accuracy`, `goal: maximize`"),
        (["y.loss.type"], {"metric": "loss", "output_feature": "y"}, "varies y.loss.type"),
        (["y.loss"], {"output_feature": "y", "metric": "focal_loss"}, "hyperopt.metric: focal_loss compares"),
        (["z.loss.alpha", "trainer.learning_rate"], {}, "`output_feature: z`, `metric: roc_auc`"),
        (["defaults.text.loss.weight"], {}, "`output_feature: t`, `metric: token_accuracy`"),
        (["y.loss.gamma", "mask.loss.type"], {}, "varies mask.loss.type, y.loss.gamma"),
        (["mask.loss.smooth"], {}, "`output_feature: mask`, `metric: mean_iou`, `goal: maximize`"),
        (["e.loss.temperature"], {"output_feature": "e"}, "no other metric for the vector feature 'e'"),
        (["y.loss.loss_scale"], {}, "varies y.loss.loss_scale"),
        (["my.loss.loss.gamma"], {}, "`output_feature: my.loss`"),
    ],
)
def test_losses_on_different_scales_are_reported(parameters, section, expected):
    warning = incomparable(search(parameters, **section))
    assert expected in warning and "the trial with the smallest scale wins" in warning


@pytest.mark.parametrize(
    ("parameters", "section"),
    [
        (["trainer.learning_rate", "y.loss_of_sight", "combiner.loss.type"], {}),
        (["y.loss.gamma"], {"output_feature": "y", "metric": "accuracy"}),
        (["y.loss.gamma"], {"output_feature": "z", "metric": "loss"}),
        (["defaults.number.loss.type"], {}),
    ],
)
def test_comparable_trials_are_not(parameters, section):
    assert incomparable(search(parameters, **section)) is None


def test_configurations_without_a_search_are_not():
    assert incomparable({"output_features": [{"name": "y", "type": "category"}]}) is None


@pytest.mark.parametrize("as_file", [False, True])
def test_a_search_warns_before_it_starts(as_file, caplog, tmp_path):
    config = search(["y.loss.gamma"])
    if as_file:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        config = str(tmp_path / "config.yaml")
    with caplog.at_level(logging.WARNING, "ludwig_losses"):
        assert search_with_warning(lambda config, **kwargs: (config, kwargs), config, backend="local") == (
            config,
            {"backend": "local"},
        )
    assert [record.message for record in caplog.records if "different scales" in record.message]


def test_ludwigs_search_is_the_one_that_warns():
    assert run.hyperopt.__wrapped__.__module__ == "ludwig.hyperopt.run"


def test_the_sections_in_the_readme_are_valid_and_comparable():
    cluster = (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "cluster.md").read_text()
    sections = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", cluster, re.DOTALL)]
    assert [list(section) for section in sections] == [["backend"], ["hyperopt"]]
    output = {"name": "species", "type": "category", "loss": {"type": "focal_loss"}}
    config = {"input_features": [{"name": "x", "type": "number"}], "output_features": [output]}
    for section in sections:
        config |= section
    assert ModelConfig.from_dict(config).output_features[0].loss.type == "focal_loss"
    assert incomparable(config) is None
    assert incomparable({**config, "hyperopt": {**config["hyperopt"], "metric": "loss"}})
