"""Settings of each loss chosen on the validation rows of a seed, and measured on the test rows of that seed."""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ludwig_losses.comparison.answer import Pick
from ludwig_losses.comparison.outcome import LEVELS, common_levels, quantile_means, quantile_values, with_levels
from ludwig_losses.comparison.page import Section, decimals, plain
from ludwig_losses.comparison.plan import PREDICTIONS, RESULT, VALIDATION, Run
from ludwig_losses.comparison.results import Results
from ludwig_losses.comparison.roles import Roles
from ludwig_losses.comparison.settings import AS_GIVEN, Budget, Setting, affordable
from ludwig_losses.comparison.statistics import BETTER, FEWEST_SEEDS, Difference, compare_pairs
from ludwig_losses.metrics.catalogue import metric

Folder = Callable[[Run], pathlib.Path]


@dataclass(frozen=True)
class Tuning:
    """What is going to be tried.

    Args:
        choose_by: the metric that decides, on validation rows.
        settings: by loss; the first one is the loss as it was given.
        budget: how much may be trained.
    """

    choose_by: str
    settings: Mapping[str, Sequence[Setting]]
    budget: Budget

    @property
    def all(self) -> dict[str, Setting]:
        """The settings by name."""
        return {setting.name: setting for of_loss in self.settings.values() for setting in of_loss}

    @property
    def given(self) -> set[str]:
        """The names of the losses as they were given."""
        return {of_loss[0].name for of_loss in self.settings.values()}

    def within(self, runs: int, seeds: int) -> Tuning:
        """Return what a number of runs allows."""
        return replace(self, settings=affordable(self.settings, runs, seeds))

    def within_budget(self, seeds: int) -> Tuning:
        """Return what a budget of runs allows; one of time is not known yet.

        Raises:
            ValueError: it does not suffice for the losses as they were given.
        """
        if self.budget.runs is None:
            return self
        needed = len(self.settings) * seeds
        if self.budget.runs < needed:
            raise ValueError(
                f"--budget: {self.budget.runs} runs are too few: {len(self.settings)} losses x {seeds} seeds are "
                f"{needed} runs before anything is tried."
            )
        return self.within(self.budget.runs, seeds)

    def within_time(self, durations: Sequence[float], seeds: int, workers: int) -> Tuning:
        """Return what a budget of time allows, by the seconds that the runs of the losses as given have taken.

        These are kept with the runs: a call that goes on after an interrupt plans the same.
        """
        if self.budget.seconds is None or not durations:
            return self
        return self.within(int(self.budget.seconds * workers / float(np.mean(durations))), seeds)

    def announcement(self, runs: Sequence[Run], kept: int) -> list[str]:
        """Return what is going to be tried."""
        seeds, already = len({run.seed for run in runs}), f", of which {kept} are kept from before" if kept else ""
        tried = ", ".join(f"{plain(loss)} {len(of_loss)}" for loss, of_loss in self.settings.items())
        return [
            f"{len(self.all)} settings x {seeds} seeds = {len(runs)} runs{already}. Settings of each loss, itself "
            f"included: {tried}.",
            f"Chosen by {self.choose_by} on the validation rows of each seed, measured on the test rows of that seed.",
        ]


def tune(
    tuning: Tuning,
    runs: Sequence[Run],
    folder: Folder,
    train: Callable[[Sequence[Run], Sequence[str]], dict[Run, str]],
    workers: int,
) -> Tuned:
    """Train what the budget allows, and return what can be chosen from.

    Args:
        tuning: what is to be tried.
        runs: of all its settings.
        folder: where the result of a run is.
        train: trains runs after it has said something, and returns why some have failed.
        workers: how many of them at the same time.
    """
    failed: dict[Run, str] = {}
    if tuning.budget.seconds is not None:
        given = [run for run in runs if run.loss in tuning.given]
        failed |= train(given, [f"First the losses as given, to see how long a run takes: {len(given)} runs."])
        seeds = len({run.seed for run in runs})
        tuning = tuning.within_time(durations(given, folder), seeds, workers)
    tried = [run for run in runs if run.loss in tuning.all]
    kept = sum((folder(run) / RESULT).exists() for run in tried)
    failed |= train([run for run in tried if run not in failed], tuning.announcement(tried, kept))
    return Tuned(tuning, tried, failed, folder)


def durations(runs: Sequence[Run], folder: Folder) -> list[float]:
    """Return the seconds of the runs that have a result."""
    return [_result(folder(run))["duration"] for run in runs if (folder(run) / RESULT).exists()]


