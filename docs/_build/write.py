"""Renews what pages show of code and results: ``python docs/_build/write.py [figures]``, run by ``make docs-write``.

A page holds such a part between ``<!-- write: KIND ARGUMENT -->`` and ``<!-- /write -->``. Tests fail where a part, or a
figure, is not what this program writes.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import re
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_PART = re.compile(r"(<!-- write: (\w+) ?([^\n]*?) ?-->\n).*?(<!-- /write -->)", re.DOTALL)


def written(text: str) -> str:
    """Return a page with all its parts as they should be."""
    return _PART.sub(lambda found: f"{found[1]}{_KINDS[found[2]](found[3]).strip()}\n{found[4]}", text)


def figures() -> dict[str, list]:
    """Return the figures that losses declare, by the names of their files."""
    from ludwig_losses.host.registry import catalogue

    return {name: figure for found in catalogue().values() for name, figure in found.config_cls.figures().items()}


def draw_figures() -> None:
    """Draw each figure twice: for a light and for a dark background."""
    from ludwig_losses import curves

    FIGURES.mkdir(exist_ok=True)
    for name, figure in figures().items():
        curves.draw(figure, str(FIGURES / f"{name}.svg"))
        curves.draw(figure, str(FIGURES / f"{name}-dark.svg"), dark=True)


def gain() -> Any:
    """Return the program of the picture of many tables, which has its numbers."""
    folder = str(ROOT / "examples" / "many_tables")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("gain")


def numbers_of(path: pathlib.Path) -> list:
    """Return the numbers that a drawn figure shows."""
    import html

    (description,) = re.findall(r"<dc:description>(.*?)</dc:description>", path.read_text(), re.DOTALL)
    return json.loads(html.unescape(description))


def _file(path: str) -> str:
    return (ROOT / path).read_text()


def _losses(prefix: str) -> str:
    """All losses with what they are for; links begin with the prefix."""
    from ludwig_losses.host.registry import catalogue

    lines = ["| `loss.type` | for | output features |", "|---|---|---|"]
    for name, declaration in catalogue().items():
        link = f"[`{name}`]({prefix}{declaration.advice.page}.md)"
        lines.append(f"| {link} | {declaration.advice.need} | {', '.join(declaration.features)} |")
    return "\n".join(lines)


def _choosing(question: str) -> str:
    """What users may have, and which of the losses for a question helps with it; those that were measured come first."""
    from ludwig_losses.host.registry import catalogue

    losses = [(name, found.advice) for name, found in catalogue().items() if found.advice.question == question]
    lines = ["| you have | take | begin with | watch | measured |", "|---|---|---|---|---|"]
    for name, advice in sorted(losses, key=lambda entry: not entry[1].evidence):
        page = f"losses/{advice.page}.md"
        measured = f"[{advice.found}]({page}#evidence)" if advice.evidence else "no"
        watch = ", ".join(f"`{metric}`" for metric in advice.watch)
        lines.append(f"| {advice.need} | [`{name}`]({page}) | `{advice.start}` | {watch} | {measured} |")
    return "\n".join(lines)


def _advice(loss: str) -> str:
    from ludwig_losses.host.registry import find

    advice = find(loss).advice
    return (
        f"- **Helps when** {advice.helps}.\n- **Does not help when** {advice.hinders}.\n"
        f"- **Begin with** `{advice.start}` and watch {', '.join(f'`{metric}`' for metric in advice.watch)}."
    )


def _parameters(argument: str) -> str:
    """The parameters of a loss, or those of them that are named after it."""
    from ludwig_losses.cli import default_in_yaml, worth_trying_in_yaml
    from ludwig_losses.host.registry import find

    loss, *only_these = argument.split()
    declaration = find(loss)
    lines = ["| parameter | default | meaning |", "|---|---|---|"]
    for key in only_these or declaration.parameters:
        parameter = declaration.parameters[key]
        types = declaration.features_with(key)
        only = "" if types == declaration.features else f" Only on {', '.join(types)} features."
        meaning = f"{parameter.description}{only} *Allowed:* {parameter.allowed}."
        meaning += f" *Worth trying:* {worth_trying_in_yaml(parameter)}." if parameter.worth_trying else ""
        lines.append(f"| `{key}` | `{default_in_yaml(parameter)}` | {_escaped(meaning)} |")
    return "\n".join(lines)


def _evidence(examples: str) -> str:
    """What examples have measured, for a page in docs/losses."""
    measured = [name for name in examples.split() if (ROOT / "examples" / name / "table.md").exists()]
    return "\n\n".join(map(_measured, measured)) or "Not measured here yet."


def _measured(example: str) -> str:
    folder = ROOT / "examples" / example
    title = re.match("# (.*)", (folder / "README.md").read_text())[1]
    link = f"../../examples/{example}"
    plots = [f"![{title}]({link}/{plot.name})" for plot in sorted(folder.glob("*.svg"))]
    return "\n\n".join([f"[{title}]({link}/README.md):", (folder / "table.md").read_text().strip(), *plots])


def over_tables(part: str, loss: str, section: str = "") -> tuple[int, dict[str, tuple[str, str]]]:
    """Return on how many tables a loss was measured, and by metric its verdict and the numbers behind it."""
    text = sections_of_tables(part)[section]
    found = {}
    for metric, rows in re.findall(r"^\| (.*) \(.* is better\).*\n\|[-|]*\n((?:\|.*\n)*)", text, re.MULTILINE):
        cells = {row[0]: row[1:] for row in (line.strip("| ").split(" | ") for line in rows.splitlines())}
        if loss not in cells:  # As log loss, of what predicts no probabilities.
            continue
        reference, (mean, _, chance, verdict) = next(iter(cells)), cells[loss]
        numbers = f"probability of improvement {chance}, mean {mean} against {cells[reference][0]}"
        found[metric] = verdict, numbers
    return int(re.search(r"^- (\d+) tables", text, re.MULTILINE)[1]), found


def _of_tables(part: str) -> tuple[str, str]:
    """Return the example, and the file, that has what many tables say: one of its own, or a part of ``many_tables``."""
    return (part, "table.md") if (ROOT / "examples" / part).is_dir() else ("many_tables", f"{part}.md")


def sections_of_tables(part: str) -> dict[str, str]:
    """Return what is said of many tables by the titles of its sections; the title of a part without any is empty."""
    folder, file = _of_tables(part)
    head, *titled = re.split(r"^\*\*(.*)\*\*$", _file(f"examples/{folder}/{file}"), flags=re.MULTILINE)
    return dict(zip(titled[::2], titled[1::2], strict=True)) or {"": head}


def _over_tables(argument: str) -> str:
    """Two sentences on what many tables say of a loss, the deciding metric first; of sections the last one decides."""
    part, metric, loss = argument.split(maxsplit=2)
    *others, (section, text) = sections_of_tables(part).items()
    (reference,) = set(re.findall(r"^\|-.*\n\| (.*?) \|", text, re.MULTILINE))
    tables, found = over_tables(part, loss, section)
    verdict, numbers = found.pop(metric)
    also = [f"`{name}` {verdict} ({numbers})" for name, (verdict, numbers) in found.items()]
    for other, _ in reversed(others):
        verdict_there, numbers_there = over_tables(part, loss, other)[1][metric]
        also.append(f"where {other}, `{metric}` {verdict_there} ({numbers_there})")
    against = f"`{loss}` against {reference}, by `{metric}`" + (f", where {section}" if section else "")
    link = f"[{tables} tables](../../examples/{_of_tables(part)[0]}/README.md)"
    return f"On {link} {against}: **{verdict}** ({numbers}). Also: {'; '.join(also)}."


def _measured_questions(_: str) -> str:
    """What the examples ask, each with the command that answers it."""
    lines = ["| question | command |", "|---|---|"]
    for page in sorted(ROOT.glob("examples/*/README.md")):
        text = page.read_text()
        title, question = re.match(r"# (.*)\n\n\*(.*?)\*\n", text).groups()
        (command,) = re.findall(r"```bash\n(make .*?)( PYTHON=.*)?\n```", text)
        lines.append(f"| [{title}](../../examples/{page.parent.name}/README.md): {question} | `{command[0]}` |")
    return "\n".join(lines)


def _gain(_: str) -> str:
    """What one loss gains on many tables, and what it does not."""
    return gain().sentence()


def _difference(loss: str) -> str:
    """What the page on differences says of a loss."""
    rows = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", _file("docs/differences.md"), re.MULTILINE)
    ((_, here, in_source),) = [row for row in rows if row[0] == loss]
    return f"- **Here:** {here}.\n- **In Ludwig's source:** {in_source}."


def _escaped(text: str) -> str:
    """Return text in which Markdown sees no emphasis and no column."""
    return re.sub(r"\*\*(?=[(\dg])", r"\\*\\*", text).replace("|", r"\|")


def _parameter_classes(_: str) -> str:
    """The classes of which the parameters of a loss are made."""
    from dataclasses import fields

    import ludwig_losses
    from ludwig_losses.parameters import Parameter

    common = {field.name for field in fields(Parameter)}
    lines = ["| class | the parameter is | arguments of its own |", "|---|---|---|"]
    for name in ludwig_losses.__all__:
        kind = getattr(ludwig_losses, name)
        if isinstance(kind, type) and issubclass(kind, Parameter):
            meaning = kind.__doc__.split("\n\n")[0].replace("\n   ", "").replace("``", "`").rstrip(".")
            own = ", ".join(f"`{field.name}`" for field in fields(kind) if field.name not in common)
            lines.append(f"| `{name}` | {meaning[0].lower()}{meaning[1:]} | {own} |")
    return "\n".join(lines)


def _patches(_: str) -> str:
    """What the package changes in Ludwig, group by group."""
    from ludwig_losses.patches import GROUPS

    lines = ["| part | needed by | changed in Ludwig | without it | can go when |", "|---|---|---|---|---|"]
    for group in GROUPS:
        head = [group.name, group.needed_by or "nothing"]
        for patch in group.patches:
            target = patch.target.removeprefix("ludwig.").replace(":", ".")
            only = "" if patch.versions == "0.11 to 0.17" else f" ({patch.versions})"
            lines.append(f"| {' | '.join([*head, f'`{target}`{only}', patch.why, patch.obsolete])} |")
            head = ["", ""]
    return "\n".join(lines)


def _catalogue(_: str) -> str:
    """All parameters, a heading and a table for each loss."""
    from ludwig_losses.host.registry import catalogue

    return "\n\n".join(f"{_heading(found)}\n\n{_allowed(found)}" for found in catalogue().values())


def _heading(declaration: Any) -> str:
    also = "".join(f" Also called `{alias}`." for alias in declaration.aliases)
    page = f"[{declaration.advice.need[0].upper()}{declaration.advice.need[1:]}]({declaration.advice.page}.md)"
    return f"## {declaration.name}\n\n{page}. Output features: {', '.join(declaration.features)}.{also}"


def _allowed(declaration: Any) -> str:
    from ludwig_losses.cli import default_in_yaml

    lines = ["| parameter | default | allowed |", "|---|---|---|"]
    for key, parameter in declaration.parameters.items():
        types = declaration.features_with(key)
        only = "" if types == declaration.features else f" ({', '.join(types)} only)"
        lines.append(f"| `{key}`{only} | `{default_in_yaml(parameter)}` | {_escaped(parameter.allowed)} |")
    return "\n".join(lines)


def _metrics(_: str) -> str:
    """The metrics of each type of output features."""
    from ludwig_losses.metrics.catalogue import METRICS

    directions = {True: "higher", False: "lower", None: ""}
    lines = ["| metric | better | features | needs | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {directions[found.higher_is_better]} | {', '.join(found.features)} | {found.needs} | "
        f"{_escaped(found.meaning)} |"
        for name, found in METRICS.items()
        if found.features
    ]
    lines += [
        "| `recall[class]` | higher | binary, category | | Share of the true rows of a class that are predicted as such. |",
        "| `token_f1[class]` | higher | text, sequence | at most 64 classes | F1 of the tokens of a class. |",
        "| `iou_0`, `iou_1`, ... | higher | image | | IoU of each class. |",
    ]
    return "\n".join(lines)


def _output(command: str) -> str:
    """The output of a command of ours, its words joined by commas."""
    import contextlib
    import io

    from ludwig_losses.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as output:
        main(command.split(","))
    return f"```\n{output.getvalue().strip()}\n```"


_KINDS = {
    "advice": _advice,
    "catalogue": _catalogue,
    "choosing": _choosing,
    "difference": _difference,
    "evidence": _evidence,
    "file": _file,
    "gain": _gain,
    "losses": _losses,
    "measured": _measured_questions,
    "metrics": _metrics,
    "output": _output,
    "over_tables": _over_tables,
    "parameter_classes": _parameter_classes,
    "parameters": _parameters,
    "patches": _patches,
}

if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))
    if "figures" in sys.argv[1:]:
        draw_figures()
        gain().write()
