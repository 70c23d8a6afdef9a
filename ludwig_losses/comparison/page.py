"""Pieces of a report: tables, text as Markdown shows it, and the page, one file of HTML that fetches nothing."""

from __future__ import annotations

import base64
import html
import math
import pathlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tabulate import tabulate


@dataclass(frozen=True)
class Section:
    """A further table of a report, with what has to be said of it.

    Args:
        title: above it.
        headers: of the columns.
        lines: cells, row by row.
        said: sentences below it.
    """

    title: str
    headers: Sequence[str]
    lines: Sequence[Sequence[str]]
    said: Sequence[str]


def decimals(numbers: Iterable[float]) -> int:
    """Return how many decimals tell numbers apart."""
    largest = max(map(abs, numbers))
    if 0 < largest < 1e-3:
        return 2 - math.floor(math.log10(largest))
    return 1 if largest >= 100 else 2 if largest >= 10 else 3 if largest >= 0.1 else 4


def plain(text: str) -> str:
    """Return text in one line, without characters that a terminal obeys."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def table(head: Sequence[str], lines: Iterable[Sequence[str]], style: str) -> str:
    """Return a table in one of tabulate's styles."""
    escape = escaped if style == "pipe" else str
    # All numbers are text by now.
    cells_of = [[escape(cell) for cell in line] for line in lines]
    return tabulate(cells_of, [*map(escape, head)], style, disable_numparse=True)


def escaped(text: str) -> str:
    """Return text as Markdown that shows it as it is: names may contain what has a meaning there."""
    text = re.sub(r"([\\|*`])", r"\\\1", plain(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")


def as_page(parts: Iterable[str]) -> str:
    """Return the page with these parts of HTML."""
    return _PAGE.format(body="\n".join(parts))


def as_list(lines: Iterable[str]) -> str:
    """Return lines of text as a list."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def as_image(path: pathlib.Path) -> str:
    """Return an image, which the page contains."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}">'


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Comparison of losses</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; margin: 0.5rem 0 2rem; display: block; overflow-x: auto; }}
th, td {{ padding: 0.25rem 0.9rem 0.25rem 0; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }}
td {{ font-variant-numeric: tabular-nums; }}
h2 {{ margin-top: 2rem; font-size: 1.2rem; }}
img {{ max-width: 100%; display: block; margin: 1.5rem 0; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
