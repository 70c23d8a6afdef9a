"""A check in Ludwig's own registry, for Ludwig versions on which those of this package are not in place."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def register_check(checks: ModuleType) -> None:
    """Let Ludwig itself ask, for each configuration, whether the strict checks of this package are in place."""
    checks.register_config_check(check_config)


def check_config(config: Any) -> None:
    """Refuse the losses of a configuration where the checks that would refuse them are not in place."""
    from ludwig_losses.host import contract  # Ludwig is only partly loaded when this is registered.

    contract.check_config(config)
