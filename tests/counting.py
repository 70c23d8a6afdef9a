"""The counter of operators of ``benchmarks/operators.py``, which is no package."""

from __future__ import annotations

import importlib.util
import pathlib

_PROGRAM = pathlib.Path(__file__).parents[1] / "benchmarks" / "operators.py"
_spec = importlib.util.spec_from_file_location("operators", _PROGRAM)
operators = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(operators)
