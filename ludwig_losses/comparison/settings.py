"""Which settings of each loss are tried, and how many of them a budget allows."""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ludwig_losses.comparison.plan import Loss, parsed, with_loss
from ludwig_losses.metrics.catalogue import METRICS, deciding, judging, metric

# Begins the names of parameters of the section trainer.
TRAINER = "trainer."
_SECONDS = {"m": 60, "h": 3600}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([mh])")
AS_GIVEN = "as given"


@dataclass(frozen=True)
class Setting:
    """A loss with the values of some parameters.

    Args:
        name: as no other setting is called.
        loss: the section.
        changes: the values that are tried, as tables call them; empty for the loss as it was given.
        trainer: parameters of the section trainer that belong to the setting.
    """

    name: str
    loss: Loss
    changes: str = ""
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def config(self, config: dict[str, Any], index: int) -> dict[str, Any]:
        """Return a configuration with this setting for an output feature."""
        found = with_loss(config, index, self.loss)
        found["trainer"] = {**(found.get("trainer") or {}), **copy.deepcopy(dict(self.trainer))}
        return found


@dataclass(frozen=True)
class Budget:
    """How much may be trained: a number of runs, or seconds; neither is no limit."""

    runs: int | None = None
    seconds: float | None = None


def deciding_metric(feature: str, written: str | None) -> str:
    """Return the metric that chooses among settings: the user's, or the one that judges models of a feature type.

    Raises:
        ValueError: there is no such metric, or it does not say which loss is better for a feature of the type.
    """
    name = judging(feature) if written is None else written
    if name is None:
        names = ", ".join(deciding(feature))
        raise ValueError(f"--choose_by: name the metric that chooses among settings of a {feature} feature: {names}.")
    try:
        found = metric(name)
    except KeyError:
        near = difflib.get_close_matches(name, METRICS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"--choose_by: there is no metric {name!r}.{hint}") from None
    is_single = name not in METRICS and feature in found.features and found.is_compared
    if name not in (fitting := deciding(feature)) and not is_single:
        raise ValueError(f"--choose_by: got {name!r}, expected one of {', '.join(fitting)}.")
    return name


def read_budget(written: int | str | None) -> Budget:
    """Return the budget that ``40`` (runs), ``30m`` or ``2h`` means.

    Raises:
        ValueError: it is none of these.
    """
    if written is None:
        return Budget()
    text = str(written).strip()
    if text.isdecimal() and int(text) and not isinstance(written, bool):
        return Budget(runs=int(text))
    time = _TIME.fullmatch(text)
    if time is None or not float(time[1]):
        raise ValueError(f"--budget: got {written!r}, expected a number of runs, as 40, or a time, as 30m or 2h.")
    return Budget(seconds=float(time[1]) * _SECONDS[time[2]])


def read_tries(
    written: Sequence[Any] | Mapping[str, Any] | str, losses: Mapping[str, Loss]
) -> dict[str, dict[str, list[Any]]]:
    """Return the values to try by loss and parameter.

    Args:
        written: mappings ``{focal_loss: {gamma: [1, 2, 5]}}``, or one; text is read as YAML. A loss is named as in
            tables or, for all losses of a type, by its type.
        losses: sections by name.

    Raises:
        ValueError: it is none of these, there is no such loss, or one stands twice.
    """
    found: dict[str, dict[str, list[Any]]] = {}
    for called, values in _tries(written):
        for name in _losses_called(called, losses):
            if name in found:
                raise ValueError(f"--try: {name} stands twice.")
            found[name] = {str(key): _list(f"{called}: {key}", of) for key, of in values.items()}
    return found


def losses_tried(written: Any) -> set[str]:
    """Return the names that :func:`read_tries` finds values for, as they are written."""
    return {called for called, _ in _tries(written)}


def _tries(written: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in written if isinstance(written, (list, tuple)) else [written]:
        mapping = parsed("--try", part)
        if not isinstance(mapping, Mapping) or not all(isinstance(of, Mapping) for of in mapping.values()):
            raise ValueError(f"--try: got {part!r}, expected values by loss: '{{focal_loss: {{gamma: [1, 2, 5]}}}}'.")
        for called, values in mapping.items():
            yield str(called), values


def _losses_called(name: str, losses: Mapping[str, Loss]) -> list[str]:
    found = [name] if name in losses else [of for of, loss in losses.items() if loss["type"] == name]
    if not found:
        near = difflib.get_close_matches(name, [*losses, *(loss["type"] for loss in losses.values())], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"--try: {name!r} is none of the losses that are compared.{hint}")
    return found


def _list(where: str, values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"--try: {where}: got {values!r}, expected a list of values to try, as [{values!r}].")
    return values


def combinations(name: str, loss: Loss, values: Mapping[str, Sequence[Any]]) -> list[Setting]:
    """Return a loss as it was given, and then with each combination of values.

    The order of the combinations is random and always the same: however few of them a budget allows, they are spread
    over all parameters, and a larger budget only adds to them.
    """
    found = [
        _with(name, loss, dict(zip(values, chosen, strict=True))) for chosen in itertools.product(*values.values())
    ]
    if not values:
        return [Setting(name, loss)]
    random.Random(0).shuffle(found)
    return [Setting(name, loss), *found]


def _with(name: str, loss: Loss, values: Mapping[str, Any]) -> Setting:
    changes = " ".join(f"{key}={json.dumps(value)}" for key, value in values.items())
    section = {key: value for key, value in values.items() if not key.startswith(TRAINER)}
    trainer = {key.removeprefix(TRAINER): value for key, value in values.items() if key.startswith(TRAINER)}
    return Setting(f"{name} {changes}", {**loss, **section}, changes, trainer)


def affordable(settings: Mapping[str, Sequence[Setting]], runs: int, seeds: int) -> dict[str, list[Setting]]:
    """Return the settings that a number of runs allows: each loss as given, and then one more of each loss in turn."""
    counts, left = dict.fromkeys(settings, 1), runs // seeds - len(settings)
    while left > 0 and any(counts[name] < len(of) for name, of in settings.items()):
        for name, of in settings.items():
            if left > 0 and counts[name] < len(of):
                counts[name] += 1
                left -= 1
    return {name: [*of[: counts[name]]] for name, of in settings.items()}
