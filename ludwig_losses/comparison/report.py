"""What a comparison says, for the terminal and as Markdown, CSV and HTML."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ludwig_losses.comparison import statistics
from ludwig_losses.comparison.answer import TITLE, Answer
from ludwig_losses.comparison.files import whole, write_text
from ludwig_losses.comparison.page import Section, as_image, as_list, as_page, decimals, escaped, plain, table
from ludwig_losses.comparison.plan import Run
from ludwig_losses.comparison.results import Results, Row
from ludwig_losses.comparison.statistics import (
    BETTER,
    FEWEST_SEEDS,
    HIGHER,
    LOWER,
    SAME,
    WORSE,
    Chances,
    Difference,
    Interval,
)
from ludwig_losses.metrics.catalogue import METRICS, metric

Tables = dict[str, list[Row]]

NAME = "comparison"
CONCLUSIONS = "Conclusions"
# Of a loss or a class, in tables and headings.
LONGEST_NAME = 60
NO_PLOTS = (
    "Plots need matplotlib, which is not installed: pip install 'ludwig-losses[compare]'. The tables need nothing."
)


def announcement(runs: Sequence[Run], kept: int, output: pathlib.Path, keep_models: bool) -> list[str]:
    """Return what is going to be done."""
    losses = {run.loss for run in runs if not run.reordered and run.baseline is None}
    seeds = {run.seed for run in runs}
    noise = ", and the first one again with its rows in another order," if any(run.reordered for run in runs) else ""
    already = f", of which {kept} are kept from before" if kept else ""
    models = "the models, " if keep_models else ""
    baseline = ", and a model that is evaluated only," if any(run.baseline for run in runs) else ""
    return [
        f"{len(losses)} losses{noise} x {len(seeds)} seeds{baseline} = {len(runs)} runs{already}, measured on the "
        f"{runs[0].split} rows.",
        f"Kept in {output}: {models}metrics, curves, predictions of the held-out rows and Ludwig's log of each run.",
    ]


@dataclass(frozen=True)
class Report:
    """All that the Markdown and the HTML show.

    Args:
        results: of the runs.
        tables: a table for each metric, with names that fit into it.
        images: the plots.
        seconds: that the call has taken.
        sections: further tables.
        answer: what to do.
    """

    results: Results
    tables: Tables
    images: Sequence[pathlib.Path]
    seconds: float
    sections: Sequence[Section] = ()
    answer: Answer | None = None


def write(
    results: Results,
    output: pathlib.Path,
    seconds: float,
    sections: Sequence[Section] = (),
    answer: Answer | None = None,
) -> list[str]:
    """Write all files; return what the terminal shows.

    Raises:
        OSError: a file could not be written; those of before are still there.
    """
    tables = {name: results.table(name) for name in results.metrics}
    images, missing = _plots(results, tables, output)
    report = Report(results, _with_short_names(results, tables), images, seconds, sections, answer)
    with whole(output / f"{NAME}.csv") as part:
        results.frame().to_csv(part, index=False)
    write_text(output / f"{NAME}.md", markdown(report))
    write_text(output / f"{NAME}.html", page(report))
    return [*terminal(report), *missing, _written(report, output)]


def terminal(report: Report) -> list[str]:
    """Return the lines for the terminal: the tables of the main metrics, and the conclusions."""
    results = report.results
    main = {name: rows for name, rows in report.tables.items() if metric(name).is_main}
    lines = [line for name, rows in main.items() for line in ("", heading(name), _text(results, name, rows, "simple"))]
    for of in report.sections:
        lines += ["", of.title, table(of.headers, of.lines, "simple"), "", *of.said]
    compared = f"Differences are to {short_names(results.losses)[results.losses[0]]}, seed by seed."
    lines += ["", compared, "", *_block(report), ""]
    if report.answer is not None:
        lines += [TITLE, *(f"  {line}" for line in report.answer.said), "", *report.answer.yaml.splitlines(), ""]
    return lines


def _written(report: Report, output: pathlib.Path) -> str:
    plots = f", {len(report.images)} plots as .png and .svg" if report.images else ""
    return f"Written: {output / NAME}.md, .csv and .html{plots} ({_size(output)} in {output})."


def short_names(losses: Sequence[str]) -> dict[str, str]:
    """Return names that fit into a table and have no line breaks, each another one."""
    found: dict[str, str] = {}
    for number, loss in enumerate(losses, start=1):
        name = plain(loss)
        if len(name) > LONGEST_NAME or name in found.values():
            name = f"{name[: LONGEST_NAME - 9].rstrip()}... ({number})"
        found[loss] = name
    return found


def _with_short_names(results: Results, tables: Tables) -> Tables:
    names = short_names(results.losses)
    return {name: [replace(row, loss=names[row.loss]) for row in rows] for name, rows in tables.items()}


def _plots(results: Results, tables: Tables, output: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
    try:
        from ludwig_losses.comparison import plots
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        return [], [NO_PLOTS]
    return plots.draw(results, tables, output), []


def heading(name: str) -> str:
    """Return the name of a metric, and which direction is better."""
    better = metric(name).higher_is_better
    direction = "" if better is None else f" ({'higher' if better else 'lower'} is better)"
    shown = plain(name)
    return f"{shown if len(shown) <= LONGEST_NAME else f'{shown[: LONGEST_NAME - 3]}...'}{direction}"


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Return the cells of the table of a metric, under those of :func:`headers`."""
    digits = decimals(row.mean for row in rows)
    return [_cells(row, digits) for row in rows]


