"""What the README says is so: its table comes from the declarations, and its configurations parse."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml
from ludwig.schema.model_types.base import ModelConfig

from ludwig_losses.cli import main, markdown_table
from ludwig_losses.comparison import candidates
from ludwig_losses.comparison.plan import named_losses
from ludwig_losses.host.registry import catalogue

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
INPUTS = [{"name": "words", "type": "text", "encoder": {"type": "embed", "reduce_output": None}}]
# The tutorial has a loss that is not in the pack: test_plugins.py follows it.
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README.partition("## A loss of your own")[0], re.DOTALL)


def losses_in(example: str) -> list[str]:
    return [feature["loss"]["type"] for feature in yaml.safe_load(example)["output_features"]]


def test_the_table_is_the_one_of_the_declarations():
    (table,) = re.findall(r"<!-- losses -->\n(.*?)\n<!-- /losses -->", README, re.DOTALL)
    assert table == markdown_table(), "run `ludwig-losses table` and paste its output into README.md"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: "-".join(losses_in(example)))
def test_every_configuration_parses(example):
    parsed = ModelConfig.from_dict({"input_features": INPUTS, **yaml.safe_load(example)})
    assert [feature.loss.type for feature in parsed.output_features] == losses_in(example)


def test_there_is_an_example_for_each_loss():
    assert set(catalogue()) == {loss for example in EXAMPLES for loss in losses_in(example)}


def test_the_quoted_error_is_the_real_one(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(
        "input_features: [{name: x, type: number}]\n"
        "output_features: [{name: fraud, type: binary, loss: {type: focal_loss, gama: 2}}]\n"
    )
    assert main(["check", str(config)]) == 2
    assert (
        capsys.readouterr().err.split() == re.search(r"output_features\[0\].*?weight\.", README, re.DOTALL)[0].split()
    )


def test_commands_list_explain_and_check(tmp_path, capsys):
    assert main(["list"]) == 0 and "poly_loss" in capsys.readouterr().out
    assert main(["explain", "entmax15"]) == 0 and "the padding symbol" in capsys.readouterr().out
    assert main(["explain", "focus"]) == 2 and "There is no loss 'focus'" in capsys.readouterr().err
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"input_features": INPUTS, **yaml.safe_load(EXAMPLES[0])}))
    assert main(["check", str(config)]) == 0 and "is valid" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "missing.yaml")]) == 2


EXAMPLES_FOLDER = pathlib.Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("example", ["open_set", "noisy_labels", "anomaly"])
def test_the_tables_of_the_examples_are_what_they_wrote(example):
    (table,) = re.findall(rf"<!-- {example} -->\n(.*?)<!-- /{example} -->", README, re.DOTALL)
    assert table == (EXAMPLES_FOLDER / example / "table.md").read_text()


@pytest.mark.parametrize("page", sorted(EXAMPLES_FOLDER.glob("*/README.md")), ids=lambda page: page.parent.name)
def test_the_pages_of_the_examples_show_what_was_measured(page):
    (table,) = re.findall(r"<!-- table -->\n(.*?)<!-- /table -->", page.read_text(), re.DOTALL)
    assert table == page.with_name("table.md").read_text()


CONFIGS = [path for path in sorted(EXAMPLES_FOLDER.glob("*/*.yaml")) if path.name != "losses.yaml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_configurations_of_the_examples_parse(path):
    ModelConfig.from_yaml(str(path))


@pytest.mark.parametrize("path", sorted(EXAMPLES_FOLDER.glob("*/losses.yaml")), ids=lambda path: path.parent.name)
def test_the_losses_that_the_examples_compare_parse(path):
    plan = yaml.safe_load(path.read_text())
    losses = {**plan["reference"], **named_losses([loss for family in plan["families"].values() for loss in family])}
    config = yaml.safe_load(path.with_name("config.yaml").read_text())
    candidates.check(str(path), config, 0, losses)
