"""Hooks of MkDocs: formulas become MathML, which browsers draw without scripts and fonts; what nobody reads goes."""

from __future__ import annotations

import html
import pathlib
import re
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    return _FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    tag, bracket, latex = found.groups()
    latex = html.unescape(latex).strip()
    display = "block" if bracket == "[" else "inline"
    math = convert(latex, display=display).replace("<math ", f'<math aria-label="{html.escape(latex)}" ', 1)
    return f'<{tag} class="formula">{math}</{tag}>'


def on_post_build(config: Any) -> None:
    """Source maps and the search's stemmers of other languages are two thirds of the theme."""
    site = pathlib.Path(config.site_dir)
    for unread in [*site.rglob("*.map"), *site.glob("assets/javascripts/lunr/**/*.js")]:
        unread.unlink()
