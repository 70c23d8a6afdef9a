"""``ludwig-losses list | explain NAME | check CONFIG | table``: catalogue and strict check on the command line."""

from __future__ import annotations

import argparse
import sys
import textwrap

from ludwig_losses._startup import DISABLE, disabled
from ludwig_losses.parameters import Parameter


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 0, or 2 with a message on standard error for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="ludwig-losses", description="Losses for Ludwig, selected with loss.type.")
    commands = parser.add_subparsers(required=True)
    for command, summary in ((list_losses, "list the losses"), (table, "print the losses as a Markdown table")):
        commands.add_parser(command.__name__.partition("_")[0], help=summary).set_defaults(run=lambda _, c=command: c())
    explain_parser = commands.add_parser("explain", help="explain a loss and its parameters")
    explain_parser.add_argument("name")
    explain_parser.set_defaults(run=lambda options: explain(options.name))
    check_parser = commands.add_parser("check", help="check a Ludwig configuration without training")
    check_parser.add_argument("config", help="path of a YAML file")
    check_parser.set_defaults(run=lambda options: check(options.config))
    options = parser.parse_args(arguments)
    if disabled():
        print(f"ludwig-losses is switched off by {DISABLE}.", file=sys.stderr)
        return 2
    return options.run(options)


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
    from ludwig_losses.host.registry import catalogue, find

    declaration = find(name)
    if declaration is None:
        print(f"There is no loss '{name}'. The losses are: {', '.join(catalogue())}.", file=sys.stderr)
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
        text = f"{parameter.description}{only} Allowed: {parameter.allowed}."
        print(textwrap.fill(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return 0


def check(path: str) -> int:
    """Parse a configuration as Ludwig does, with the strict check of its losses."""
    from ludwig.schema.model_types.base import ModelConfig

    try:
        ModelConfig.from_yaml(path)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{path}: the configuration is valid.")
    return 0


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
    if parameter.required:
        return "(required)"
    if isinstance(parameter.default, bool):
        return str(parameter.default).lower()
    return "null" if parameter.default is None else str(parameter.default)


if __name__ == "__main__":
    sys.exit(main())
