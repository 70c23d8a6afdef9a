"""The hooks, on a stand-in for Ludwig: nothing here imports it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from ludwig_losses import _startup


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host module that can be imported anew, a module of hooks, and a process that knows neither."""
    (tmp_path / "stand_in_host.py").write_text("value = 1\n")
    (tmp_path / "stand_in_hooks.py").write_text(
        "def raise_value(module):\n    module.value += 1\n\ndef fail(module):\n    raise KeyError('no such thing')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder is not _startup._Finder])
    monkeypatch.delenv(_startup.DISABLE, raising=False)
    for name in ("stand_in_host", "stand_in_hooks"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def use(hook: str) -> None:
        monkeypatch.setattr(_startup, "HOOKS", {"stand_in_host": f"stand_in_hooks:{hook}"})

    yield use
    for name in ("stand_in_host", "stand_in_hooks"):
        sys.modules.pop(name, None)


def test_a_hook_runs_once_after_its_module(host):
    host("raise_value")
    _startup.install()
    _startup.install()
    assert sys.meta_path.count(_startup._Finder) == 1
    assert importlib.import_module("stand_in_host").value == 2


def test_a_module_that_is_imported_already_is_completed(host):
    host("raise_value")
    module = importlib.import_module("stand_in_host")
    _startup.install()
    assert module.value == 2


def test_a_failing_hook_warns_and_leaves_the_module_usable(host):
    host("fail")
    _startup.install()
    with pytest.warns(RuntimeWarning, match="could not complete stand_in_host .*KeyError: 'no such thing'"):
        assert importlib.import_module("stand_in_host").value == 1


@pytest.mark.parametrize(("value", "active"), [("1", False), ("true", False), ("0", True), ("", True)])
def test_the_environment_switches_it_off(host, monkeypatch, value, active):
    host("raise_value")
    monkeypatch.setenv(_startup.DISABLE, value)
    _startup.install()
    assert importlib.import_module("stand_in_host").value == (2 if active else 1)


def test_starting_up_imports_nothing_heavy():
    code = "import os, sys; before = set(sys.modules); import ludwig_losses; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=".")
    assert result.stdout.split() == ["ludwig_losses", "ludwig_losses._startup"]


def test_the_start_up_line_survives_a_package_that_is_gone(tmp_path):
    import pathlib

    line = (pathlib.Path(_startup.__file__).parent / "startup.pth").read_text().strip()
    assert line.startswith("import ") and "\n" not in line
    subprocess.run([sys.executable, "-S", "-I", "-W", "error", "-c", line], check=True, cwd=tmp_path)
