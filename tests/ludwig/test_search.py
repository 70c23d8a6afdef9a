"""A search that compares losses on different scales says so, and which metric would not."""

from __future__ import annotations

import logging

import pytest
from ludwig.hyperopt import run

from ludwig_losses.host.search import incomparable

FEATURES = {"y": "category", "z": "binary", "mask": "image", "e": "vector", "t": "text", "my.loss": "category"}


def search(parameters, **section) -> dict:
    return {
        "output_features": [{"name": name, "type": kind} for name, kind in FEATURES.items()],
        "hyperopt": {"parameters": dict.fromkeys(parameters, {"space": "choice"}), **section},
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
        (["mask.loss.smooth"], {}, "Ludwig has no other metric for the image feature 'mask'"),
        (["e.loss.temperature"], {"output_feature": "e"}, "no other metric for the vector feature 'e'"),
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
def test_ludwigs_search_warns_first(as_file, caplog, tmp_path):
    config = search(["y.loss.gamma"])
    if as_file:
        import yaml

        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        config = str(tmp_path / "config.yaml")
    with caplog.at_level(logging.WARNING, "ludwig_losses"), pytest.raises(Exception, match="input_features"):
        run.hyperopt(config)
    assert [record.message for record in caplog.records if "different scales" in record.message]
