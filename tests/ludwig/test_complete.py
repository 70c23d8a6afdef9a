"""Each declared loss has what users, and the other tests, need of it; what is missing is named."""

from __future__ import annotations

import dataclasses
import pathlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import declared
import matrix
import oracles
from ludwig_losses import losses
from ludwig_losses.advice import Advice
from ludwig_losses.declare.declaration import Declaration
from oracles._facts import Declared

PAGES = pathlib.Path(__file__).parents[2] / "docs" / "losses"
# They are about all losses.
OVERVIEWS = {"index", "parameters"}


def missing(declaration: Declaration, advice: Advice | None, facts: Declared | None) -> Iterator[str]:
    """Yield what a loss lacks, and where it belongs."""
    name = declaration.name
    if advice is None:
        yield f"{name}: no advice in its declaration"
    elif not page_of(advice).exists():
        yield f"{name}: no page docs/losses/{advice.page}.md"
    for feature in declaration.features:
        if feature not in matrix.FEATURES:
            yield f"{name}: no pair with {feature}, of which tests/ludwig/matrix.py has no data"
    if facts is None and not declaration.has_terms:
        yield f"{name}: no entry in the LOSSES of a family in tests/oracles"
    for feature in sorted(features_of(facts or Declared()) - {*declaration.features}):
        yield f"{name}: no pair with {feature}, for which the entry in tests/oracles has something"


def page_of(advice: Advice) -> pathlib.Path:
    return PAGES / f"{advice.page}.md"


def features_of(facts: Declared) -> set[str]:
    """The feature types that an entry names."""
    rows = [*facts.predicts, *facts.validates_by]
    return {*facts.options, *(facts.by_command_line or ()), *(feature for feature, *_ in rows)}


def test_nothing_is_missing() -> None:
    found = [
        each
        for name, declaration in declared.DECLARATIONS.items()
        for each in missing(declaration, declaration.advice, oracles.LOSSES.get(name))
    ]
    assert found == []


def test_nothing_is_left_over() -> None:
    assert {*oracles.LOSSES} - {*declared.SINGLE} == set(), "no loss of this name is declared"
    declaring = {found.module_cls.__module__.rpartition(".")[2] for found in declared.DECLARATIONS.values()}
    files = {found.name for found in pkgutil.iter_modules(losses.__path__) if not found.name.startswith("_")}
    assert files - declaring == set(), "no loss is declared in this file of ludwig_losses/losses"
    pages = {found.advice.page for found in declared.DECLARATIONS.values() if found.advice}
    assert {path.stem for path in PAGES.glob("*.md")} - OVERVIEWS - pages == set(), "no loss has this page"


def test_the_pages_name_the_aliases() -> None:
    pattern = r"`(?:(?:loss: )?\{type: )?([\w.]+)\}?`\s+\(or\s+`([\w.]+)`\)"
    named = {pair for path in PAGES.glob("*.md") for pair in re.findall(pattern, path.read_text())}
    assert named == {(name, alias) for name, found in declared.DECLARATIONS.items() for alias in found.aliases}


ADVICE = declared.SINGLE["poly_loss"].advice
LACKING: list[tuple[dict[str, Any], str]] = [
    ({"advice": None}, "no advice in its declaration"),
    ({"advice": dataclasses.replace(ADVICE, page="poly_2")}, "no page docs/losses/poly_2.md"),
    ({"facts": None}, "no entry in the LOSSES of a family in tests/oracles"),
    ({"features": ("category", "h3")}, "no pair with h3, of which tests/ludwig/matrix.py has no data"),
    (
        {"facts": Declared(options={"vector": {}})},
        "no pair with vector, for which the entry in tests/oracles has something",
    ),
]


@pytest.mark.parametrize(("lacking", "said"), LACKING, ids=[said for _, said in LACKING])
def test_what_is_missing_is_named(lacking: dict[str, Any], said: str) -> None:
    declaration = declared.SINGLE["poly_loss"]
    declaration = dataclasses.replace(declaration, features=lacking.get("features", declaration.features))
    arguments = {"advice": ADVICE, "facts": Declared(), **lacking}
    arguments.pop("features", None)
    assert [*missing(declaration, **arguments)] == [f"poly_loss: {said}"]
