"""``ludwig-losses list | explain NAME [--plot FILE] | check CONFIG [--dataset DATA] | compare | docs [NAME] | table |
patches``: catalogue, strict check, comparison, documentation and contract with Ludwig on the command line."""

from __future__ import annotations

import argparse
import difflib
import pathlib
import platform
import sys
import textwrap
import warnings
import webbrowser
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ludwig_losses._switch import DISABLE, is_disabled
from ludwig_losses.advice import Advice
from ludwig_losses.parameters import Parameter

if TYPE_CHECKING:
    from ludwig_losses.declare.declaration import Declaration

# Built by `make docs`, and in a wheel if it was built before.
SITE = pathlib.Path(__file__).parent / "site"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 0, or 2 with a message on standard error for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="ludwig-losses", description="Losses for Ludwig, selected with loss.type.")
    parser.add_argument("--version", action="version", version=versions())
    commands = parser.add_subparsers(required=True)
    for command, summary in ((list_losses, "list the losses"), (table, "print the losses as a Markdown table")):
        commands.add_parser(command.__name__.partition("_")[0], help=summary).set_defaults(run=lambda _, c=command: c())
    explain_parser = commands.add_parser("explain", help="explain a loss and its parameters")
    explain_parser.add_argument("name")
    explain_parser.add_argument("--plot", metavar="FILE", help="draw loss and gradient into an .svg, .png or .pdf file")
    explain_parser.set_defaults(run=lambda options: explain(options.name, options.plot))
    docs_parser = commands.add_parser("docs", help="open the documentation, or the page of a loss")
    docs_parser.add_argument("name", nargs="?")
    docs_parser.set_defaults(run=lambda options: docs(options.name))
    check_parser = commands.add_parser("check", help="check a Ludwig configuration without training")
    check_parser.add_argument("config", help="path of a YAML file")
    check_parser.add_argument("--dataset", help="data to find the class names in, as for `ludwig train`")
    check_parser.set_defaults(run=lambda options: check(options.config, options.dataset))
    patches_parser = commands.add_parser(
        "patches", help="list what this package changes in Ludwig, and whether it fits"
    )
    patches_parser.set_defaults(run=lambda _: list_patches())
    _add_compare(commands)
    options = parser.parse_args(arguments)
    if is_disabled():
        print(f"ludwig-losses is switched off by {DISABLE}.", file=sys.stderr)
        return 2
    return options.run(options)


def versions() -> str:
    """Return the versions that matter for a report."""
    found = [f"{name} {version(name)}" for name in ("ludwig-losses", "ludwig", "torch")]
    return ", ".join([*found, f"Python {platform.python_version()}"])


def list_losses() -> int:
    """Print each loss with what it is for, or what it does, and its feature types."""
    from ludwig_losses.host.registry import catalogue

    losses = catalogue()
    width = max(map(len, losses))
    for name, declaration in losses.items():
        purpose = declaration.advice.need if declaration.advice else declaration.summary
        print(f"{name:<{width}}  {purpose} ({', '.join(declaration.features)})")
    print("\nludwig-losses explain NAME says when a loss helps, when it does not, and what its parameters do.")
    return 0


def explain(name: str, plot: str | None = None) -> int:
    """Print what a loss and each of its parameters is for; draw its curves into a file if one is named."""
    from ludwig_losses.host.registry import find, losses_by_feature

    declaration = find(name)
    features = [feature for feature, names in losses_by_feature().items() if name in names]
    if declaration is None and not features:
        return _no_such_loss(name)
    if plot is not None and (status := _plot(name, declaration, plot)):
        return status
    if declaration is None:
        return _explain_ludwigs(name, features)
    also = f" (also: {', '.join(declaration.aliases)})" if declaration.aliases else ""
    print(f"{declaration.name}{also}, for {', '.join(declaration.features)} features\n\n{declaration.summary}\n")
    if declaration.advice:
        print(_advice(declaration.advice))
    for key, parameter in declaration.parameters.items():
        if parameter is None:
            print(f"  {key}")
            continue
        types = declaration.features_with(key)
        only = "" if types == declaration.features else f" Only on {', '.join(types)} features."
        print(f"  {key}: {default_in_yaml(parameter)}")
        tried = f" Worth trying: {worth_trying_in_yaml(parameter)}." if parameter.worth_trying else ""
        print(_indented(f"{parameter.description}{only} Allowed: {parameter.allowed}.{tried}"))
    return 0


