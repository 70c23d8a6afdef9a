"""Activation in processes that do not import Ludwig; test_patches.py has what happens where it is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ludwig_losses import _startup, _switch


@pytest.mark.parametrize(("value", "active"), [("1", False), ("true", False), ("0", True), ("", True)])
def test_the_environment_switches_it_off(monkeypatch, value, active):
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder is not _startup._Finder])
    monkeypatch.setattr(sys, "modules", {})
    monkeypatch.setenv(_switch.DISABLE, value)
    _startup.install()
    _startup.install()
    assert sys.meta_path.count(_startup._Finder) == active


def test_starting_up_imports_nothing_heavy():
    code = "import os, sys; before = set(sys.modules); import ludwig_losses; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=".")
    assert result.stdout.split() == ["ludwig_losses", "ludwig_losses._startup", "ludwig_losses._switch"]


def test_the_start_up_line_survives_a_package_that_is_gone(tmp_path):
    import pathlib

    line = (pathlib.Path(_startup.__file__).parent / "startup.pth").read_text().strip()
    assert line.startswith("import ") and "\n" not in line
    subprocess.run([sys.executable, "-S", "-I", "-W", "error", "-c", line], check=True, cwd=tmp_path)
