"""What the examples show is what was measured, and their configurations and losses are valid."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml
from ludwig.schema.model_types.base import ModelConfig

from ludwig_losses.comparison import candidates
from ludwig_losses.comparison.plan import named_losses

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
CONFIGS = [path for path in sorted(EXAMPLES.glob("*/*.yaml")) if path.name != "losses.yaml"]


@pytest.mark.parametrize("page", sorted(EXAMPLES.glob("*/README.md")), ids=lambda page: page.parent.name)
def test_the_pages_of_the_examples_show_what_was_measured(page):
    tables = re.findall(r"<!-- table ?(\S*) ?-->\n(.*?)<!-- /table -->", page.read_text(), re.DOTALL)
    assert tables == [(name, page.with_name(name or "table.md").read_text()) for name, _ in tables] != []


def test_every_example_has_a_page_with_a_picture():
    for folder in {path.parent for path in EXAMPLES.glob("*/*.py")}:
        (picture, *_) = re.findall(r"^!\[.+\]\((.*?)\)$", (folder / "README.md").read_text(), re.MULTILINE)
        assert (folder / picture).exists()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_configurations_of_the_examples_parse(path):
    ModelConfig.from_yaml(str(path))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/losses.yaml")), ids=lambda path: path.parent.name)
def test_the_losses_that_the_examples_compare_parse(path):
    plan = yaml.safe_load(path.read_text())
    losses = {**plan["reference"], **named_losses([loss for family in plan["families"].values() for loss in family])}
    config = yaml.safe_load(path.with_name("config.yaml").read_text())
    candidates.check(str(path), config, 0, losses)
