"""The threshold of a binary feature that the validation rows suggest, and what it is worth on the test rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special

from ludwig_losses.comparison.page import decimals
from ludwig_losses.comparison.plan import VALIDATION
from ludwig_losses.comparison.statistics import Difference, Resamples, Splits, compare_pairs

Kept = Mapping[str, np.ndarray]
# How good flagged rows are, by how many are flagged, how many of these are positive, and how many positives there are.
_Goodness = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Goal:
    """What a threshold is chosen for.

    Args:
        miss_cost: what a missed positive costs, in false alarms; ``None`` is for F1.
    """

    miss_cost: float | None = None

    @property
    def name(self) -> str:
        return "F1" if self.miss_cost is None else "mean cost of a row"

    @property
    def higher_is_better(self) -> bool:
        return self.miss_cost is None

    def measure(self, flagged: Any, found: Any, positives: Any, rows: int) -> Any:
        """Return how good it is to flag some rows, of which ``found`` are among the positives."""
        if self.miss_cost is None:
            # 0 where there are neither positives nor flagged rows.
            return 2 * found / np.maximum(flagged + positives, 1)
        return (flagged - found + self.miss_cost * (positives - found)) / rows

    def of(self, truth: np.ndarray, flags: np.ndarray) -> float:
        """Return it for rows of which some are flagged."""
        return float(self.measure(flags.sum(), (flags & truth).sum(), truth.sum(), len(truth)))


def best(truth: np.ndarray, score: np.ndarray, goal: Goal) -> float | None:
    """Return the threshold that is the best for these rows, halfway between two scores; ``None`` without both classes.

    Of several that are equally good it is the one in the middle.
    """
    positives = int(truth.sum())
    if not 0 < positives < len(truth):
        return None
    order = np.argsort(-score, kind="stable")
    scores = score[order].astype(np.float64)
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    flagged, found = np.append(0, ends + 1), np.append(0, truth[order].cumsum()[ends])
    levels = np.concatenate([[1.0], scores[ends], [0.0]])
    values = goal.measure(flagged, found, positives, len(truth)) * (1 if goal.higher_is_better else -1)
    if scores[0] >= 1:
        values[0] = -np.inf  # A threshold of 1 flags these, too.
    equally = np.flatnonzero(values == values.max())
    place = equally[len(equally) // 2]
    return float((levels[place] + levels[place + 1]) / 2)


def rounded(threshold: float, digits: int = 6) -> float:
    """Return a threshold with so many digits of itself and of its distance to 1: scores lie close at both ends."""
    distance = min(threshold, 1 - threshold)
    return round(threshold, digits - 1 - math.floor(math.log10(distance))) if distance > 0 else threshold


@dataclass(frozen=True)
class Threshold:
    """What the validation rows suggest.

    Args:
        goal: what for.
        by_seed: the best one for the validation rows of each seed.
        value: their median.
        calibrated: the median for probabilities after ``calibration: true``; ``None`` where that is not known.
        before: mean of the goal on the test rows, with the threshold of the configuration.
        after: the same with the threshold of each seed.
        worth: the difference.
    """

    goal: Goal
    by_seed: dict[int, float]
    value: float
    calibrated: float | None
    before: float
    after: float
    worth: Difference

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def said(self) -> list[str]:
        """Return what there is to say of it."""
        least, most = (rounded(end(self.by_seed.values()), 3) for end in (min, max))
        interval, goal, digits = self.worth.new_rows, self.goal.name, decimals([self.before, self.after])
        after, before = (f"{of:.{digits}f}" for of in (self.after, self.before))
        shown = "" if interval is None else f" ({interval[0]:+.{digits}f} to {interval[1]:+.{digits}f} on new rows)"
        calibrated = "" if self.calibrated is None else f" With `calibration: true` it is {rounded(self.calibrated)}."
        return [
            f"Threshold {rounded(self.value)}: the median of those with the best {goal} on the validation rows of each "
            f"seed ({least} to {most}).{calibrated}",
            f"On the test rows, on which no threshold was chosen, the {goal} is {after} with that of the seed and "
            f"{before} with that of the configuration: {self.worth.mean:+.{digits}f}{shown}.",
        ]


def suggested(
    arrays: Mapping[int, Kept], temperatures: Mapping[int, float], goal: Goal, correction: float
) -> Threshold | None:
    """Return the threshold that the validation rows suggest, if some are kept.

    Args:
        arrays: what the runs of a loss have kept, by seed.
        temperatures: those of calibration, by seed, as far as they are known.
        goal: what for.
        correction: held-out rows per training row, where each seed splits the rows anew.
    """
    found: dict[int, float] = {}
    for seed, kept in arrays.items():
        truth, probabilities = kept.get(f"{VALIDATION}truth"), kept.get(f"{VALIDATION}probabilities")
        value = None if truth is None or probabilities is None else best(truth.astype(bool), probabilities[:, 1], goal)
        if value is not None:
            found[seed] = value
    if not found:
        return None
    values = [_on_held_out(arrays[seed], threshold, goal) for seed, threshold in found.items()]
    before, after = zip(*values, strict=True)
    rows = Splits(correction) if correction else _resamples(arrays, found, goal)
    worth = compare_pairs(after, before, higher_is_better=goal.higher_is_better, rows=rows)
    calibrated = None
    if all(seed in temperatures for seed in found):
        calibrated = float(np.median([_rescaled(value, temperatures[seed]) for seed, value in found.items()]))
    median = float(np.median([*found.values()]))
    return Threshold(goal, found, median, calibrated, float(np.mean(before)), float(np.mean(after)), worth)


def _flags(kept: Kept, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are flagged by the configuration, and by a threshold."""
    return kept["predicted"] == 1, kept["probabilities"][:, 1] >= threshold


def _on_held_out(kept: Kept, threshold: float, goal: Goal) -> tuple[float, float]:
    before, after = (goal.of(kept["truth"].astype(bool), flags) for flags in _flags(kept, threshold))
    return before, after


def _resamples(arrays: Mapping[int, Kept], thresholds: Mapping[int, float], goal: Goal) -> Resamples:
    """Return what thresholds are worth on bootstrap samples of the held-out rows, which are the same for all seeds."""
    # It imports torch, and this module is imported before the first process starts.
    from ludwig_losses.comparison.resampling import drawn, samples_of

    rows = len(next(iter(arrays.values()))["truth"])
    samples: dict[int, list[np.ndarray]] = {seed: [] for seed in thresholds}
    for weights in drawn(rows, samples_of(rows)):
        for seed, threshold in thresholds.items():
            truth, flags = arrays[seed]["truth"].astype(float), np.stack(_flags(arrays[seed], threshold), axis=1)
            flagged, found = weights @ flags, weights @ (flags * truth[:, None])
            before, after = goal.measure(flagged, found, (weights @ truth)[:, None], rows).T
            samples[seed].append(after - before)
    return Resamples(0.0, np.stack([np.concatenate(parts) for parts in samples.values()]), rows)


def _rescaled(threshold: float, temperature: float) -> float:
    """Return the threshold that flags the same rows once logits are divided by a temperature."""
    return float(special.expit(special.logit(threshold) / temperature))