def _no_such_loss(name: str) -> int:
    from ludwig_losses.host.registry import catalogue

    near = difflib.get_close_matches(name, catalogue(), n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    print(f"There is no loss '{name}'.{hint} The losses are: {', '.join(catalogue())}.", file=sys.stderr)
    return 2


def _advice(advice: Advice) -> str:
    evidence = f" Measured in examples/{advice.evidence}: {advice.found}." if advice.evidence else ""
    sentences = (
        f"Helps when {advice.helps}.",
        f"Does not help when {advice.hinders}.",
        f"Begin with {advice.start} and watch {', '.join(advice.watch)}.{evidence}",
    )
    return "".join(f"{textwrap.fill(sentence, 100)}\n" for sentence in sentences)


def _plot(name: str, declaration: Declaration | None, path: str) -> int:
    from ludwig_losses import curves

    figures = declaration.config_cls.figures() if declaration else {}
    if not figures:
        print(f"There are no curves of '{name}': only the losses of this package have some.", file=sys.stderr)
        return 2
    try:
        curves.draw(next(iter(figures.values())), path)
    except ModuleNotFoundError as error:
        print(f"--plot needs matplotlib ({error}): pip install matplotlib", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"--plot {path}: {error}", file=sys.stderr)
        return 2
    print(f"{path}: loss and gradient.\n")
    return 0


def docs(name: str | None = None) -> int:
    """Open the documentation, or the page of a loss; say where it is if it is not installed."""
    from ludwig_losses.host.registry import find

    declaration = None if name is None else find(name)
    if name is not None and declaration is None:
        return _no_such_loss(name)
    advice = declaration.advice if declaration else None
    page = f"losses/{advice.page}" if advice else "index"
    built = SITE / f"{page}.html"
    if not built.exists():
        print(f"docs/{page}.md in the repository of ludwig-losses; `make docs` builds the site from it.")
        return 0
    print(built)
    webbrowser.open(built.as_uri())
    return 0


def _explain_ludwigs(name: str, features: list[str]) -> int:
    from ludwig_losses.host.registry import parameter_schemas

    print(f"{name}, for {', '.join(features)} features\n\nA loss of Ludwig's own.\n")
    for key, schema in parameter_schemas(name).items():
        print(f"  {key}: {_in_yaml(schema.get('default'))}")
        if schema.get("description"):
            print(_indented(" ".join(schema["description"].split())))
    return 0


def _indented(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)


def check(path: str, dataset: str | None = None) -> int:
    """Parse a configuration as Ludwig does, with the strict check of its losses, against data if there are any."""
    from ludwig_losses.host import dry_run

    try:
        config = dry_run.read(path)
        dry_run.parse(path, config)
        found = [] if dataset is None else dry_run.resolve(config, dataset)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join([f"{path}: the configuration is valid.", *found]))
    return 0


def list_patches() -> int:
    """Print each group of patches of Ludwig with its state; return 1 if one does not fit."""
    from ludwig_losses.host import patch

    print(f"{patch.versions()}:")
    fits = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The list says it.
        for group, reason in patch.states():
            print(f"  {group.name:<22}{reason or 'in place'}")
            fits = fits and group.name not in patch.failures
    return 0 if fits else 1


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser("compare", help="train with several losses and seeds, and say which one is better")
    parser.add_argument("--config", required=True, help="path of a YAML file")
    parser.add_argument("--dataset", required=True, help="data, as for `ludwig train`")
    parser.add_argument(
        "--loss",
        action="append",
        help="a name, or a section like '{type: poly_loss, epsilon: 2.0}'; may be given several times. The others are "
        "compared with the first one. Without any: the loss of the configuration, and all that fit the feature",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[5], help="how many, or which (default: 5)")
    parser.add_argument("--output_feature", help="the feature whose loss it is, where there are several")
    parser.add_argument("--output_directory", default="results/compare", help="(default: results/compare)")
    parser.add_argument("--split", default="test", help="rows to measure on: test (default), or validation")
    parser.add_argument(
        "--margin",
        action="append",
        default=[],
        metavar="METRIC=VALUE",
        help="differences up to this are practically none, as accuracy=0.01; may be given several times",
    )
    parser.add_argument(
        "--noise",
        action="store_true",
        help="train with the first loss again, rows in another order: the noise there is",
    )
    _add_answer(parser)
    _add_tuning(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes that train side by side (default: 1)")
    parser.add_argument("--gpus", type=int, nargs="+", help="numbers of the GPUs to use; -1 uses none")
    parser.add_argument("--keep_models", action="store_true", help="keep the trained models")
    parser.set_defaults(run=_compare)


def _add_answer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--baseline",
        metavar="RESULTS",
        help="the results folder of `ludwig train`: its model is a row of the tables, measured on the same rows",
    )
    parser.add_argument(
        "--miss_cost",
        type=float,
        metavar="COST",
        help="of binary features: what a missed positive costs, in false alarms. The threshold is chosen for the "
        "least costs; without it, for F1",
    )


