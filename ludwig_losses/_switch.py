"""The switch that turns the package off. It needs nothing, since every Python process reads it."""

import os

DISABLE = "LUDWIG_LOSSES_DISABLE"


def is_disabled() -> bool:
    """Whether the user has switched the package off."""
    return os.environ.get(DISABLE, "").strip().lower() not in ("", "0", "false", "no")
