"""Loss sections in places, or under names, that Ludwig does not read."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from ludwig.constants import LOSS, MODEL_ECD

from ludwig_losses.host.config.messages import for_ecd_only
from ludwig_losses.host.registry import find
from ludwig_losses.parameters import Place

# Names of the loss section in other libraries.
_OTHER_NAMES = {"losses", "loss_type", "loss_name", "loss_function", "loss_func", "loss_fn", "criterion"}


def misplaced_losses(config: dict[str, Any], *, of_ludwig_too: bool = False) -> list[str]:
    """Return a message for each loss section that Ludwig would silently ignore.

    Args:
        config: the configuration as it is written.
        of_ludwig_too: also where no loss of this package is named. Ludwig trains such a configuration, so that only
            who asks is told.
    """
    return [
        f"{_place(section_place, key)}: Ludwig reads no loss here.{_instead(config, section_place, key, value)}"
        for section_place, section, reads_loss in _sections(config)
        for key, value in section.items()
        if not (reads_loss and key == LOSS) and _means_a_loss(key, value, of_ludwig_too)
    ]


def _place(section: Place, key: Any) -> Place:
    return section.at(f".{key}" if section.path else str(key))


def _means_a_loss(key: Any, value: Any, of_ludwig_too: bool) -> bool:
    if _names_ours(key):
        return True
    name = str(key).lower().replace("-", "_").replace(" ", "_")
    alike = name in _OTHER_NAMES or bool(difflib.get_close_matches(name, [LOSS], cutoff=0.8))
    return alike and (of_ludwig_too or _names_ours(value))


def _names_ours(value: Any) -> bool:
    """Whether a value is, or contains as a type, the name of a loss of this package."""
    return any(isinstance(name, str) and find(name) is not None for name in _names(value))


def _names(value: Any) -> list[Any]:
    """Return what may be names of losses in a value: itself, or its types."""
    if isinstance(value, list):
        return [name for entry in value for name in _names(entry)]
    return [value.get("type") if isinstance(value, dict) else value]


def _sections(config: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any], bool]]:
    """Yield the sections in which a loss may have been written, and whether Ludwig reads one there."""
    defaults = config.get("defaults")
    found: list[tuple[Place, Any, bool]] = [
        (Place(""), config, False),
        (Place("trainer"), config.get("trainer"), False),
        (Place("defaults"), defaults, False),
    ]
    for feature_type, default in defaults.items() if isinstance(defaults, dict) else ():
        found.append((Place(f"defaults.{feature_type}"), default, True))
    for index, feature in enumerate(config.get("input_features") or ()):
        found.append((Place(f"input_features[{index}]"), feature, False))
    for index, feature in enumerate(config.get("output_features") or ()):
        name = feature.get("name") if isinstance(feature, dict) else None
        place = Place(f"output_features[{index}]", name)
        decoder = feature.get("decoder") if isinstance(feature, dict) else None
        found += [(place, feature, True), (place.at(".decoder"), decoder, False)]
    yield from (entry for entry in found if isinstance(entry[1], dict))


def _instead(config: dict[str, Any], place: Place, key: Any, value: Any) -> str:
    """What may have been meant: the section ``loss`` of this output feature, of its defaults, or of the first one."""
    ours = [name for name in (key, *_names(value)) if _names_ours(name)]
    model_type = config.get("model_type", MODEL_ECD)
    if ours and model_type != MODEL_ECD:
        return f" {for_ecd_only(ours[0], model_type)}"
    outputs = [feature for feature in config.get("output_features") or () if isinstance(feature, dict)]
    if place.path == "defaults" and outputs:
        path = f"defaults.{outputs[0].get('type')}.loss"
    elif place.path.startswith(("output_features", "defaults.")):
        path = f"{place.path.removesuffix('.decoder')}.loss"
    else:
        path = "output_features[0].loss"
    if _names_ours(key):
        return f" Did you mean {path} with `type: {key}`?"
    written = f", written `loss: {{type: {value}}}`" if isinstance(value, str) else ""
    return f" Did you mean {path}{written}?"
