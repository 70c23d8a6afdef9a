"""The switches of the package, environment variables. They need nothing, since every Python process reads them."""

import os

DISABLE = "LUDWIG_LOSSES_DISABLE"
COMPILE = "LUDWIG_LOSSES_COMPILE"


def is_disabled() -> bool:
    """Whether the user has switched the package off."""
    return _is_set(DISABLE)


def is_compiled() -> bool:
    """Whether the user wants the losses compiled by ``torch.compile``."""
    return _is_set(COMPILE)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "false", "no")
