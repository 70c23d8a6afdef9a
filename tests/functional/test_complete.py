"""Each function of the tree has what the other tests need of it; what is missing is named."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import oracles
from ludwig_losses import functional


def modules_of(package: ModuleType) -> list[ModuleType]:
    """The public modules of a package."""
    found = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(each.name) for each in found if not each.name.rpartition(".")[2].startswith("_")]


def losses_of_the_folder() -> set[str]:
    """The losses that the modules of ``ludwig_losses.functional`` define, in ``__init__.py`` or not."""
    return {
        name
        for module in modules_of(functional)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if name.endswith("_loss") and not name.startswith("_") and function.__module__ == module.__name__
    }


def missing(name: str) -> Iterator[str]:
    """Yield what a function lacks, and where it belongs."""
    facts = oracles.FUNCTIONS.get(name)
    if name not in functional.__all__:
        yield f"{name}: no line in ludwig_losses/functional/__init__.py"
    if facts is None:
        yield f"{name}: no entry in the FUNCTIONS of a family in tests/oracles"
        return
    if facts.not_drawn and not name.endswith("_loss"):
        return
    if name not in oracles.ORACLES:
        yield f"{name}: no oracle, a function of that name in tests/oracles"
    if facts.hostile is None:
        yield f"{name}: no hostile inputs and options (hostile) in tests/oracles"
    if name.endswith("_loss") and not facts.cases:
        yield f"{name}: no cases in tests/oracles"
    if name.endswith("_loss") and facts.hostile and facts.hostile.has_target and not facts.wrong_shapes:
        yield f"{name}: no wrong_shapes in tests/oracles"


def test_nothing_is_missing() -> None:
    names = sorted({*functional.__all__} | losses_of_the_folder())
    assert [each for name in names for each in missing(name)] == []


def test_nothing_is_left_over() -> None:
    assert {*oracles.FUNCTIONS} - {*functional.__all__} == set()


def test_each_family_is_of_declared_losses() -> None:
    for family in modules_of(oracles):
        assert getattr(family, "LOSSES", {}), f"{family.__name__}: no LOSSES, what tests of the declared ones need"


def test_no_family_replaces_what_another_one_says() -> None:
    for every in ("FUNCTIONS", "LOSSES"):
        names = [name for family in modules_of(oracles) for name in getattr(family, every, {})]
        assert sorted(names) == sorted(getattr(oracles, every)), every


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ({"cases": ()}, "no cases"),
        ({"hostile": None}, "no hostile inputs"),
        ({"wrong_shapes": ()}, "no wrong_shapes"),
    ],
    ids=str,
)
def test_what_an_entry_lacks_is_named(lacking: dict, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = dataclasses.replace(oracles.FUNCTIONS["poly_loss"], **lacking)
    monkeypatch.setitem(oracles.FUNCTIONS, "poly_loss", entry)
    (found,) = missing("poly_loss")
    assert found.startswith(f"poly_loss: {said}")


def test_a_function_without_anything_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(oracles.ORACLES, "poly_loss")
    assert [*missing("poly_loss")] == ["poly_loss: no oracle, a function of that name in tests/oracles"]
    monkeypatch.delitem(oracles.FUNCTIONS, "poly_loss")
    monkeypatch.setattr(functional, "__all__", [name for name in functional.__all__ if name != "poly_loss"])
    assert "poly_loss" in losses_of_the_folder()
    in_init, in_family = missing("poly_loss")
    assert in_init.endswith("no line in ludwig_losses/functional/__init__.py")
    assert in_family.endswith("no entry in the FUNCTIONS of a family in tests/oracles")
