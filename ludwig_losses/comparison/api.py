"""The comparison of losses on the data of a user."""

from __future__ import annotations

import copy
import pathlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ludwig_losses.comparison.plan import (
    FRAME,
    MODEL,
    RESULT,
    SPLITS,
    Run,
    fingerprint,
    frame_fingerprint,
    named_losses,
    numbered_seeds,
    output_index,
    plan,
    with_batch_sizes,
)

if TYPE_CHECKING:
    import pandas as pd


def compare(
    config: str | pathlib.Path | dict[str, Any],
    dataset: str | pathlib.Path | pd.DataFrame,
    losses: Iterable[Any] | Mapping[str, Any] | None = None,
    *,
    seeds: int | Iterable[int] = 5,
    output_feature: str | None = None,
    output_directory: str | pathlib.Path = "results/compare",
    split: str = "test",
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
        output_directory: for the results, and for what is kept of each run.
        split: the rows to measure on: ``test`` or, to choose settings, ``validation``.
        workers: processes that train side by side.
        gpus: the numbers of those to use; ``[-1]`` uses none, ``None`` what Ludwig uses by default.
        keep_models: whether to keep the trained models.
        quiet: print nothing.

    Returns:
        A row for each loss, seed and metric, with the columns ``loss``, ``seed``, ``metric`` and ``value``;
        ``attrs["failed"]`` lists the runs that have failed, with their reasons.

    Raises:
        ValueError: an argument, the configuration or one of the losses is wrong.
        FileNotFoundError: there is no such file.
    """
    from ludwig_losses.comparison import report
    from ludwig_losses.comparison.results import Results

    begin = time.monotonic()
    if split not in SPLITS:
        raise ValueError(f"--split: got {split!r}, expected one of {', '.join(SPLITS)}.")
    if workers < 1:
        raise ValueError(f"--workers: got {workers}, expected a number from 1.")
    output = pathlib.Path(output_directory)
    runs = _planned(config, dataset, losses, numbered_seeds(seeds), output_feature, output, split)
    left = [run for run in runs if not _is_done(run, output, keep_models)]
    say = _silence if quiet else _say
    say(report.announcement(runs, len(runs) - len(left), output, keep_models))
    failed = _train(left, output, len(runs), workers=workers, gpus=gpus, keep_models=keep_models, quiet=quiet)
    (output / FRAME).unlink(missing_ok=True)
    results = Results.read(runs, lambda run: _folder(run, output), failed)
    say(report.write(results, output, time.monotonic() - begin))
    frame = results.frame()
    frame.attrs["failed"] = [{"loss": run.loss, "seed": run.seed, "reason": why} for run, why in failed.items()]
    return frame


def _planned(
    config: str | pathlib.Path | dict[str, Any],
    dataset: Any,
    losses: Any,
    seeds: list[int],
    output_feature: str | None,
    output: pathlib.Path,
    split: str,
) -> list[Run]:
    """Return the runs, none of which is wrong from the start."""
    named = None if losses is None else named_losses(losses)
    is_path = isinstance(dataset, (str, pathlib.Path))
    data = fingerprint(dataset) if is_path else frame_fingerprint(dataset)
    from ludwig_losses.comparison import candidates
    from ludwig_losses.host import dry_run
    from ludwig_losses.host.config.schemas import each_checked_once

    where = "config" if isinstance(config, dict) else str(config)
    read = with_batch_sizes(copy.deepcopy(config) if isinstance(config, dict) else dry_run.read(where))
    index = output_index(read, output_feature)
    with each_checked_once():
        if named is None:
            named = candidates.default_losses(read, index)
        candidates.check(where, read, index, named)
    (output / "runs").mkdir(parents=True, exist_ok=True)
    return plan(
        read,
        named,
        seeds,
        index=index,
        dataset=str(pathlib.Path(dataset).absolute()) if is_path else _saved(dataset, output),
        data=data,
        split=split,
        pairing_loss=candidates.pairing_loss(read, index, named),
        preparing_loss=candidates.mask_reading_loss(read, index, named),
    )


def _saved(frame: pd.DataFrame, output: pathlib.Path) -> str:
    path = (output / FRAME).absolute()
    frame.to_pickle(path)
    return str(path)


def _folder(run: Run, output: pathlib.Path) -> pathlib.Path:
    return output / "runs" / run.folder


def _is_done(run: Run, output: pathlib.Path, keep_models: bool) -> bool:
    folder = _folder(run, output)
    return (folder / RESULT).exists() and (not keep_models or (folder / MODEL).exists())


def _train(
    runs: Sequence[Run],
    output: pathlib.Path,
    total: int,
    *,
    workers: int,
    gpus: Sequence[int] | None,
    keep_models: bool,
    quiet: bool,
) -> dict[Run, str]:
    """Do the runs without a result; return why some have failed."""
    from tqdm import tqdm

    from ludwig_losses.comparison.pool import do_all

    failed: dict[Run, str] = {}
    with tqdm(total=total, initial=total - len(runs), unit="run", disable=quiet or not runs) as bar:

        def done(run: Run, reason: str | None) -> None:
            bar.update()
            if reason is not None:
                failed[run] = reason
                bar.write(f"Failed: {run.loss}, seed {run.seed}: {reason}", file=sys.stderr)

        do_all(
            runs,
            lambda run: _folder(run, output),
            done,
            workers=workers,
            gpus=gpus,
            keep_models=keep_models,
            log_folder=output / "runs",
        )
    return failed


def _say(lines: Iterable[str]) -> None:
    print(*lines, sep="\n", flush=True)


def _silence(lines: Iterable[str]) -> None:
    pass
