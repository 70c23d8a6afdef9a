"""Modern losses for Ludwig: write ``loss: {type: focal_loss}`` on an output feature and train.

Importing this package activates the losses; an installed package is activated in every Python process on its own,
as soon as that process imports Ludwig. Neither costs anything before Ludwig is imported.

The public names are what a loss of your own needs; using one of them imports Ludwig.
"""

from ludwig_losses._startup import install

__version__ = "0.1.0"

_HOMES = {
    "ludwig_losses.host.registry": ("register_loss",),
    "ludwig_losses.host.schema": ("field", "loss_type"),
    "ludwig_losses.losses.base": ("ClassificationLoss", "ClassificationLossConfig", "Loss", "LossConfig"),
    "ludwig_losses.parameters": (
        "Choice",
        "Classes",
        "Count",
        "Flag",
        "Index",
        "Number",
        "Numbers",
        "OptionalNumber",
        "PerClass",
        "Terms",
    ),
}

__all__ = sorted(name for names in _HOMES.values() for name in names)


def __getattr__(name):
    for module, names in _HOMES.items():
        if name in names:
            return getattr(__import__(module, fromlist=[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return [*globals(), *__all__]


install()
