"""What the numbers of all tables and seeds say: two tables and a picture."""

from __future__ import annotations

import pathlib

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

DIGITS = 4
NUMBERS = ("coverage", "width", "score")


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that are kept, widths and scores in standard deviations of the target of a table."""
    frame = frame.assign(**{name: frame[name] / frame["deviation"] for name in ("width", "score")})
    return frame[["table", "rows", "method", "seed", "level", *NUMBERS]].round(DIGITS)


def methods(frame: pd.DataFrame) -> str:
    """Return the means over tables and seeds for each method and level."""
    titles = ["method", "interval", "coverage", "lowest and highest table", "width", "interval score"]
    facts = f"- {frame['table'].nunique()} tables, {frame['seed'].nunique()} seeds."
    lines = [facts, "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for level, of_level in frame.groupby("level", sort=False):
        for method, rows in of_level.groupby("method", sort=False):
            of_tables = rows.groupby("table")["coverage"].mean()
            shares = f"{of_tables.mean():.1%}", f"{of_tables.min():.1%} to {of_tables.max():.1%}"
            cells = [method, f"{level:.0%}", *shares, f"{rows['width'].mean():.2f}", f"{rows['score'].mean():.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def single_tables(frame: pd.DataFrame) -> str:
    """Return coverage and width of the 90 % intervals for each table, means over the seeds."""
    frame = frame[frame["level"] == 0.9]
    names = [*frame["method"].unique()]
    lines = [f"| table | rows | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for (table, rows), of_table in frame.groupby(["table", "rows"], sort=False):
        means = of_table.groupby("method")[["coverage", "width"]].mean()
        cells = [f"{means.coverage[name]:.1%}, {means.width[name]:.2f}" for name in names]
        lines.append(f"| {table} | {rows} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(frame: pd.DataFrame, path: pathlib.Path) -> None:
    """Draw the coverage of each table, and the width beside it."""
    names, levels = [*frame["method"].unique()], [*frame["level"].unique()]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "intervals", "font.size": 9}):
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots(2, len(levels), sharey=True, sharex="row")
        for column, level in enumerate(levels):
            for row, number in enumerate(("coverage", "width")):
                axis, of_level = axes[row, column], frame[frame["level"] == level]
                means = of_level.groupby(["method", "table"])[number].mean()
                for place, name in enumerate(names):
                    axis.plot(means[name], [place] * len(means[name]), "o", color=f"C{place}", alpha=0.4, markersize=4)
                    axis.plot(means[name].mean(), place, "|", color=f"C{place}", markersize=14, markeredgewidth=2.5)
                axis.spines[["top", "right"]].set_visible(False)
                axis.set_xlabel("coverage" if row == 0 else "width, standard deviations of the target")
            axes[0, column].axvline(level, color="0.3", linewidth=0.8, linestyle="--", zorder=0)
            axes[0, column].set_title(f"intervals of {level:.0%}", fontsize=9)
        axes[0, 0].set_yticks(np.arange(len(names)), names)
        axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
        figure.savefig(path, metadata={"Date": None})


def of_series(frame: pd.DataFrame) -> str:
    """Return what each method reaches on each series, means over the seeds."""
    titles = [f"interval of {level:.0%}: coverage, width | score" for level in frame["level"].unique()]
    lines = [f"- {frame['seed'].nunique()} seeds.", "", f"| series, rows | method | {' | '.join(titles)} |"]
    lines.append("|---" * (2 + 2 * len(titles)) + "|")
    for (name, rows, method), of_method in frame.groupby(["table", "rows", "method"], sort=False):
        means = of_method.groupby("level", sort=False)[[*NUMBERS]].mean()
        cells = [f"{row.coverage:.1%}, {row.width:.2f} | {row.score:.2f}" for row in means.itertuples()]
        lines.append(f"| {name}, {rows} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_series(frame: pd.DataFrame, folder: pathlib.Path) -> None:
    """Write what was measured on series."""
    frame = rounded(frame)
    frame.to_csv(folder / "series.csv", index=False)
    (folder / "series.md").write_text(of_series(frame))


def write(frame: pd.DataFrame, folder: pathlib.Path) -> None:
    """Write everything."""
    frame = rounded(frame)
    frame.to_csv(folder / "intervals.csv", index=False)
    (folder / "table.md").write_text(methods(frame))
    (folder / "tables.md").write_text(single_tables(frame))
    plot(frame, folder / "coverage.svg")
