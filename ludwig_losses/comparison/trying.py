"""What is worth trying of each loss, as its declaration says, and whether Ludwig takes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ludwig_losses.comparison.candidates import meaning
from ludwig_losses.comparison.plan import Loss
from ludwig_losses.comparison.settings import Setting, combinations
from ludwig_losses.host import dry_run
from ludwig_losses.host.registry import find

Values = dict[str, list[Any]]

# Ludwig's own losses have no declaration here. These weights are the only ones that do not depend on the classes.
OF_LUDWIG: dict[str, Values] = {"binary_weighted_cross_entropy": {"positive_class_weight": [0.2, 0.5, 2.0, 5.0]}}


def all_settings(
    path: str, config: dict[str, Any], index: int, losses: Mapping[str, Loss], tries: Mapping[str, Values]
) -> dict[str, list[Setting]]:
    """Return the settings of each loss: as it was given, and then what the user, or else its declaration, names.

    Args:
        path: of the configuration, for messages.
        config: it.
        index: of the output feature.
        losses: sections by name.
        tries: values by loss and parameter, from the user.

    Raises:
        ValueError: Ludwig refuses what the user names, or two settings have the same name.
    """
    found: dict[str, list[Setting]] = {}
    names: dict[str, Setting] = {}
    for name, loss in losses.items():
        known = name in tries
        settings = combinations(name, loss, tries[name]) if known else _declared(config, index, name, loss)
        taken = [settings[0], *_taken(path, config, index, settings[1:], refuse=known)]
        found[name] = _different(config, index, taken)
        for setting in found[name]:
            if names.setdefault(setting.name, setting) != setting:
                raise ValueError(f"--loss: {setting.name} is also a setting that is tried. Give it another name.")
    return found


def _taken(
    path: str, config: dict[str, Any], index: int, settings: list[Setting], *, refuse: bool
) -> Iterator[Setting]:
    """Yield the settings that Ludwig takes. What a declaration names may not go with what the user has written, and is
    then left out; what the user names is refused."""
    for setting in settings:
        try:
            dry_run.parse(path, setting.config(config, index))
        except ValueError as error:
            if refuse:
                raise ValueError(f"--try: {setting.name}: {error}") from None
            continue
        yield setting


def _different(config: dict[str, Any], index: int, settings: list[Setting]) -> list[Setting]:
    """Return settings, each once: one with the defaults written out is the loss as it was given."""
    first: dict[str, Setting] = {}
    for setting in settings:
        first.setdefault(f"{meaning(config, index, setting.loss)} {sorted(setting.trainer.items())}", setting)
    return [*first.values()]


def _declared(config: dict[str, Any], index: int, name: str, loss: Loss) -> list[Setting]:
    feature = config["output_features"][index]["type"]
    found = combinations(name, loss, worth_trying(feature, loss))
    if loss == {"type": "softmax_cross_entropy"} and feature == "category":
        # Ludwig takes numbers only. Without its first coefficient poly_loss is cross-entropy, and counts the classes.
        weighted = {"type": "poly_loss", "epsilon": 0.0, "class_weights": "balanced"}
        changes = 'class_weights="balanced"'
        found.append(Setting(f"{name} {changes}", weighted, changes))
    return found


def worth_trying(feature: str, loss: Loss) -> Values:
    """Return the values that are worth trying of the parameters that a section leaves open, the default included."""
    declaration = find(loss["type"])
    if declaration is None:
        return {key: [None, *of] for key, of in OF_LUDWIG.get(loss["type"], {}).items() if key not in loss}
    found: Values = {}
    for key, parameter in declaration.parameters.items():
        if parameter is None or key in loss or feature not in declaration.features_with(key):
            continue
        if parameter.worth_trying and feature in (parameter.worth_trying_on or declaration.features):
            default = [] if parameter.default in parameter.worth_trying else [parameter.default]
            found[key] = [*default, *parameter.worth_trying]
    return found
