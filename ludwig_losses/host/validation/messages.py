"""What a mistake in a loss section is, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ludwig_losses import plugins
from ludwig_losses.host.registry import Declaration, find, losses_for
from ludwig_losses.parameters import Parameter, Place, shown


def check_foreign_name(place: Place, feature_type: str, name: Any) -> list[str]:
    """A name that is neither ours nor Ludwig's for this feature is reported with the nearest ones."""
    known = losses_for(feature_type)
    if not known or name in known:
        return []
    failed = "".join(f" The plug-in {plugin} did not load: {reason}." for plugin, reason in plugins.failures.items())
    near = did_you_mean(name, known)
    own = "" if near or failed else f" A loss of your own needs {plugins.VARIABLE}, or its package installed."
    return [
        (
            f"{place.at('.type')}: unknown loss {shown(name)}.{near} "
            f"For {feature_type} features there are: {', '.join(known)}.{failed}{own}"
        )
    ]


def empty_type(place: Place, feature_type: str) -> str:
    return f"{place.at('.type')}: type is empty; choose one of {', '.join(losses_for(feature_type))}."


def reason(error: Exception) -> str:
    """What an error of Ludwig's schemas says, without what pydantic writes around it."""
    details = error.errors() if hasattr(error, "errors") else ()
    return "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in details) or str(error)


def wrong_feature(place: Place, feature_type: str, name: str, declaration: Declaration) -> str:
    alternatives = losses_for(feature_type)
    others = [other for other in alternatives if (found := find(other)) is None or feature_type in found.features]
    instead = f" For {feature_type} features there are: {', '.join(others)}." if others else ""
    return (
        f"{place.at('.type')}: {name} is a loss for {', '.join(declaration.features)} features, "
        f"not for {feature_type} features.{instead}"
    )


def unknown_parameter(
    place: Place, feature_type: str, key: str, value: Any, here: dict[str, Parameter | None], declaration: Declaration
) -> str:
    owner = f"{declaration.name} on {feature_type} features"
    if key in declaration.parameters:
        types = ", ".join(declaration.features_with(key))
        only = f"got {shown(value)}, but {key} is for {types} features only."
        return f"{place.at('.' + key)}: {only} {_has(owner, here)}"
    return unknown_key(place, key, value, here, owner)


def unknown_key(place: Place, key: Any, value: Any, known: Iterable[str], owner: str) -> str:
    known = list(known)
    return f"{place}: unknown parameter '{key}' (value {shown(value)}).{did_you_mean(key, known)} {_has(owner, known)}"


def _has(owner: str, parameters: Iterable[str]) -> str:
    return f"{owner} has the parameters: {', '.join(parameters)}."


def check_value(place: Place, parameter: Parameter | None, value: Any) -> str | None:
    """Return what is wrong with the value of a parameter, or ``None``."""
    fault = None if parameter is None else parameter.fault(value)
    if parameter is None or fault is None:
        return None
    hint = ""
    if isinstance(value, str):
        try:
            hint = f" In YAML this is text; write {float(value)!r}." if parameter.accepts(float(value)) else ""
        except ValueError:
            words = getattr(parameter, "options", getattr(parameter, "by_frequency", ()))
            hint = did_you_mean(value, words)
    return f"{place.at(fault.entry)}: {fault}{hint}"


def did_you_mean(word: Any, known: Any) -> str:
    near = difflib.get_close_matches(str(word).lower(), [str(name) for name in known], n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
