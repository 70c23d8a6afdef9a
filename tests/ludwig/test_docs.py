"""What README and site say is so: what they show of the code is current, and their configurations parse and train."""

from __future__ import annotations

import importlib.util
import logging
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from ludwig.api import LudwigModel
from ludwig.schema.model_types.base import ModelConfig
from PIL import Image

from ludwig_losses.cli import main
from ludwig_losses.host import dry_run
from ludwig_losses.host.registry import catalogue, find

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("write", ROOT / "docs" / "_build" / "write.py")
write = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(write)

PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in write.PAGES}
INPUTS = [{"name": "words", "type": "text", "encoder": {"type": "embed", "reduce_output": None}}]
OUTPUTS = [{"name": "species", "type": "category", "loss": {"type": "focal_loss"}}]
# The tutorial has a loss that is not in the pack: test_plugins.py follows it.
EXAMPLES = {
    f"{page}-{number}": block
    for page, text in PAGES.items()
    if page != "docs/guides/own_loss.md"
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
}
COMPLETE = {name: block for name, block in EXAMPLES.items() if "input_features" in block}
# One of each page of a loss; those of images take the longest.
TRAINED = [name for name in COMPLETE if re.fullmatch(r"docs/losses/.*-0", name)]


def losses_in(config: dict) -> set[str]:
    losses = [feature["loss"] for feature in config.get("output_features", ())]
    return {loss["type"] for outer in losses for loss in (outer, *outer.get("terms", ()))}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_of_the_code_is_current(page):
    assert write.written(PAGES[page]) == PAGES[page], "run `make docs-write`"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_configuration_is_valid(name, tmp_path):
    # The guide to tuning goes on with the configuration of Start.
    start = yaml.safe_load(EXAMPLES["docs/start.md-0"]) if name.startswith("docs/guides/tuning.md") else {}
    config = {"input_features": INPUTS, "output_features": OUTPUTS, **start, **yaml.safe_load(EXAMPLES[name])}
    path = tmp_path / "config.yaml"
    path.write_text(EXAMPLES[name] if name in COMPLETE else yaml.safe_dump(config))
    dry_run.parse(str(path), dry_run.read(str(path)))


def test_there_is_a_complete_configuration_on_the_page_of_each_loss():
    shown = {
        (name.partition("-")[0], find(loss).name)
        for name, block in EXAMPLES.items()
        for loss in losses_in(yaml.safe_load(block))
        if find(loss)
    }
    for name, declaration in catalogue().items():
        page = f"docs/losses/{declaration.advice.page}.md"
        assert f"{page}-0" in TRAINED
        assert (page, name) in shown or ("docs/guides/anomalies.md", name) in shown


def test_the_advice_of_a_loss_begins_with_what_is_valid():
    for name, declaration in catalogue().items():
        advice = declaration.advice
        feature = "image" if declaration.has_terms else declaration.features[0]
        output = {"name": "y", "type": feature, "loss": yaml.safe_load(advice.start)}
        if output["type"] == "image":
            output |= {"decoder": {"type": "unet", "num_fc_layers": 0}}
            output |= {"preprocessing": {"height": 64, "width": 64, "num_channels": 1, "num_classes": 2}}
        parsed = ModelConfig.from_dict({"input_features": INPUTS, "output_features": [output]})
        assert parsed.output_features[0].loss.type == name
        assert (ROOT / "docs" / "losses" / f"{advice.page}.md").exists()
        assert not advice.evidence or (ROOT / "examples" / advice.evidence / "table.md").exists()
        assert bool(advice.evidence) == bool(advice.found)


def test_the_page_on_choosing_has_every_loss():
    taken = re.findall(r"^\|[^|]*\| \[`(\S+)`\]\(losses/", PAGES["docs/choosing.md"], re.MULTILINE)
    assert sorted(taken) == sorted(catalogue())


