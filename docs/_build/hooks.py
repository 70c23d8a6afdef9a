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
_RESULTS = ("benchmarks/results/*.md", "benchmarks/results/*.svg", *(f"examples/*/*.{x}" for x in ("svg", "png", "py", "yaml")))
_OF_README = re.compile(r'^--8<-- "README.md:(\w+)"$', re.MULTILINE)
_TO_RESULTS = re.compile(r"\]\((?:\.\./)((?:\.\./)*(?:benchmarks|examples)/)")


def on_config(config: Any) -> Any:
    """List every page of a loss, and give each example that was measured a page."""
    losses = next(entry["Losses"] for entry in config.nav if "Losses" in entry)
    pages = sorted(f"losses/{page.name}" for page in (ROOT / "docs/losses").glob("*.md"))
    losses[1:1] = [page for page in pages if page not in losses and {"All parameters": page} not in losses]
    at = next(i for i, entry in enumerate(config.nav) if "Guides" in entry) + 1
    config.nav.insert(at, {"Evidence": ["evidence/index.md", *_measured()]})
    return config


def _measured() -> list[str]:
    pages = sorted(ROOT.glob("examples/*/README.md"))
    return [page.relative_to(ROOT).as_posix() for page in pages if page.with_name("table.md").exists()]


def on_files(files: Any, config: Any) -> Any:
    results = [path.relative_to(ROOT).as_posix() for pattern in _RESULTS for path in sorted(ROOT.glob(pattern))]
    for path in [*results, *_measured()]:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
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
