"""Docstrings as Markdown: the roles and formulas of reStructuredText, which Python's own tools know, are translated."""

from __future__ import annotations

import ast
import pathlib
import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class):`~?([\w.]+)`")
_MATH = re.compile(r"^(\s*)\.\. math:: (.*)$", re.MULTILINE)
_SEVERAL = re.compile(r"^( +)((?:\w+, )+\w+): (.*(?:\n\1 +.*)*)", re.MULTILINE)
_SOURCE = re.compile(r"^Source: ", re.MULTILINE)
# Read, not imported: the site is built without torch.
_FUNCTIONS = (pathlib.Path(__file__).parents[2] / "ludwig_losses" / "functional" / "__init__.py").read_text()
_PUBLIC = set(ast.literal_eval(_FUNCTIONS.partition("__all__ = ")[2]))


class MarkdownDocstrings(griffe.Extension):
    """Translates every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = translated(obj.docstring.value)


def translated(text: str) -> str:
    """Return a docstring whose roles are links, if the functions that they name are public, whose formulas are
    dollars, and whose arguments that share a description have one each."""
    text = _ROLE.sub(lambda found: _link(found[1]), text)
    text = _SEVERAL.sub(lambda found: "\n".join(f"{found[1]}{n}: {found[3]}" for n in found[2].split(", ")), text)
    return _SOURCE.sub("**Source:** ", _MATH.sub(r"\1$$ \2 $$", text))


def _link(name: str) -> str:
    short = name.rpartition(".")[2]
    return f"[`{short}`][ludwig_losses.functional.{short}]" if short in _PUBLIC else f"`{short}`"
