"""One picture of what a loss gains on many tables, and of what it does not: ``python examples/many_tables/gain.py``.

It shows the committed numbers of ``imbalance.csv``, and ``gain.md`` has them as a table; `make docs-write` renews both.
"""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pandas as pd
from summary import LEVEL, SAMPLES, read

from ludwig_losses.metrics.catalogue import metric as described

HERE = pathlib.Path(__file__).parent
LOSS, REFERENCE = "logit_adjusted_loss", "cross-entropy"
SHOWN = "balanced_accuracy"
NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "average_precision": "average precision",
    "log_loss": "log loss",
}


def gains() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the deciding metric of both losses by table, and of each metric the means and their difference."""
    frame = read(HERE / "imbalance.csv")
    comparisons = frame.loss.nunique() - 1
    means = frame.pivot_table(index=["metric", "table"], columns="loss", values="value", sort=False)
    rows = [_difference(name, means.loc[name], comparisons) for name in NAMES]
    return means.loc[SHOWN][[REFERENCE, LOSS]].sort_values([REFERENCE, LOSS]), pd.DataFrame(rows)


def _difference(name: str, means: pd.DataFrame, comparisons: int) -> dict[str, object]:
    """Return how much higher a metric is, with an interval over tables: the bootstrap of the page."""
    difference = (means[LOSS] - means[REFERENCE]).to_numpy()
    drawn = np.random.default_rng(0).integers(len(difference), size=(SAMPLES, len(difference)))
    tail = (1 - LEVEL) / comparisons / 2
    low, high = np.quantile(difference[drawn].mean(axis=1), [tail, 1 - tail])
    sign = 1 if described(name).higher_is_better else -1
    ends = sorted((sign * low, sign * high))
    verdict = "better" if ends[0] > 0 else "worse" if ends[1] < 0 else "no difference"
    found = {"before": means[REFERENCE].mean(), "after": means[LOSS].mean(), "low": low, "high": high}
    rounded = {key: round(float(value), 3) for key, value in found.items()}
    return {"metric": name, "verdict": verdict, "difference": round(float(difference.mean()), 3), **rounded}


def sentence() -> str:
    """Return what the picture shows, in words."""
    tables, found = gains()
    shown, *others = found.to_dict("records")
    changes = {
        verdict: " and ".join(
            f"{NAMES[row['metric']]} ({row['before']:.3f} before, {row['after']:.3f} after)"
            for row in others
            if row["verdict"] == verdict
        )
        for verdict in ("no difference", "worse")
    }
    interval = f"{LEVEL * 100:.0f} % interval from {shown['low']:.3f} to {shown['high']:.3f} over tables"
    return (
        f"On {len(tables)} real tables with a rare class, `{LOSS}` instead of {REFERENCE} raises the balanced accuracy "
        f"from {_change(shown)}: by {shown['difference']:.3f}, with a {interval}.\n"
        f"No difference was found in {changes['no difference']}; {changes['worse']} became worse."
    )


def table() -> str:
    """Return what the picture shows as a table: the differences of the means, with their intervals."""
    tables, found = gains()
    lines = [f"| {LOSS} against {REFERENCE} | before | after | difference | {LEVEL * 100:.0f} % interval | |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in found.to_dict("records"):
        numbers = f"{row['before']:.3f} | {row['after']:.3f} | {row['difference']:+.3f}"
        lines.append(f"| {row['metric']} | {numbers} | {row['low']:+.3f} to {row['high']:+.3f} | {row['verdict']} |")
    interval = "interval over tables (bootstrap, corrected for the number of losses)"
    return "\n".join([*lines, "", f"Means over {len(tables)} tables and their seeds; {interval}.", ""])


def _change(row: dict) -> str:
    return f"{row['before']:.3f} to {row['after']:.3f}"


def described_numbers() -> str:
    """Return the numbers of the picture as JSON, which the file keeps as its description."""
    tables, found = gains()
    return json.dumps({"tables": tables.round(4).values.tolist(), "metrics": found.to_dict("records")})


def draw(path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tables, found = gains()
    with matplotlib.rc_context({"svg.hashsalt": "gain"}):  # the same file for the same numbers
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(1.5, 1), layout="constrained")
        _draw_tables(left, tables)
        _draw_metrics(right, found)
        figure.savefig(path, metadata={"Date": None, "Description": described_numbers()})


def _draw_tables(axis: object, tables: pd.DataFrame) -> None:
    rows = np.arange(len(tables))[::-1]
    axis.hlines(rows, tables[REFERENCE], tables[LOSS], color="0.75", linewidth=2)
    axis.plot(tables[REFERENCE], rows, "o", color="0.45", label="cross-entropy")
    axis.plot(tables[LOSS], rows, "o", color="C0", label=LOSS)
    axis.set(xlim=(0.47, 1.02), yticks=[], title=f"{len(tables)} tables with a rare class, a line each")
    axis.set_xlabel("balanced accuracy (0.5: the rare class is never found)")
    axis.legend(loc="lower left", frameon=False)


def _draw_metrics(axis: object, found: pd.DataFrame) -> None:
    rows = np.arange(len(found))[::-1]
    colours = {"better": "C0", "worse": "C3", "no difference": "0.45"}
    for at, row in zip(rows, found.to_dict("records"), strict=True):
        spread = [[row["difference"] - row["low"]], [row["high"] - row["difference"]]]
        axis.errorbar(row["difference"], at, xerr=spread, fmt="o", capsize=4, color=colours[row["verdict"]])
        text = f"{NAMES[row['metric']]}: {row['verdict']} ({_change(row)})"
        axis.annotate(text, (0, at), (0, 12), textcoords="offset points", ha="center", color=colours[row["verdict"]])
    axis.axvline(0, color="0.6", linestyle="--", linewidth=0.8)
    axis.set(xlim=(-0.26, 0.26), ylim=(-0.5, len(found) - 0.2), yticks=[])
    axis.set_title("What is gained, and what is not")
    axis.set_xlabel(f"mean difference to cross-entropy, {LEVEL:.0%} interval".replace("95%", "95 %"))


def write() -> None:
    """Write the picture and the table."""
    draw(HERE / "gain.svg")
    (HERE / "gain.md").write_text(table())


if __name__ == "__main__":
    write()
