"""Hooks of MkDocs: formulas become MathML, which browsers draw without scripts and fonts; what nobody reads goes."""

from __future__ import annotations

import html
import pathlib
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)

# Results stand beside the programs that write them; pages refer to them as a reader of the repository finds them.
_RESULTS = ("benchmarks/results/*", "examples/*/*.svg", "examples/*/*.png", "examples/*/README.md")
_OF_README = re.compile(r'^--8<-- "README.md:(\w+)"$', re.MULTILINE)
_TO_RESULTS = re.compile(r"\]\((?:\.\./)((?:\.\./)*(?:benchmarks|examples)/)")


def on_files(files: Any, config: Any) -> Any:
    for path in (path for pattern in _RESULTS for path in sorted(ROOT.glob(pattern)) if path.suffix != ".json"):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.src_uri.startswith(("benchmarks/", "examples/")):
        return markdown.replace("](../../docs/", "](../../")
    markdown = _OF_README.sub(lambda found: _section(found[1]), markdown)
    return _TO_RESULTS.sub(r"](\1", markdown)


def _section(name: str) -> str:
    """Return a section of the README for a page at the root of the site."""
    marked = rf"<!-- --8<-- \[start:{name}\] -->\n(.*?)<!-- --8<-- \[end:{name}\] -->"
    (text,) = re.findall(marked, (ROOT / "README.md").read_text(), re.DOTALL)
    return text.replace("](docs/", "](")


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
