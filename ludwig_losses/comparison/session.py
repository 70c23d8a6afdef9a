"""Where the runs of one call are kept, and the processes that train those without a result."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ludwig_losses.comparison import pool
from ludwig_losses.comparison.plan import MODEL, RESULT, Run


@dataclass(frozen=True)
class Session:
    """One call of a comparison.

    Args:
        output: the directory for the results.
        crew: processes that train side by side.
        keep_models: whether to keep the trained models.
        quiet: print nothing.
    """

    output: pathlib.Path
    crew: pool.Crew
    keep_models: bool
    quiet: bool

    def folder(self, run: Run) -> pathlib.Path:
        """Return where a run leaves its result."""
        return self.output / "runs" / run.folder

    def is_done(self, run: Run) -> bool:
        """Whether a run has its result, and its model where models are kept."""
        folder = self.folder(run)
        return (folder / RESULT).exists() and (not self.keep_models or (folder / MODEL).exists())

    def say(self, lines: Iterable[str]) -> None:
        """Print lines."""
        if not self.quiet:
            print(*lines, sep="\n", flush=True)

    def train(self, runs: Sequence[Run], said: Iterable[str]) -> dict[Run, str]:
        """Say something, and do the runs without a result; return why some have failed."""
        from tqdm import tqdm

        self.say(said)
        left = [run for run in runs if not self.is_done(run)]
        failed: dict[Run, str] = {}
        with tqdm(total=len(runs), initial=len(runs) - len(left), unit="run", disable=self.quiet or not left) as bar:

            def done(run: Run, reason: str | None) -> None:
                bar.update()
                if reason is not None:
                    failed[run] = reason
                    bar.write(f"Failed: {run.loss}, seed {run.seed}: {reason}", file=sys.stderr)

            pool.do_all(
                left,
                self.folder,
                done,
                crew=self.crew,
                keep_models=self.keep_models,
                log_folder=self.output / "runs",
            )
        return failed
