"""Losses for Ludwig: write ``loss: {type: focal_loss}`` on an output feature and train.

Importing this package activates the losses; an installed package is activated in every Python process on its own,
as soon as that process imports Ludwig. Neither costs anything before Ludwig is imported.

The public names are what a custom loss needs; using one of them imports Ludwig.
"""

from ludwig_losses._startup import TYPE_CHECKING, install

if TYPE_CHECKING:
    from ludwig_losses.comparison.api import compare
    from ludwig_losses.declare.config import ClassificationLossConfig, LossConfig
    from ludwig_losses.declare.loss import ClassificationLoss, Loss
    from ludwig_losses.declare.schema import field, loss_type
    from ludwig_losses.host.registration import register_loss
    from ludwig_losses.parameters import (
        Choice,
        Classes,
        Coefficients,
        Count,
        Flag,
        Index,
        Number,
        Numbers,
        OptionalNumber,
        Order,
        PerClass,
        Terms,
    )

__version__ = "0.1.0"

# Where the public names are defined; what needs no Ludwig comes first. (lazy_loader does the same, but every Python
# process would import it.)
_HOMES = ("parameters", "comparison.api", "declare.schema", "declare.config", "declare.loss", "host.registration")

__all__ = [
    "Choice",
    "Classes",
    "ClassificationLoss",
    "ClassificationLossConfig",
    "Coefficients",
    "Count",
    "Flag",
    "Index",
    "Loss",
    "LossConfig",
    "Number",
    "Numbers",
    "OptionalNumber",
    "Order",
    "PerClass",
    "Terms",
    "compare",
    "field",
    "loss_type",
    "register_loss",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home in _HOMES if name in __all__ else ():
        found = getattr(import_module(f"{__name__}.{home}"), name, None)
        if getattr(found, "__module__", None) == f"{__name__}.{home}":  # not what it has imported
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]


install()
