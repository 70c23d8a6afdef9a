"""Every public function has an example in its docstring, and gives what it says."""

from __future__ import annotations

import doctest
import pathlib
import re

import pytest

from ludwig_losses import functional
from ludwig_losses.functional import _candidates, _derivatives

GUIDE = (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "pytorch.md").read_text()
LOOP, LIGHTNING = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("name", functional.__all__)
def test_the_example_of_a_function_is_what_it_gives(name):
    function = getattr(functional, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={name: function})
    assert example.examples
    report: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(example, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("module", [_candidates, _derivatives])
def test_the_example_of_a_module_is_what_it_gives(module):
    (example,) = (test for test in doctest.DocTestFinder(recurse=False).find(module) if test.examples)
    report: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(example, out=report.append).failed == 0, "".join(report)


def test_the_guide_to_plain_pytorch_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(LOOP, found)
    assert found["accuracy"] > 0.85
    exec(LIGHTNING, found)
    assert found["trainer"].global_step == 40
