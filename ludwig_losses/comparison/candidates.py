"""Which losses to compare, and whether Ludwig takes them, before the first run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ludwig.schema.model_types.base import ModelConfig

from ludwig_losses.comparison.outcome import FEATURE_TYPES
from ludwig_losses.comparison.plan import Loss, label, named_losses, with_loss
from ludwig_losses.declare.declaration import Declaration
from ludwig_losses.host import dry_run
from ludwig_losses.host.config.parsed import suits_normalization
from ludwig_losses.host.data.counts import asks_for_counts
from ludwig_losses.host.data.masks import is_mask
from ludwig_losses.host.data.pairs import paired_loss
from ludwig_losses.host.registry import catalogue, find
from ludwig_losses.parameters import Classes, Order


def default_losses(config: dict[str, Any], index: int) -> dict[str, Loss]:
    """Return the loss of the configuration, and every one of the catalogue that needs nothing from the user."""
    feature = config["output_features"][index]
    own = dict(feature.get("loss") or {})
    own.setdefault("type", _default_section(config, index).get("type") or _own_type(config, index))
    declaration = find(own["type"])
    name = own["type"] if declaration is None else declaration.name
    preprocessing = {**_default_part(config, index, "preprocessing"), **(feature.get("preprocessing") or {})}
    fitting = [
        other.name
        for other in catalogue().values()
        if feature["type"] in other.features and other.name != name and not _needs_the_user(other)
        if suits_normalization(other.config_cls, preprocessing.get("normalization"))
    ]
    return named_losses([own, *fitting])


def _own_type(config: dict[str, Any], index: int) -> str:
    return [*ModelConfig.from_dict(config).output_features][index].loss.type


def with_defaults(config: dict[str, Any], index: int, losses: Mapping[str, Loss]) -> dict[str, Loss]:
    """Return losses with the parameters that the section `defaults` gives them, also in the names made of parameters.

    Raises:
        ValueError: two of them are the same loss with the same parameters by then, and have the same name.
    """
    found: dict[str, Loss] = {}
    for name, loss in losses.items():
        section = _default_section(config, index)
        same_type = section.get("type", loss["type"]) == loss["type"]
        complete = {"type": loss["type"], **(section if same_type else {}), **loss}
        shown = label(complete) if name == label(loss) else name
        if shown in found:
            raise ValueError(f"--loss: {name} is {shown} with the section defaults, which stands there already.")
        found[shown] = complete
    return found


def _default_section(config: dict[str, Any], index: int) -> Loss:
    return _default_part(config, index, "loss")


def _default_part(config: dict[str, Any], index: int, part: str) -> dict[str, Any]:
    """Return what the section `defaults` says for the type of an output feature."""
    of_type = (config.get("defaults") or {}).get(config["output_features"][index].get("type")) or {}
    return dict(of_type.get(part) or {})


def equal_losses(config: dict[str, Any], index: int, losses: Mapping[str, Loss]) -> dict[str, str]:
    """Return the losses that are an earlier one with the same parameters, under another alias or with its defaults
    written out, each with the name of that one."""
    first: dict[str, str] = {}
    return {
        name: earlier
        for name, loss in losses.items()
        if (earlier := first.setdefault(meaning(config, index, loss), name)) != name
    }


def meaning(config: dict[str, Any], index: int, loss: Loss) -> str:
    """Return what is the same for the same loss with the same parameters, however they are written."""
    parsed = [*ModelConfig.from_dict(with_loss(config, index, loss)).output_features][index].loss
    declaration = find(loss["type"])
    name = loss["type"] if declaration is None else declaration.name
    return json.dumps({**parsed.to_dict(), "type": name}, sort_keys=True, default=str)


def _needs_the_user(declaration: Declaration) -> bool:
    """Whether a loss is nothing without terms, a background class, an order of the classes, or amounts as targets."""
    parameters = declaration.parameters.items()
    return (
        declaration.has_terms
        or declaration.config_cls.of_amounts
        or any(
            parameter is not None
            and (parameter.required or isinstance(parameter, Order) or _is_background(key, parameter))
            for key, parameter in parameters
        )
    )


def _is_background(key: str, parameter: Any) -> bool:
    return isinstance(parameter, Classes) and key != "ignore_index" and parameter.default is None


def check(path: str, config: dict[str, Any], index: int, losses: Mapping[str, Loss]) -> None:
    """Let Ludwig, and the strict check of the pack, parse the configuration with each loss.

    Raises:
        ValueError: for the losses that it refuses, all of them; or the feature has a type without metrics.
    """
    feature = config["output_features"][index]
    if feature.get("type") not in FEATURE_TYPES:
        raise ValueError(
            f"output_features[{index}] (output feature '{feature.get('name')}'): got type {feature.get('type')!r}; "
            f"losses can be compared on {', '.join(FEATURE_TYPES)} features."
        )
    problems = []
    for name, loss in losses.items():
        try:
            dry_run.parse(path, with_loss(config, index, loss))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("\n".join(problems))


def pairing_loss(config: dict[str, Any], index: int, losses: Mapping[str, Loss]) -> str | None:
    """Return the name of the first loss that keeps pairs of rows together, if there is one: with data that is prepared
    for it all losses learn from the same rows."""
    pairing = (
        name
        for name, loss in losses.items()
        if paired_loss(with_loss(config, index, loss)["output_features"]) is not None
    )
    return next(pairing, None)


def mask_reading_loss(config: dict[str, Any], index: int, losses: Mapping[str, Loss]) -> str | None:
    """Return the name of the first loss for which all masks of an image feature are looked at, if there is one: for
    Ludwig's own losses classes may be left out."""
    configs = {name: with_loss(config, index, loss) for name, loss in losses.items()}
    return next((name for name, of_loss in configs.items() if is_mask(of_loss["output_features"][index])), None)


def counting_loss(config: dict[str, Any], index: int, losses: Mapping[str, Loss]) -> str | None:
    """Return the name of the first loss for which the rows of each class are counted, if there is one: what other
    losses prepare does not have the counts, and what is prepared with them is the same for other losses."""
    configs = {name: with_loss(config, index, loss) for name, loss in losses.items()}
    return next((name for name, of in configs.items() if asks_for_counts(of["output_features"][index])), None)


def preparing_loss(config: dict[str, Any], index: int, losses: Mapping[str, Loss]) -> str | None:
    """Return the name of the loss to prepare the data for, if it matters."""
    return mask_reading_loss(config, index, losses) or counting_loss(config, index, losses)
