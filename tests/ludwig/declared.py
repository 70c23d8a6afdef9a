"""Every pair of a feature type and a loss that the pack declares; the family of its oracle says what tests need to know."""

from __future__ import annotations

from typing import Any

import oracles
from ludwig_losses.host.registry import catalogue
from oracles._facts import Declared

# Without the losses that other tests declare.
DECLARATIONS = {
    name: found for name, found in catalogue().items() if found.module_cls.__module__.startswith("ludwig_losses.")
}
# A sum of losses has no function, and no oracle.
SINGLE = {name: found for name, found in DECLARATIONS.items() if not found.has_terms}
FACTS = {name: oracles.LOSSES.get(name, Declared()) for name in SINGLE}

# Trained, interrupted, resumed, evaluated and predicted by the command line.
PAIRS = [
    (feature, name)
    for name, found in SINGLE.items()
    for feature in found.features
    if FACTS[name].by_command_line is None or feature in FACTS[name].by_command_line
]
# Trained through the API.
MORE_PAIRS = [
    (feature, name) for name, found in SINGLE.items() for feature in found.features if (feature, name) not in PAIRS
]
ALIAS_PAIRS = [(feature, alias) for feature, name in PAIRS for alias in SINGLE[name].aliases]
SUMS = [(feature, name) for name, found in DECLARATIONS.items() if found.has_terms for feature in found.features]


def options(feature: str, name: str) -> dict[str, Any]:
    """The parameters without which a loss has little to show on a feature; none for an alias and for Ludwig's own."""
    return dict(FACTS[name].options.get(feature, {})) if name in FACTS else {}


def may_grow(name: str) -> bool:
    """Whether a short training may end with a larger loss."""
    return name in FACTS and FACTS[name].may_grow
