"""Which loss? ``python examples/run.py NAME FOLDER`` answers for the example NAME, by ``ludwig_losses.compare``.

1. ``prepare.py`` of the example writes its data into the folder.
2. Of each family in its ``losses.yaml`` that has several settings, the one that is best on the *validation* rows is
   chosen, by the mean over seeds of the metric ``choose_by``.
3. The reference and the chosen ones are compared on the *test* rows, which have chosen nothing.

``table.md`` and ``plot.svg`` in the folder are what the example shows; the folders ``validation`` and ``test`` have all
metrics, intervals and plots.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

import pandas as pd
import yaml

EXAMPLES = pathlib.Path(__file__).parent
VERDICTS = {"better": " ▲", "worse": " ▼"}
LEGEND = (
    "Mean ± standard deviation over the seeds. ▲ better and ▼ worse than the first line: the interval of the paired "
    "differences for new rows, corrected for the number of losses, excludes 0."
)


def tried(plan: dict[str, Any]) -> dict[str, dict]:
    """Return the settings among which the validation rows choose, by their names in tables."""
    from ludwig_losses.comparison.plan import named_losses

    several = [loss for family in plan["families"].values() if len(family) > 1 for loss in family]
    return named_losses(several) if several else {}


def choose(plan: dict[str, Any], scores: pd.DataFrame | None) -> dict[str, dict]:
    """Return the losses to test by their names in tables: the reference, and one of each family."""
    from ludwig_losses.comparison.plan import named_losses
    from ludwig_losses.metrics.catalogue import metric

    chosen = dict(plan["reference"])
    for name, family in plan["families"].items():
        labels = named_losses(family)
        best = next(iter(labels))
        if len(labels) > 1:
            of_metric = scores[(scores.metric == plan["choose_by"]) & scores.loss.isin(labels)]
            means = of_metric.groupby("loss").value.mean()
            best = means.idxmax() if metric(plan["choose_by"]).higher_is_better else means.idxmin()
        chosen[name if len(labels) == 1 else f"{name}: {settings(labels[best])}"] = labels[best]
    return chosen


def settings(loss: dict[str, Any]) -> str:
    """Return the parameters of a loss, without its type."""
    return ", ".join(f"{name} {value}" for name, value in loss.items() if name != "type")


def table(plan: dict[str, Any], scores: pd.DataFrame) -> str:
    """Return the metrics of the example, a line for each loss, as Markdown."""
    values = scores.groupby(["loss", "metric"], sort=False).value
    means, spreads = values.mean(), values.std()
    verdicts = {(found["loss"], found["metric"]): found["verdict"] for found in scores.attrs["differences"]}
    metrics = plan["metrics"]

    def cell(loss: str, name: str) -> str:
        if (loss, name) not in means:
            return ""
        mark = VERDICTS.get(verdicts.get((loss, name), ""), "")
        return f"{means[loss, name]:.3f} ± {spreads[loss, name]:.3f}{mark}"

    lines = [f"| loss | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|"]
    lines += [f"| {loss} | {' | '.join(cell(loss, name) for name in metrics)} |" for loss in scores.loss.unique()]
    return "\n".join(lines)


def facts(folder: pathlib.Path) -> list[str]:
    """Return what a comparison says of itself: rows, seeds, versions and time of training."""
    lines = (folder / "comparison.md").read_text().splitlines()
    found = [line for line in lines[: lines.index("## Conclusions")] if line.startswith("- ")]
    # A call that finds its runs done takes no time.
    return [re.sub(r"; this call took \d+ s\.$", ".", line) for line in found]


def main(name: str, folder: pathlib.Path) -> None:
    example = EXAMPLES / name
    plan = yaml.safe_load((example / "losses.yaml").read_text())
    if "plugin" in plan:
        os.environ["LUDWIG_LOSSES_PLUGINS"] = str(example / plan["plugin"])
    import ludwig_losses

    subprocess.run([sys.executable, example / "prepare.py", folder], check=True)
    config, data, candidates = example / "config.yaml", folder / "data.csv", tried(plan)
    scores = None
    if candidates:
        scores = ludwig_losses.compare(
            config,
            data,
            candidates,
            seeds=plan["seeds"]["validation"],
            output_directory=folder / "validation",
            split="validation",
        )
    losses = choose(plan, scores)
    result = ludwig_losses.compare(config, data, losses, seeds=plan["seeds"]["test"], output_directory=folder / "test")
    choice = f"{len(candidates)} settings were tried on the validation rows, and chosen by {plan.get('choose_by')}."
    lines = [*facts(folder / "test"), *([f"- {choice}"] if candidates else []), "", table(plan, result), "", LEGEND]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    shutil.copy(folder / "test" / "differences.svg", folder / "plot.svg")
    print((folder / "table.md").read_text())


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
