"""What to do after a comparison: the loss to keep or to take, as a section of the configuration to paste."""

from __future__ import annotations

import copy
import json
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import yaml

from ludwig_losses.comparison.page import decimals
from ludwig_losses.comparison.plan import PREDICTIONS, RESULT
from ludwig_losses.comparison.results import Results, Row
from ludwig_losses.comparison.settings import Setting
from ludwig_losses.comparison.statistics import BETTER, FEWEST_SEEDS
from ludwig_losses.comparison.threshold import Goal, Threshold, rounded, suggested
from ludwig_losses.metrics.catalogue import metric

TITLE = "What to do"


@dataclass(frozen=True)
class Pick:
    """A setting of a loss to write into the configuration.

    Args:
        setting: the section of the loss, and what it changes of the trainer.
        folders: of its runs, by seed.
        said: why this setting, if several were tried.
    """

    setting: Setting
    folders: Mapping[int, pathlib.Path]
    said: str = ""


@dataclass(frozen=True)
class Answer:
    """What to do.

    Args:
        loss: as tables call it.
        is_better: whether it is better than the first loss, which is kept otherwise.
        metric: the one that has decided, if there is one.
        yaml: to paste.
        said: sentences above it.
        threshold: of a binary feature, with a validation rows' choice.
    """

    loss: str
    is_better: bool
    metric: str | None
    yaml: str
    said: list[str]
    threshold: Threshold | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def decided(
    results: Results, names: Mapping[str, str], decides: str | None, pick: Callable[[str, bool], Pick], goal: Goal
) -> Answer | None:
    """Return the loss to take: the best of those that are *better* than the first one by the metric that decides, or
    else the first one; ``None`` where nothing was trained.

    Args:
        results: of the runs.
        names: what the losses are called in tables.
        decides: the metric.
        pick: returns the setting to take of a loss; of the first one, if it is kept.
        goal: what the threshold of a binary feature is for.
    """
    first = results.losses[0]
    if not any(loss == first for loss, _ in results.found):
        return None
    table = [] if decides is None else results.table(decides)
    rows = {row.loss: row for row in table if row.loss in results.compared}
    loss, is_better = _best(first, rows, decides)
    chosen = pick(loss, not is_better)
    threshold = _threshold(results, chosen, goal)
    said = [_reason(results, names, loss, rows, decides)]
    said += [chosen.said] if chosen.said else []
    said += [] if threshold is None else threshold.said()
    return Answer(loss, is_better, decides, _yaml(results, chosen.setting, threshold), said, threshold)


def _best(first: str, rows: Mapping[str, Row], decides: str | None) -> tuple[str, bool]:
    better = [row for row in rows.values() if row.difference is not None and row.difference.verdict == BETTER]
    if decides is None or not better:
        return first, False
    sign = -1 if metric(decides).higher_is_better is False else 1
    return max(better, key=lambda row: sign * row.mean).loss, True


def _reason(results: Results, names: Mapping[str, str], loss: str, rows: Mapping[str, Row], decides: str | None) -> str:
    first = names[results.losses[0]]
    if decides is None:
        return f"Keep {first}: no metric decides for this type of feature. Name the one that counts with --choose_by."
    if loss != results.losses[0]:
        found = rows[loss].difference
        assert found is not None and found.corrected is not None
        digits, (low, high) = decimals(row.mean for row in rows.values()), found.corrected
        by = f"{abs(found.mean):.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
        return f"Take {names[loss]}: by {decides} it is better than {first} by {by}."
    if len(rows) < 2:
        return f"Keep {first}: there is nothing to compare it with by {decides}."
    if len(results.seeds) < FEWEST_SEEDS:
        return f"Keep {first}: fewer than {FEWEST_SEEDS} seeds cannot show that another loss is better."
    return f"Keep {first}: no loss is better by {decides} on new rows."


def _threshold(results: Results, chosen: Pick, goal: Goal) -> Threshold | None:
    if _feature(results)["type"] != "binary":
        return None
    arrays: dict[int, dict[str, np.ndarray]] = {}
    scales: dict[int, float] = {}
    for seed, folder in chosen.folders.items():
        with np.load(folder / PREDICTIONS) as kept:
            arrays[seed] = dict(kept)
        found = json.loads((folder / RESULT).read_text(encoding="utf-8")).get("calibration")
        if found:
            scales[seed] = found["temperature"]
    return suggested(arrays, scales, goal, results.correction)


def _feature(results: Results) -> dict[str, Any]:
    run = results.runs[0]
    return next(feature for feature in run.config["output_features"] if feature["name"] == run.feature)


def _yaml(results: Results, setting: Setting, threshold: Threshold | None) -> str:
    """Return the output feature as it is, with the loss and the threshold; and what else the setting changes."""
    feature = {name: value for name, value in _feature(results).items() if name not in ("loss", "threshold")}
    if threshold is not None:
        feature["threshold"] = rounded(threshold.value)
    elif "threshold" in _feature(results):
        feature["threshold"] = _feature(results)["threshold"]
    section: dict[str, Any] = {"output_features": [{**feature, "loss": dict(setting.loss)}]}
    if setting.trainer:
        section["trainer"] = dict(setting.trainer)
    # A copy: the same object twice would be written as an anchor.
    return yaml.safe_dump(copy.deepcopy(section), sort_keys=False, allow_unicode=True, width=120)
