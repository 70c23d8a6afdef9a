"""Slow, obvious transcriptions of the definitions, in the dtype of their input (give them float64).

Each has the name and the arguments of the function in ``ludwig_losses.functional`` that it judges, shares no code with
it, and is differentiable by autograd. A module is a family: beside its oracles it says what the tests of every function
(``FUNCTIONS``, by their names) and of every declared loss (``LOSSES``) need to know. A new family is a new file here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import FunctionType

from oracles._facts import Declared, Function

FUNCTIONS: dict[str, Function] = {}
LOSSES: dict[str, Declared] = {}
ORACLES: dict[str, FunctionType] = {}

for _found in pkgutil.iter_modules(__path__):
    if not _found.name.startswith("_"):
        _family = importlib.import_module(f"{__name__}.{_found.name}")
        FUNCTIONS |= getattr(_family, "FUNCTIONS", {})
        LOSSES |= getattr(_family, "LOSSES", {})
        ORACLES |= {
            name: function
            for name, function in inspect.getmembers(_family, inspect.isfunction)
            if function.__module__ == _family.__name__ and not name.startswith("_")
        }

globals().update(ORACLES)
