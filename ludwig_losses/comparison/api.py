"""The comparison of losses on the data of a user."""

from __future__ import annotations

import contextlib
import importlib
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ludwig_losses.comparison import preparing
from ludwig_losses.comparison.files import held, whole
from ludwig_losses.comparison.plan import SPLITS, Run, checked_margins, numbered_seeds
from ludwig_losses.comparison.pool import Crew
from ludwig_losses.comparison.preparing import Asked, Planned
from ludwig_losses.comparison.session import Session
from ludwig_losses.comparison.threshold import Goal

if TYPE_CHECKING:
    import pandas as pd

    from ludwig_losses.comparison.answer import Answer, Pick
    from ludwig_losses.comparison.results import Results
    from ludwig_losses.comparison.tuning import Choice, Tuned


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
        reasons; ``attrs["runs"]`` the folder of each loss, seed and setting, with its predictions and, if they are
        kept, its ``model``; ``attrs["settings"]`` what was tried and chosen of each loss; ``attrs["calibration"]`` the
        calibration of each loss before and after; ``attrs["answer"]`` what to do, with the YAML to paste.

    Raises:
        ValueError: an argument, the configuration or one of the losses is wrong, the data lacks a column, or another
            comparison is writing to the output directory.
        OSError: there is no such file, or one could not be written.
    """
    begin = time.monotonic()
    margins, output = _checked(split, workers, gpus, margins, miss_cost), pathlib.Path(output_directory)
    asked = Asked.of(
        config,
        dataset,
        losses,
        output,
        seeds=numbered_seeds(seeds),
        output_feature=output_feature,
        split=split,
        noise=noise,
        baseline=baseline,
        tune=tune,
        tries=tries,
        choose_by=choose_by,
        budget=budget,
        miss_cost=miss_cost,
        margins=[*margins],
    )
    with Crew(workers, gpus) as crew:
        planned, runs = _planned(asked, crew)
        session = Session(output, crew, keep_models, quiet)
        (output / "runs").mkdir(parents=True, exist_ok=True)
        with held(output), _readable(dataset, asked.path):
            session.say(planned.equal)
            trained = _trained(planned, runs, session, margins)
            crew.stop()
            answer = _answer(trained, planned.decides, Goal(miss_cost))
            session.say(_report(trained, answer, output, time.monotonic() - begin))
    return _frame(trained, answer)


def _planned(asked: Asked, crew: Crew) -> tuple[Planned, list[Run]]:
    """Check what was asked for, and plan its runs: where Ludwig is not imported yet, in a process that will train."""
    if preparing.is_imported():
        return asked.planned()
    crew.begin()
    # The tables need it, and the other process is importing, too.
    importlib.import_module("ludwig_losses.comparison.report")
    return crew.call(asked.planned)


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


def _trained(planned: Planned, runs: Sequence[Run], session: Session, margins: Mapping[str, float]) -> _Trained:
    """Train what is not there yet, and read all results."""
    from ludwig_losses.comparison import report, tuning
    from ludwig_losses.comparison.results import Results

    if planned.tuning is None:
        kept = sum(map(session.is_done, runs))
        failed = session.train(runs, report.announcement(runs, kept, session.output, session.keep_models))
        return _Trained(Results.read(runs, session.folder, failed, margins), failed)
    tuned = tuning.tune(planned.tuning, runs, session.folder, session.train, session.crew.count)
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
    frame.attrs["runs"] = (trained.tuned or trained.results).kept()
    frame.attrs["settings"] = [choice.as_dict() for choice in trained.choices]
    frame.attrs["differences"] = trained.results.differences()
    frame.attrs["calibration"] = calibration.summary(trained.results)
    frame.attrs["answer"] = None if answer is None else answer.as_dict()
    return frame


def _checked(split: str, workers: int, gpus: Any, margins: Any, miss_cost: Any) -> dict[str, float]:
    """Check the options that depend on nothing else; return the margins."""
    if split not in SPLITS:
        raise ValueError(f"--split: got {split!r}, expected one of {', '.join(SPLITS)}.")
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"--workers: got {workers!r}, expected a number from 1.")
    if gpus is not None and not (isinstance(gpus, Sequence) and all(isinstance(gpu, int) for gpu in gpus)):
        raise ValueError(f"--gpus: got {gpus!r}, expected a list of numbers.")
    if miss_cost is not None and not (isinstance(miss_cost, (int, float)) and 0 < miss_cost < float("inf")):
        raise ValueError(f"--miss_cost: got {miss_cost!r}, expected a positive number.")
    if not isinstance(margins or {}, Mapping):
        raise ValueError(f"--margin: got {margins!r}, expected a mapping: {{'accuracy': 0.01}}.")
    return checked_margins(margins or {})


@contextlib.contextmanager
def _readable(dataset: Any, path: str) -> Iterator[None]:
    """A context in which data can be read at a path; a table is kept there until its end."""
    if isinstance(dataset, (str, pathlib.Path)):
        yield
        return
    kept = pathlib.Path(path)
    try:
        with whole(kept) as part:
            dataset.to_pickle(part)
        yield
    finally:
        kept.unlink(missing_ok=True)