def _result(folder: pathlib.Path) -> dict[str, Any]:
    return json.loads((folder / RESULT).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Tuned:
    """What was chosen.

    Args:
        tuning: what was tried.
        runs: of all settings that were tried.
        failed: those without a result, with the reason.
        folder: where the result of a run is.
    """

    tuning: Tuning
    runs: Sequence[Run]
    failed: dict[Run, str]
    folder: Folder

    @cached_property
    def _by_name(self) -> dict[tuple[str, int], Run]:
        return {(run.loss, run.seed): run for run in self.runs}

    @property
    def seeds(self) -> list[int]:
        return [*dict.fromkeys(run.seed for run in self.runs)]

    @cached_property
    def validation(self) -> dict[Run, float]:
        """The metric that decides, of each run that has it on its validation rows.

        Raises:
            ValueError: no run has it, or it is one of quantiles and the settings of a loss have too few in common.
        """
        results = {run: _result(self.folder(run)) for run in self.runs if run not in self.failed}
        roles = Roles.shared(result.get("roles", {}) for result in results.values())
        measured = {run: {**of["validation"], **self._by_roles(run, roles)} for run, of in results.items()}
        for loss in self.tuning.settings:
            self._measure_by_levels(loss, measured)
        name = self.tuning.choose_by
        found = {run: values[name] for run, values in measured.items() if np.isfinite(values.get(name, np.nan))}
        if measured and not found:
            there = ", ".join(dict.fromkeys(key for values in measured.values() for key in values))
            raise ValueError(
                f"--choose_by: {name} is not defined on the validation rows of any run; there are {there}. The runs "
                f"are kept: call it again with another metric."
            )
        return found

    def _by_roles(self, run: Run, roles: Roles) -> dict[str, float]:
        return {} if roles == Roles(None, None) else roles.measure(self._kept(run))

    def _measure_by_levels(self, loss: str, measured: Mapping[Run, dict[str, float]]) -> None:
        """Measure quantiles of the settings of a loss anew by those that all of them predict which predict some: errors
        of other quantiles are other numbers, and would not say which setting is better."""
        names = {setting.name for setting in self.tuning.settings[loss]}
        predict = [run for run, values in measured.items() if run.loss in names and "pinball_loss" in values]
        levels = {run: tuple(self._kept(run)[LEVELS].tolist()) for run in predict}
        common, by = common_levels(levels.values()), self.tuning.choose_by
        had = any(by in measured[run] for run in predict)
        for run in predict:
            if levels[run] != common:
                kept = self._kept(run)
                for name in quantile_values(kept):
                    del measured[run][name]
                measured[run].update(quantile_means(with_levels(kept, common)))
        if had and not any(by in measured[run] for run in predict):
            raise ValueError(
                f"--choose_by: {by} does not compare the settings of {loss}: the quantiles that all of them predict, "
                f"{', '.join(map(str, common)) or 'none'}, do not define it. The runs are kept: call it again with "
                f"another metric, or with quantiles that they share."
            )

    def _kept(self, run: Run) -> dict[str, np.ndarray]:
        """Return what a run has kept of its predictions of the validation rows."""
        with np.load(self.folder(run) / PREDICTIONS) as kept:
            names = [name for name in kept.files if name.startswith(VALIDATION)]
            return {name.removeprefix(VALIDATION): kept[name] for name in names}

    @cached_property
    def chosen(self) -> dict[tuple[str, int], Setting]:
        """The setting of each loss and seed; of equally good ones the one that was tried first."""
        sign = -1 if metric(self.tuning.choose_by).higher_is_better is False else 1
        return {
            (loss, seed): self._best(settings, seed, sign)
            for loss, settings in self.tuning.settings.items()
            for seed in self.seeds
        }

    def _best(self, settings: Sequence[Setting], seed: int, sign: int) -> Setting:
        runs = [(setting, self._by_name[setting.name, seed]) for setting in settings]
        scored = [(sign * self.validation[run], setting) for setting, run in runs if run in self.validation]
        # A loss of which nothing could be measured stands for itself, with its reason.
        return max(scored, key=lambda of: of[0])[1] if scored else settings[0]

    def results(
        self, margins: Mapping[str, float], *, as_given: bool = False, levels: tuple[float, ...] | None = None
    ) -> Results:
        """Return the results of the chosen settings, or of the losses as they were given.

        Args:
            margins: by metric.
            as_given: whether they are those of the losses as they were given.
            levels: of the quantiles to measure by, where not by all that they share.
        """
        runs: list[Run] = []
        folders: dict[Run, pathlib.Path] = {}
        failed: dict[Run, str] = {}
        for seed in self.seeds:
            for loss, settings in self.tuning.settings.items():
                setting = settings[0] if as_given else self.chosen[loss, seed]
                trained = self._by_name[setting.name, seed]
                run = replace(trained, loss=loss)
                runs.append(run)
                folders[run] = self.folder(trained)
                if trained in self.failed:
                    failed[run] = self.failed[trained]
        return Results.read(runs, folders.__getitem__, failed, margins, levels)

    def kept(self) -> list[dict[str, Any]]:
        """Return where each setting of a loss and seed has what is kept of it, and whether it was chosen."""
        return [
            {
                "loss": loss,
                "seed": seed,
                "setting": setting.changes or AS_GIVEN,
                "is_chosen": setting == self.chosen[loss, seed],
                "folder": str(self.folder(run)),
            }
            for seed in self.seeds
            for loss, settings in self.tuning.settings.items()
            for setting in settings
            if (run := self._by_name[setting.name, seed]) not in self.failed
        ]

    def pick(self, loss: str, is_kept: bool, choice: Choice) -> Pick:
        """Return the setting of a loss that most seeds have chosen, of equally many the one that was tried first; of
        the loss that is kept it is the loss as given, unless choosing was better on new rows."""
        settings = self.tuning.settings[loss]
        counts = Counter(self.chosen[loss, seed].name for seed in self.seeds)
        setting = max(settings, key=lambda of: counts[of.name])
        if is_kept and (choice.worth is None or choice.worth.verdict != BETTER):
            setting = settings[0]
        runs = {seed: self._by_name[setting.name, seed] for seed in self.seeds}
        folders = {seed: self.folder(run) for seed, run in runs.items() if run not in self.failed}
        chosen = f"Setting of {plain(loss)}: {plain(setting.changes) or AS_GIVEN}, chosen by {counts[setting.name]} of "
        return Pick(setting, folders, f"{chosen}{len(self.seeds)} seeds.")

    def choices(self, results: Results) -> list[Choice]:
        """Return what was chosen of each loss, and what that was worth on the test rows."""
        margins, given = results.margins, self.results(results.margins, as_given=True)
        if given.common_levels != results.common_levels:
            shared = common_levels([given.common_levels, results.common_levels])
            results, given = (self.results(margins, as_given=either, levels=shared) for either in (False, True))
        return [self._choice(loss, results, given) for loss in self.tuning.settings]

    def _choice(self, loss: str, results: Results, given: Results) -> Choice:
        settings, name = self.tuning.settings[loss], self.tuning.choose_by
        measured = [seed for seed in self.seeds if (loss, seed) in results.found]
        chosen = Counter(self.chosen[loss, seed].changes or AS_GIVEN for seed in measured)
        after, before = results.values(loss, name), given.values(loss, name)
        common = [seed for seed in after if seed in before]
        worth = compare_pairs(
            [after[seed] for seed in common],
            [before[seed] for seed in common],
            higher_is_better=metric(name).higher_is_better,
            rows=results.shared(loss, name, common, given) if len(common) >= FEWEST_SEEDS else None,
        )
        failed = sum(self._by_name[of.name, seed] in self.failed for of in settings for seed in self.seeds)
        counted = dict(chosen.most_common())
        if not common:
            return Choice(loss, len(settings), failed, counted, None, None, None)
        means = [float(np.mean([of[seed] for seed in common])) for of in (before, after)]
        return Choice(loss, len(settings), failed, counted, means[0], means[1], worth)


@dataclass(frozen=True)
class Choice:
    """Args:
    loss: as tables call it.
    tried: how many settings, the loss as given included.
    failed: how many of their runs.
    chosen: for how many seeds each setting was chosen.
    before: mean of the deciding metric on the test rows, as given; ``None`` where there is no result.
    after: the same, as chosen.
    worth: the difference.
    """

    loss: str
    tried: int
    failed: int
    chosen: dict[str, int]
    before: float | None
    after: float | None
    worth: Difference | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def section(choices: Sequence[Choice], choose_by: str, names: Mapping[str, str]) -> Section:
    """Return the table of what was chosen.

    Args:
        choices: of the losses.
        choose_by: the metric that has decided.
        names: what the losses are called in tables.
    """
    headers = ["loss", "tried", "chosen (seeds)", "as given", "chosen", "choosing was worth", "95 %, new rows"]
    lines = [_cells(choice, names[choice.loss]) for choice in choices]
    said = [
        f"Chosen by {choose_by} on the validation rows of each seed; the numbers here are {choose_by} on the test rows "
        f"of that seed, on which nothing was chosen."
    ]
    untuned = [names[choice.loss] for choice in choices if choice.tried == 1]
    if untuned and len(untuned) < len(choices):
        said.append(
            f"Nothing was tried of {', '.join(untuned)}, of others something: that favours the others. --try names "
            f"what to try."
        )
    failed = sum(choice.failed for choice in choices)
    if failed:
        said.append(
            f"{failed} runs of settings have failed and could not be chosen; the same command tries them again."
        )
    return Section("Settings", headers, lines, said)


def _cells(choice: Choice, name: str) -> list[str]:
    chosen = ", ".join(f"{plain(setting)} ({count})" for setting, count in choice.chosen.items())
    head = [name, str(choice.tried), chosen]
    if choice.worth is None or choice.before is None or choice.after is None:
        return [*head, "", "", "", ""]
    interval = choice.worth.new_rows
    digits = decimals([choice.before, choice.after])
    shown = "" if interval is None else f"{interval[0]:+.{digits}f} to {interval[1]:+.{digits}f}"
    before, after, worth = choice.before, choice.after, choice.worth.mean
    return [*head, f"{before:.{digits}f}", f"{after:.{digits}f}", f"{worth:+.{digits}f}", shown]
