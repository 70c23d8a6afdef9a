"""``ludwig-losses list | explain NAME | check CONFIG [--dataset DATA] | table | compare``: catalogue, strict check and
comparison on the command line."""

from __future__ import annotations

import argparse
import difflib
import platform
import sys
import textwrap
from importlib.metadata import version
from typing import Any

from ludwig_losses._startup import DISABLE, disabled
from ludwig_losses.parameters import Parameter


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 0, or 2 with a message on standard error for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="ludwig-losses", description="Losses for Ludwig, selected with loss.type.")
    parser.add_argument("--version", action="version", version=versions())
    commands = parser.add_subparsers(required=True)
    for command, summary in ((list_losses, "list the losses"), (table, "print the losses as a Markdown table")):
        commands.add_parser(command.__name__.partition("_")[0], help=summary).set_defaults(run=lambda _, c=command: c())
    explain_parser = commands.add_parser("explain", help="explain a loss and its parameters")
    explain_parser.add_argument("name")
    explain_parser.set_defaults(run=lambda options: explain(options.name))
    check_parser = commands.add_parser("check", help="check a Ludwig configuration without training")
    check_parser.add_argument("config", help="path of a YAML file")
    check_parser.add_argument("--dataset", help="data to find the class names in, as for `ludwig train`")
    check_parser.set_defaults(run=lambda options: check(options.config, options.dataset))
    _add_compare(commands)
    options = parser.parse_args(arguments)
    if disabled():
        print(f"ludwig-losses is switched off by {DISABLE}.", file=sys.stderr)
        return 2
    return options.run(options)


def versions() -> str:
    """Return the versions that matter for a report."""
    found = [f"{name} {version(name)}" for name in ("ludwig-losses", "ludwig", "torch")]
    return ", ".join([*found, f"Python {platform.python_version()}"])


def list_losses() -> int:
    """Print each loss with its feature types and one line on what it does."""
    from ludwig_losses.host.registry import catalogue

    losses = catalogue()
    width = max(map(len, losses))
    for name, declaration in losses.items():
        print(f"{name:<{width}}  {', '.join(declaration.features):<24}  {declaration.summary}")
    return 0


def explain(name: str) -> int:
    """Print what a loss and each of its parameters is for."""
    from ludwig_losses.host.registry import catalogue, find, losses_by_feature

    declaration = find(name)
    if declaration is None:
        features = [feature for feature, names in losses_by_feature().items() if name in names]
        if features:
            return _explain_ludwigs(name, features)
        near = difflib.get_close_matches(name, catalogue(), n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        print(f"There is no loss '{name}'.{hint} The losses are: {', '.join(catalogue())}.", file=sys.stderr)
        return 2
    also = f" (also: {', '.join(declaration.aliases)})" if declaration.aliases else ""
    print(f"{declaration.name}{also}, for {', '.join(declaration.features)} features\n\n{declaration.summary}\n")
    for key, parameter in declaration.parameters.items():
        if parameter is None:
            print(f"  {key}")
            continue
        types = declaration.features_with(key)
        only = "" if types == declaration.features else f" Only on {', '.join(types)} features."
        print(f"  {key}: {_default(parameter)}")
        print(_indented(f"{parameter.description}{only} Allowed: {parameter.allowed}."))
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
    parser.add_argument("--workers", type=int, default=1, help="processes that train side by side (default: 1)")
    parser.add_argument("--gpus", type=int, nargs="+", help="numbers of the GPUs to use; -1 uses none")
    parser.add_argument("--keep_models", action="store_true", help="keep the trained models")
    parser.set_defaults(run=_compare)


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


def table() -> int:
    """Print :func:`markdown_table`."""
    print(markdown_table())
    return 0


def markdown_table() -> str:
    """Return the table of losses, features and parameters that stands in the README."""
    from ludwig_losses.host.registry import catalogue

    lines = ["| `loss.type` | also | features | parameter | default | allowed |", "|---|---|---|---|---|---|"]
    for name, declaration in catalogue().items():
        head = [f"`{name}`", ", ".join(f"`{alias}`" for alias in declaration.aliases), ", ".join(declaration.features)]
        for key, parameter in declaration.parameters.items():
            types = declaration.features_with(key)
            only = "" if types == declaration.features else f" ({', '.join(types)} only)"
            default, allowed = ("", "") if parameter is None else (f"`{_default(parameter)}`", parameter.allowed)
            lines.append(_row(*head, f"`{key}`{only}", default, allowed))
            head = ["", "", ""]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _default(parameter: Parameter) -> str:
    """The default as it is written in YAML."""
    return "(required)" if parameter.required else _in_yaml(parameter.default)


def _in_yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