def _add_tuning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tune",
        action="store_true",
        help="try settings of each loss: chosen on the validation rows of a seed, measured on its test rows",
    )
    parser.add_argument(
        "--try",
        dest="tries",
        action="append",
        metavar="VALUES",
        help="what to try instead of what `explain` names, as '{focal_loss: {gamma: [1, 2, 5]}}'; may be given several "
        "times, and implies --tune",
    )
    parser.add_argument(
        "--choose_by",
        metavar="METRIC",
        help="the metric that decides: among losses, and on the validation rows among settings",
    )
    parser.add_argument("--budget", help="with --tune: how many runs, as 40, or how long, as 30m or 2h")


def _compare(options: argparse.Namespace) -> int:
    """Compare losses; an interrupt leaves what is done."""
    from ludwig_losses.comparison.api import compare

    try:
        frame = compare(
            options.config,
            options.dataset,
            options.loss,
            seeds=options.seeds[0] if len(options.seeds) == 1 else options.seeds,
            output_feature=options.output_feature,
            output_directory=options.output_directory,
            split=options.split,
            margins=dict(map(_margin, options.margin)),
            noise=options.noise,
            baseline=options.baseline,
            tune=options.tune,
            tries=options.tries,
            choose_by=options.choose_by,
            budget=options.budget,
            miss_cost=options.miss_cost,
            workers=options.workers,
            gpus=options.gpus,
            keep_models=options.keep_models,
        )
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. Finished runs are kept: the same command goes on.", file=sys.stderr)
        return 130
    return 1 if frame.empty else 0


def _margin(written: str) -> tuple[str, float]:
    name, _, value = written.rpartition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ValueError(f"--margin: got {written!r}, expected METRIC=VALUE, as accuracy=0.01.") from None


def table() -> int:
    """Print :func:`markdown_table`."""
    print(markdown_table())
    return 0


def markdown_table() -> str:
    """Return the table of losses, features and parameters as Markdown."""
    from ludwig_losses.host.registry import catalogue

    lines = ["| `loss.type` | also | features | parameter | default | allowed |", "|---|---|---|---|---|---|"]
    for name, declaration in catalogue().items():
        head = [f"`{name}`", ", ".join(f"`{alias}`" for alias in declaration.aliases), ", ".join(declaration.features)]
        for key, parameter in declaration.parameters.items():
            types = declaration.features_with(key)
            only = "" if types == declaration.features else f" ({', '.join(types)} only)"
            default, allowed = ("", "") if parameter is None else (f"`{default_in_yaml(parameter)}`", parameter.allowed)
            lines.append(_row(*head, f"`{key}`{only}", default, allowed))
            head = ["", "", ""]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def default_in_yaml(parameter: Parameter) -> str:
    """The default as it is written in YAML."""
    return "(required)" if parameter.required else _in_yaml(parameter.default)


def worth_trying_in_yaml(parameter: Parameter) -> str:
    """What is worth trying, as it is written in YAML, and on which features."""
    on = "" if parameter.worth_trying_on is None else f" (on {', '.join(parameter.worth_trying_on)} features)"
    return ", ".join(map(_in_yaml, parameter.worth_trying)) + on


def _in_yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