def headers(margin: float | None) -> list[str]:
    """Return the names of the columns; ``equal`` says up to which difference."""
    equal = "" if margin is None else f"better / within {margin:g} / worse"
    return ["loss", "mean ± sd", "difference", "95 %, these rows", "95 %, new rows", equal, "verdict"]


def _cells(row: Row, digits: int) -> list[str]:
    spread = "" if row.deviation is None else f" ± {row.deviation:.{digits}f}"
    mean, found = f"{row.mean:.{digits}f}{spread}", row.difference
    if found is None:
        return [row.loss, mean, "", "", "", "", ""]
    intervals = ["" if of is None else _shown(of, digits) for of in (found.interval, found.new_rows)]
    return [row.loss, mean, f"{found.mean:+.{digits}f}", *intervals, _chances(found.chances), found.verdict]


def _chances(chances: Chances | None) -> str:
    if chances is None:
        return ""
    return f"{' / '.join(f'{100 * share:.0f}' for share in (chances.better, chances.equal, chances.worse))} %"


def _shown(interval: Interval, digits: int) -> str:
    return f"{interval[0]:+.{digits}f} to {interval[1]:+.{digits}f}"


def _text(results: Results, name: str, rows: Sequence[Row], style: str) -> str:
    # Columns in which nothing stands are left out.
    columns = zip(headers(results.margin(name)), *_with_empty(results, cells(rows)), strict=True)
    kept = [column for column in columns if any(column[1:])]
    head, *lines = zip(*kept, strict=True)
    return table(head, lines, style)


