"""Where the loss sections of a configuration stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ludwig.constants import LOSS

from ludwig_losses.host.registry import find, losses_for, ludwigs_parameters
from ludwig_losses.parameters import Place


def loss_sections(config: dict[str, Any]) -> Iterator[tuple[Place, Any, Any, set[str]]]:
    """Yield place, feature type and content of each loss section, and parameters to tolerate that it does not have."""
    defaults = config.get("defaults") or {}
    for index, feature in enumerate(config.get("output_features") or []):
        if isinstance(feature, dict) and LOSS in feature:
            name, feature_type = feature.get("name"), feature.get("type")
            place = Place(f"output_features[{index}].loss", name)
            loss = feature[LOSS]
            default = (defaults.get(feature_type) or {}).get(LOSS)
            if isinstance(loss, dict) and isinstance(default, dict) and "type" not in loss:
                loss = {**default, **loss}  # as Ludwig will merge them
            yield place, feature_type, loss, _other_losses_parameters(config, name, feature_type)
    for feature_type, default in defaults.items():
        if isinstance(default, dict) and LOSS in default:
            tolerated = _other_losses_parameters(config, None, feature_type)
            yield Place(f"defaults.{feature_type}.loss"), feature_type, default[LOSS], tolerated


def place_of(model: Any, feature: str) -> Place:
    """Return where an output feature of a model stands in its configuration."""
    names = [config.name for config in model.config_obj.output_features]
    return Place(f"output_features[{names.index(feature)}]", feature)


def name_of_loss(config: dict[str, Any], feature: dict[str, Any]) -> str | None:
    """Return the type of the loss section of an output feature, which it may take from the defaults."""
    defaults, feature_type = config.get("defaults") or {}, feature.get("type")
    default = defaults.get(feature_type) if isinstance(feature_type, str) else None
    for holder in (feature, default):
        loss = holder.get(LOSS) if isinstance(holder, dict) else None
        if isinstance(loss, dict) and "type" in loss:
            return loss["type"] if isinstance(loss["type"], str) else None
    return None


def _other_losses_parameters(config: dict[str, Any], name: Any, feature_type: Any) -> set[str]:
    """Parameters of other losses, which a search over ``loss.type`` leaves in the section of a trial."""
    searched = ((config.get("hyperopt") or {}).get("parameters") or {}).keys()
    if searched.isdisjoint({f"{name}.loss.type", f"defaults.{feature_type}.loss.type"}):
        return set()
    declared = filter(None, map(find, losses_for(feature_type)))
    return ludwigs_parameters(feature_type).union(*(declaration.parameters for declaration in declared))