def column(feature: dict, rows: int, folder: pathlib.Path) -> list | np.ndarray:
    """Random values for a feature of a configuration."""
    generator = np.random.default_rng(sum(map(ord, feature["name"])))
    loss, kind = feature.get("loss", {}), feature["type"]
    named = loss.get("order") or loss.get("class_weights") or loss.get("alpha")
    words = [str(word) for word in named] if isinstance(named, (dict, list)) else ["red", "green", "blue"]
    words += [loss["background_class"]] if "background_class" in loss else []
    if kind == "image":
        return [picture(feature, folder / f"{feature['name']}{row}.png", generator) for row in range(rows)]
    if kind in ("text", "sequence"):
        return [" ".join(generator.choice(words, size=4)) for _ in range(rows)]
    if kind == "vector":
        return [" ".join(f"{value:.3f}" for value in generator.normal(size=8)) for _ in range(rows)]
    choices = {"category": words, "binary": [True, False], "anomaly": [0, 0, 0, 1, -1]}
    if "type" in loss and find(loss["type"]).config_cls.of_amounts:
        return generator.poisson(3, size=rows)
    return generator.choice(choices[kind], size=rows) if kind in choices else generator.normal(size=rows)


def picture(feature: dict, path: pathlib.Path, generator: np.random.Generator) -> str:
    size, is_mask = feature["preprocessing"], "loss" in feature
    shape = (size["height"], size["width"], *([3] if size["num_channels"] == 3 else []))
    noise = generator.integers(256, size=shape).astype(np.uint8)
    Image.fromarray(np.where(noise > 200, 255, 0).astype(np.uint8) if is_mask else noise).save(path)
    return str(path)


@pytest.mark.parametrize("name", TRAINED)
def test_the_configuration_of_the_page_of_a_loss_trains(name, tmp_path):
    # A quarter of the pixels, to save time.
    config = yaml.safe_load(COMPLETE[name].replace("height: 64, width: 64", "height: 32, width: 32"))
    features = [*config["input_features"], *config["output_features"]]
    # A tenth is for validation; an interval of 90 % needs 9 such rows to be calibrated.
    rows = 12 if any(feature["type"] == "image" for feature in features) else 120
    data = pd.DataFrame({feature["name"]: column(feature, rows, tmp_path) for feature in features})
    config["trainer"] |= {"epochs": 2}
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(data, output_directory=str(tmp_path), skip_save_processed_input=True, skip_save_model=True)
    for feature in config["output_features"]:
        assert np.isfinite(result.train_stats.training[feature["name"]]["loss"]).all()
    metric = config["trainer"].get("validation_metric", "loss")
    assert metric in result.train_stats.validation[config["output_features"][0]["name"]]


def test_the_quoted_error_is_the_real_one(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(
        "input_features: [{name: x, type: number}]\n"
        "output_features: [{name: fraud, type: binary, loss: {type: focal_loss, gama: 2}}]\n"
    )
    assert main(["check", str(config)]) == 2
    quoted = re.search(r"output_features\[0\].*?weight\.", PAGES["docs/losses/index.md"], re.DOTALL)[0]
    assert capsys.readouterr().err.split() == quoted.split()


def test_commands_list_explain_and_check(tmp_path, capsys):
    assert main(["list"]) == 0 and "small objects in masks" in capsys.readouterr().out
    assert main(["explain", "entmax15"]) == 0 and "Does not help when" in (shown := capsys.readouterr().out)
    assert "the padding symbol" in shown
    assert main(["explain", "focus"]) == 2 and "There is no loss 'focus'" in capsys.readouterr().err
    config = tmp_path / "config.yaml"
    config.write_text(COMPLETE["docs/losses/focal.md-0"])
    assert main(["check", str(config)]) == 0 and "is valid" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "missing.yaml")]) == 2


def test_explain_draws(tmp_path, capsys):
    for name in ("curves.svg", "curves.png"):
        assert main(["explain", "focal", "--plot", str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 10_000
    assert main(["explain", "focal", "--plot", str(tmp_path / "curves.xyz")]) == 2
    assert main(["explain", "mean_squared_error", "--plot", str(tmp_path / "curves.svg")]) == 2
    assert "no curves of 'mean_squared_error'" in capsys.readouterr().err


def test_docs_opens_what_is_built_and_names_what_is_not(tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("ludwig_losses.cli.webbrowser.open", opened.append)
    monkeypatch.setattr("ludwig_losses.cli.SITE", tmp_path)
    assert main(["docs", "focal"]) == 0 and "docs/losses/focal.md" in capsys.readouterr().out and not opened
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "focal.html").touch()
    assert main(["docs", "focal"]) == 0 and opened == [(tmp_path / "losses" / "focal.html").as_uri()]
    assert main(["docs"]) == 0 and "docs/index.md" in capsys.readouterr().out
    assert main(["docs", "focus"]) == 2


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) < 150
