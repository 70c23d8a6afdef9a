"""The comparison of losses on the data of a user."""

from __future__ import annotations

import contextlib
import copy
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ludwig_losses.comparison.baseline import Baseline
from ludwig_losses.comparison.files import held, whole
from ludwig_losses.comparison.plan import (
    FRAME,
    SPLITS,
    Loss,
    Run,
    check_columns,
    checked_margins,
    fingerprint_of,
    named_losses,
    numbered_seeds,
    output_index,
    plan,
    with_batch_sizes,
)
from ludwig_losses.comparison.session import Session
from ludwig_losses.comparison.settings import Budget, deciding_metric, read_budget, read_tries
from ludwig_losses.comparison.threshold import Goal
from ludwig_losses.metrics.catalogue import judging

if TYPE_CHECKING:
    import pandas as pd

    from ludwig_losses.comparison.answer import Answer, Pick
    from ludwig_losses.comparison.results import Results
    from ludwig_losses.comparison.tuning import Choice, Tuned, Tuning


def compare(
    config: str | pathlib.Path | dict[str, Any],
    dataset: str | pathlib.Path | pd.DataFrame,
    losses: Iterable[Any] | Mapping[str, Any] | None = None,
    *,
    seeds: int | Iterable[int] = 5,
    output_feature: str | None = None,
    output_directory: str | pathlib.Path = "results/compare",
    split: str = "test",
    margins: Mapping[str, float] | None = None,
    noise: bool = False,
    baseline: str | pathlib.Path | None = None,
    tune: bool = False,
    tries: Iterable[Any] | Mapping[str, Any] | None = None,
    choose_by: str | None = None,
    budget: int | str | None = None,
    miss_cost: float | None = None,
    workers: int = 1,
    gpus: Sequence[int] | None = None,
    keep_models: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Train a configuration with each of several losses and seeds, and measure all of them on the same held-out rows.

    Split, shuffling and initial weights depend on the seed only, so that losses are compared in pairs. Finished runs
    are kept in the output directory, and the same call goes on after an interrupt.

    Args:
        config: a configuration, or the path of one.
        dataset: data, or the path of some.
        losses: names, sections, or sections by names for tables; ``None`` takes the configuration's own and every one
            of the catalogue that fits the feature and needs nothing from the user.
        seeds: how many, or which.
        output_feature: which one, where there are several.
        output_directory: for the results, and for what is kept of each run; one call at a time writes to it.
        split: the rows to measure on: ``test`` or, to choose settings, ``validation``.
        margins: by metric, up to which difference two losses are practically equal, where that is not the default.
        noise: whether to train with the first loss a second time, on its rows in another order: what differs is noise.
        baseline: the results folder of ``ludwig train``, whose model is a row of the tables.
        tune: whether to try settings of each loss, chosen on the validation rows of a seed, measured on its test rows.
        tries: values by loss and parameter, ``{"focal_loss": {"gamma": [1, 2, 5]}}``, instead of those that the losses
            declare; implies ``tune``.
        choose_by: the metric that decides, among losses and among settings; ``None`` takes the one that judges models
            of the feature.
        budget: how much may be trained with ``tune``: a number of runs, or a time, as ``"30m"`` or ``"2h"``.
        miss_cost: what a missed positive of a binary feature costs, in false alarms: the threshold is chosen for the
            least costs; ``None`` chooses it for F1.
        workers: processes that train side by side.
        gpus: the numbers of those to use; ``[-1]`` uses none, ``None`` what Ludwig uses by default.
        keep_models: whether to keep the trained models.
        quiet: print nothing.

    Returns:
        A row for each loss, seed and metric, with the columns ``loss``, ``seed``, ``metric`` and ``value``.
        ``attrs["differences"]`` lists what the tables say of each loss and metric: the mean difference to the first
        loss, its intervals, probabilities and verdict; ``attrs["failed"]`` the runs that have failed, with their
        reasons; ``attrs["settings"]`` what was tried and chosen of each loss; ``attrs["calibration"]`` the calibration
        of each loss before and after; ``attrs["answer"]`` what to do, with the YAML to paste.

    Raises:
        ValueError: an argument, the configuration or one of the losses is wrong, the data lacks a column, or another
            comparison is writing to the output directory.
        OSError: there is no such file, or one could not be written.
    """
    begin = time.monotonic()
    margins = _checked(split, workers, margins, miss_cost)
    planned = _prepared(config, dataset, losses, numbered_seeds(seeds), output_feature, split, choose_by)
    _check_costs(planned, miss_cost)
    if baseline is not None:
        planned = replace(planned, baseline=Baseline.read(baseline))
    planned = _with_choices(planned, tune, tries, budget, noise)
    session = Session(pathlib.Path(output_directory), workers, gpus, keep_models, quiet)
    (session.output / "runs").mkdir(parents=True, exist_ok=True)
    with held(session.output), _readable(dataset, planned.data, session.output) as path:
        session.say(planned.equal)
        trained = _trained(planned, planned.runs(path, noise), session, margins)
        answer = _answer(trained, planned.decides, Goal(miss_cost))
        session.say(_report(trained, answer, session.output, time.monotonic() - begin))
    return _frame(trained, answer)


@dataclass(frozen=True)
class _Trained:
    """What is there when the last run has ended.

    Args:
        results: of each loss, with the settings that were chosen.
        failed: the runs without a result, with the reasons.
        tuned: the settings that were tried, if there are some.
        choices: what was chosen of each loss.
    """

    results: Results
    failed: Mapping[Run, str]
    tuned: Tuned | None = None
    choices: Sequence[Choice] = ()

    def pick(self, loss: str, is_kept: bool) -> Pick:
        """Return the setting of a loss to write into the configuration."""
        from ludwig_losses.comparison.answer import Pick
        from ludwig_losses.comparison.settings import Setting

        if self.tuned is not None:
            choice = next(choice for choice in self.choices if choice.loss == loss)
            return self.tuned.pick(loss, is_kept, choice)
        run = next(run for run in self.results.runs if run.loss == loss)
        (feature,) = (feature for feature in run.config["output_features"] if feature["name"] == run.feature)
        folders = {seed: folder for (of, seed), folder in self.results.folders.items() if of == loss}
        found = {seed: folder for seed, folder in folders.items() if (loss, seed) in self.results.found}
        return Pick(Setting(loss, feature["loss"]), found)


def _trained(planned: _Planned, runs: Sequence[Run], session: Session, margins: Mapping[str, float]) -> _Trained:
    """Train what is not there yet, and read all results."""
    from ludwig_losses.comparison import report, tuning
    from ludwig_losses.comparison.results import Results

    if planned.tuning is None:
        kept = sum(map(session.is_done, runs))
        failed = session.train(runs, report.announcement(runs, kept, session.output, session.keep_models))
        return _Trained(Results.read(runs, session.folder, failed, margins), failed)
    tuned = tuning.tune(planned.tuning, runs, session.folder, session.train, session.workers)
    results = tuned.results(margins)
    return _Trained(results, tuned.failed, tuned, tuned.choices(results))


def _answer(trained: _Trained, decides: str | None, goal: Goal) -> Answer | None:
    from ludwig_losses.comparison import answer, report

    names = report.short_names(trained.results.losses)
    return answer.decided(trained.results, names, decides, trained.pick, goal)


def _report(trained: _Trained, answer: Answer | None, output: pathlib.Path, seconds: float) -> list[str]:
    """Write the files; return what is to be printed."""
    from ludwig_losses.comparison import calibration, report, tuning

    names = report.short_names(trained.results.losses)
    sections = calibration.sections(trained.results, names)
    if trained.tuned is not None:
        sections.insert(0, tuning.section(trained.choices, trained.tuned.tuning.choose_by, names))
    return report.write(trained.results, output, seconds, sections, answer)


def _frame(trained: _Trained, answer: Answer | None) -> pd.DataFrame:
    from ludwig_losses.comparison import calibration

    frame = trained.results.frame()
    failed = trained.failed.items()
    frame.attrs["failed"] = [{"loss": run.loss, "seed": run.seed, "reason": why} for run, why in failed]
    frame.attrs["settings"] = [choice.as_dict() for choice in trained.choices]
    frame.attrs["differences"] = trained.results.differences()
    frame.attrs["calibration"] = calibration.summary(trained.results)
    frame.attrs["answer"] = None if answer is None else answer.as_dict()
    return frame


def _checked(
    split: str, workers: int, margins: Mapping[str, float] | None, miss_cost: float | None
) -> dict[str, float]:
    """Check the options that depend on nothing else; return the margins."""
    if split not in SPLITS:
        raise ValueError(f"--split: got {split!r}, expected one of {', '.join(SPLITS)}.")
    if workers < 1:
        raise ValueError(f"--workers: got {workers}, expected a number from 1.")
    if miss_cost is not None and not 0 < miss_cost < float("inf"):
        raise ValueError(f"--miss_cost: got {miss_cost}, expected a positive number.")
    return checked_margins(margins or {})


def _check_costs(planned: _Planned, miss_cost: float | None) -> None:
    """Raise a ValueError for costs where no threshold is chosen."""
    feature = planned.config["output_features"][planned.index]
    where = "a threshold is chosen for binary features, with --split test."
    if miss_cost is not None and feature["type"] != "binary":
        raise ValueError(
            f"--miss_cost: got {miss_cost:g}, but {feature['name']!r} is a {feature['type']} feature: {where}"
        )
    if miss_cost is not None and planned.split != "test":
        raise ValueError(f"--miss_cost: got {miss_cost:g}, but --split is {planned.split}: {where}")


@dataclass(frozen=True)
class _Planned:
    """What is going to be compared, none of which is wrong from the start.

    Args:
        config: the configuration.
        index: of the output feature.
        losses: by name, each once.
        equal: what is to be said of those that are the same.
        seeds: one run of each loss for each.
        split: the rows to measure on.
        data: fingerprint of the data.
        where: the configuration, for messages.
        decides: the metric by which a loss is taken or kept, if there is one.
        tuning: what is tried of each loss, if settings are to be chosen.
        baseline: a model that is there already, if there is one.
    """

    config: dict[str, Any]
    index: int
    losses: dict[str, Loss]
    equal: list[str]
    seeds: list[int]
    split: str
    data: str
    where: str
    decides: str | None
    tuning: Tuning | None = None
    baseline: Baseline | None = None

    def tuned(self, tries: Any, budget: Budget) -> _Planned:
        """Return the same with settings to choose among."""
        from ludwig_losses.comparison import trying
        from ludwig_losses.comparison.tuning import Tuning
        from ludwig_losses.host.config.schemas import each_checked_once

        by = deciding_metric(self.config["output_features"][self.index]["type"], self.decides)
        values = read_tries(tries, self.losses)
        with each_checked_once():
            settings = trying.all_settings(self.where, self.config, self.index, self.losses, values)
        return replace(self, tuning=Tuning(by, settings, budget).within_budget(len(self.seeds)))

    def runs(self, dataset: str, noise: bool) -> list[Run]:
        """Return the runs on data at a path."""
        from ludwig_losses.comparison import candidates

        settings = {} if self.tuning is None else self.tuning.all
        losses = {name: setting.loss for name, setting in settings.items()} or self.losses
        found = plan(
            self.config,
            losses,
            self.seeds,
            index=self.index,
            dataset=dataset,
            data=self.data,
            split=self.split,
            pairing_loss=candidates.pairing_loss(self.config, self.index, losses),
            preparing_loss=candidates.preparing_loss(self.config, self.index, losses),
            noise=noise,
        )
        if not settings:
            return found if self.baseline is None else [*found, self.baseline.run(found)]
        configs = {name: setting.config(self.config, self.index) for name, setting in settings.items()}
        return [replace(run, config=configs[run.loss], validated=True) for run in found]


def _with_choices(planned: _Planned, tune: bool, tries: Any, budget: int | str | None, noise: bool) -> _Planned:
    """Return the same with settings to choose among, if there are some."""
    if tune or tries is not None:
        _check_tunes(planned, noise)
        return planned.tuned(tries or {}, read_budget(budget))
    if budget is not None:
        raise ValueError("--budget: more runs are for more settings, which need --tune or --try.")
    return planned


def _check_tunes(planned: _Planned, noise: bool) -> None:
    if planned.split != "test":
        raise ValueError(
            f"--split: got {planned.split!r}; --tune chooses on the validation rows and measures on the test rows."
        )
    if noise:
        raise ValueError("--noise trains with the first loss as given: it cannot be combined with --tune or --try.")
    if planned.baseline is not None:
        raise ValueError("--baseline is a model as it was trained: it cannot be combined with --tune or --try.")


def _prepared(
    config: str | pathlib.Path | dict[str, Any],
    dataset: Any,
    losses: Any,
    seeds: list[int],
    output_feature: str | None,
    split: str,
    choose_by: str | None,
) -> _Planned:
    """Check everything that can be checked before the first run."""
    named = None if losses is None else named_losses(losses)
    data = fingerprint_of(dataset)
    from ludwig_losses.comparison import candidates
    from ludwig_losses.host import dry_run
    from ludwig_losses.host.config.schemas import each_checked_once

    where = "config" if isinstance(config, dict) else str(config)
    read = with_batch_sizes(copy.deepcopy(config) if isinstance(config, dict) else dry_run.read(where))
    index = output_index(read, output_feature)
    columns = _columns(dataset)
    if columns is not None:
        check_columns(read, columns)
    with each_checked_once():
        if named is None:
            named = candidates.default_losses(read, index)
        named = candidates.with_defaults(read, index, named)
        candidates.check(where, read, index, named)
        feature = read["output_features"][index]["type"]
        decides = judging(feature) if choose_by is None else deciding_metric(feature, choose_by)
        equal = candidates.equal_losses(read, index, named)
    said = [
        f"{name} is {first}, with the same parameters: it is trained and counted once." for name, first in equal.items()
    ]
    named = {name: loss for name, loss in named.items() if name not in equal}
    return _Planned(read, index, named, said, seeds, split, data, where, decides)


def _columns(dataset: Any) -> list[Any] | None:
    """Return the columns of a table, or of a CSV file as its first line has them; ``None`` where a run will tell."""
    if not isinstance(dataset, (str, pathlib.Path)):
        return [*dataset.columns]
    if pathlib.Path(dataset).suffix.lower() != ".csv":
        return None
    import ludwig.utils.data_utils
    import pandas as pd

    return [*ludwig.utils.data_utils.read_csv(str(dataset), pd, nrows=1).columns]


@contextlib.contextmanager
def _readable(dataset: Any, data: str, output: pathlib.Path) -> Iterator[str]:
    """A context with a path of the data; a table is kept there until its end."""
    if isinstance(dataset, (str, pathlib.Path)):
        yield str(pathlib.Path(dataset).absolute())
        return
    path = (output / FRAME.format(data)).absolute()
    try:
        with whole(path) as part:
            dataset.to_pickle(part)
        yield str(path)
    finally:
        path.unlink(missing_ok=True)