def _with_empty(results: Results, lines: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield the lines of a table, and an empty one for each loss that was measured and has no such number."""
    of_losses, names = {line[0]: line for line in lines}, short_names(results.losses)
    measured = {loss for loss, _ in results.found}
    for loss in (loss for loss in results.losses if loss in measured):
        yield of_losses.get(names[loss], [names[loss], *[""] * (len(lines[0]) - 1)])


def verdicts(results: Results, tables: Tables) -> list[str]:
    """Return the conclusions, one sentence for each of the main metrics; metrics with the same one share it."""
    names = short_names(results.losses)
    first, among = names[results.losses[0]], {names[loss] for loss in results.compared}
    said: dict[str, list[str]] = {}
    for name, rows in tables.items():
        compared = [row for row in rows if row.loss in among]
        if metric(name).is_main and len(compared) > 1 and compared[0].loss == first:
            said.setdefault(_verdict(compared), []).append(name)
    return [f"{', '.join(names)}: {verdict}" for verdict, names in said.items()]


def _verdict(rows: Sequence[Row]) -> str:
    first, digits = rows[0].loss, decimals(row.mean for row in rows)
    found = {row.loss: row.difference for row in rows[1:] if row.difference is not None}
    told = [f"{loss} is {_sure(of, digits)}" for loss, of in found.items() if of.verdict in _WORDS]
    told += [f"{loss} is perhaps {_unsure(of)}" for loss, of in found.items() if of.verdict.startswith("perhaps")]
    if told:
        return f"{'; '.join(told)}."
    if all(of.verdict == SAME for of in found.values()):
        return f"every loss gives the same as {first}."
    if all(of.interval is None for of in found.values()):
        return "nothing can be said from these seeds."
    return f"no loss differs from {first} beyond chance."


_WORDS = (BETTER, WORSE, HIGHER, LOWER)


def _sure(found: Difference, digits: int) -> str:
    assert found.corrected is not None
    return f"{found.verdict} by {abs(found.mean):.{digits}f} ({_shown(found.corrected, digits)})"


def _unsure(found: Difference) -> str:
    word = found.verdict.removeprefix("perhaps ").partition(":")[0]
    return f"{word} (more seeds would tell)"


def caveats(results: Results) -> Iterator[str]:
    """Yield what a reader has to know to read the tables rightly."""
    seeds = len(results.seeds)
    if results.found and not results.has_metrics:
        yield _about_no_metrics(results.runs[0])
    if seeds < FEWEST_SEEDS:
        yield (
            f"No intervals: {seeds} seed{'s' * (seeds > 1)} cannot tell a difference from chance. Take at least "
            f"{FEWEST_SEEDS}, better 5 (--seeds 5); the runs that are done are kept."
        )
    else:
        yield from _about_intervals(results)
    names = short_names(results.losses)
    for loss, other in results.same.items():
        yield f"{names[loss]} gives the same numbers as {names[other]} in every seed: here they are the same loss."
    if results.noise is not None:
        yield (
            f"{names[results.noise]}: what differs in this line is noise, which the order of rows and rounding make "
            f"where the loss is the same."
        )
    yield from _about_levels(results)
    if results.baseline is not None:
        yield from _about_baseline(results, names[results.baseline])
    yield from _about_epochs(results, names)
    if results.runs[0].split == "test":
        yield "Settings chosen by these numbers look better than they are: choose with --tune, or --split validation."


def _about_no_metrics(run: Run) -> str:
    (kind,) = (feature["type"] for feature in run.config["output_features"] if feature["name"] == run.feature)
    needs = dict.fromkeys(of.needs for of in METRICS.values() if kind in of.features and of.needs)
    return f"The losses are not compared: these rows define no metric of {kind} features. They need {', '.join(needs)}."


def _about_levels(results: Results) -> Iterator[str]:
    if results.has_other_levels:
        common = ", ".join(f"{level:g}" for level in results.common_levels or ())
        yield (
            f"Quantiles are measured by those that all losses predict which predict some: {common}."
            if common
            else "The losses predict different quantiles, none in common: these have no measure here."
        )


def _about_baseline(results: Results, name: str) -> Iterator[str]:
    for (loss, seed), found in results.found.items():
        if loss == results.baseline:
            differs = found.get("differs")
            also = f" It differs from the others beside the loss also in {', '.join(differs)}." if differs else ""
            yield (
                f"{name} is one model, of seed {seed}: what another seed would give is not known, so there is no "
                f"interval, and no word on it above.{also}"
            )


def _about_epochs(results: Results, names: Mapping[str, str]) -> Iterator[str]:
    """Yield how long the losses were trained."""
    by_loss: dict[str, list[int]] = {}
    limits: Mapping[str, int | None] = {}
    for (loss, _), found in results.found.items():
        if loss in results.compared:
            by_loss.setdefault(loss, []).append(found["epochs"])
            limits = found.get("limits") or limits
    counts = {count for of in by_loss.values() for count in of}
    if len(counts) == 1:
        yield f"Each run has {counts.pop()} epochs."
    elif counts:
        told = ", ".join(f"{names[loss]} {_range(of)}" for loss, of in by_loss.items())
        stop = limits.get("early_stop")
        how = f"a run ends after {stop} evaluations without a better one (early_stop), " if (stop or 0) > 0 else ""
        yield f"Epochs: {how}at most {limits.get('epochs', max(counts))}, as the configuration says: {told}."


def _range(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _about_intervals(results: Results) -> Iterator[str]:
    count = results.comparisons
    yield (
        f"'These rows' are Student's t intervals over the {len(results.seeds)} paired seeds: other seeds on the rows "
        f"that there are."
    )
    yield f"'New rows' contain the chance of the rows, too; 'better' and 'worse' follow them. {_which_rows(results)}"
    yield (
        "Beside them stand the probabilities that on new rows the loss is better, within the margin, or worse "
        "(--margin METRIC=VALUE sets another margin)."
    )
    if count > 1:
        level = 100 * statistics.corrected_level(count)
        yield (
            f"Of {count} losses that are compared with one, the best looks better than it is. So 'better' and "
            f"'worse' are said only where the interval at {level:.4g} % excludes 0 (in brackets above; "
            f"Bonferroni's correction for {count} planned comparisons). Nothing corrects for the number of metrics: "
            f"decide beforehand which one counts."
        )


def _which_rows(results: Results) -> str:
    if results.correction:
        return "Since each seed splits the rows anew, they hold for other rows of the same kind."
    return (
        "Since all seeds train on the same rows, they hold for other rows to measure on: other rows to train on may "
        "differ by more."
    )


def _block(report: Report) -> list[str]:
    failed = [f"  {of}: {why}" for of, why in _failures(report.results)]
    return [
        CONCLUSIONS,
        *(f"  {line}" for line in verdicts(report.results, report.tables)),
        "",
        *(f"  {line}" for line in caveats(report.results)),
        *(["", f"Failed runs ({len(failed)}); the same command tries them again:", *failed] if failed else []),
    ]


def facts(results: Results, seconds: float) -> list[str]:
    """Return what was compared."""
    run = results.runs[0]
    rows = next((result["rows"] for result in results.found.values()), {"training": 0, "held_out": 0})
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    trained = sum(result["seconds"] for result in results.found.values())
    names = short_names(results.losses)
    return [
        f"Output feature {plain(run.feature)}: {rows['training']} rows to train on, {rows['held_out']} {run.split} "
        f"rows to measure on.",
        f"{len(results.compared)} losses, seeds {', '.join(map(str, results.seeds))}; differences are to "
        f"{names[results.losses[0]]}, seed by seed.",
        *(f"{names[loss]} is {plain(loss)}" for loss in results.losses if names[loss] != plain(loss)),
        f"{versions}. {trained:.0f} s of training; this call took {seconds:.0f} s.",
    ]


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    results = report.results
    lines = ["# Comparison of losses", "", *(f"- {escaped(fact)}" for fact in facts(results, report.seconds))]
    lines += ["", f"## {CONCLUSIONS}", "", *(f"- {escaped(line)}" for line in verdicts(results, report.tables)), ""]
    lines += [f"{escaped(line)}\n" for line in caveats(results)]
    if results.failed:
        lines += ["## Failed runs", "", *(f"- {escaped(f'{of}: {why}')}" for of, why in _failures(results)), ""]
    for of in report.sections:
        lines += [f"## {escaped(of.title)}", "", table(of.headers, of.lines, "pipe"), ""]
        lines += [f"{escaped(line)}\n" for line in of.said]
    for name, rows in report.tables.items():
        lines += [f"## {escaped(heading(name))}", "", escaped(metric(name).meaning), ""]
        lines += [_text(results, name, rows, "pipe"), ""]
    lines += [f"![{path.stem}]({path.name})" for path in report.images]
    if report.answer is not None:
        lines += ["", f"## {TITLE}", "", *(f"{escaped(line)}\n" for line in report.answer.said)]
        lines += ["```yaml", *report.answer.yaml.splitlines(), "```"]
    return "\n".join(lines).rstrip() + "\n"


def _failures(results: Results) -> Iterator[tuple[str, str]]:
    names = short_names(results.losses)
    yield from ((f"{names[loss]}, seed {seed}", plain(reason)) for (loss, seed), reason in results.failed.items())


def page(report: Report) -> str:
    """Return the report as one page of HTML, with its plots in it."""
    results = report.results
    parts = ["<h1>Comparison of losses</h1>", as_list(facts(results, report.seconds))]
    parts += [f"<h2>{CONCLUSIONS}</h2>", as_list(verdicts(results, report.tables))]
    parts += [f"<p>{html.escape(line)}</p>" for line in caveats(results)]
    if results.failed:
        parts += ["<h2>Failed runs</h2>", as_list(f"{of}: {why}" for of, why in _failures(results))]
    for of in report.sections:
        parts += [f"<h2>{html.escape(of.title)}</h2>", table(of.headers, of.lines, "html"), as_list(of.said)]
    parts += [as_image(path) for path in report.images]
    for name, rows in report.tables.items():
        parts += [f"<h2>{html.escape(heading(name))}</h2>", f"<p>{html.escape(metric(name).meaning)}</p>"]
        parts.append(_text(results, name, rows, "html"))
    if report.answer is not None:
        parts += [f"<h2>{TITLE}</h2>", as_list(report.answer.said), f"<pre>{html.escape(report.answer.yaml)}</pre>"]
    return as_page(parts)


def _size(folder: pathlib.Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:.1f} MB"
