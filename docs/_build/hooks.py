"""Hooks of MkDocs: formulas become MathML, which browsers draw without scripts; cells of tables know the heads of their
columns, for narrow screens; what nobody reads goes."""

from __future__ import annotations

import html
import importlib.util
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs/_build/notebooks.py")
notebooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(notebooks)

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
_PICTURE = re.compile(r"^!\[(.*?)\]\((.*?)\)$", re.MULTILINE)
_PARTS = re.compile(r",?\s*\\qquad\s*")
_TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
_ROW = re.compile(r"<tr>\s*<td.*?</tr>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_DOTTED = re.compile(r"(?<=<code>)\w+(\.\w+)+(?=</code>)")
# Tables of more columns are set smaller.
WIDE = 4
# Formulas whose source has more characters are set smaller on telephones.
LONG = 60

# Results stand beside the programs that write them; pages refer to them as a reader of the repository finds them.
_RESULTS = ("benchmarks/results/*.md", "benchmarks/results/*.svg", *(f"examples/*/*.{x}" for x in ("svg", "png", "py", "yaml")))
_OF_ROOT = re.compile(r'^--8<-- "(README|SECURITY)\.md:(\w+)"$', re.MULTILINE)
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
    return [page.relative_to(ROOT).as_posix() for page in sorted(ROOT.glob("examples/*/README.md"))]


def on_files(files: Any, config: Any) -> Any:
    results = [path.relative_to(ROOT).as_posix() for pattern in _RESULTS for path in sorted(ROOT.glob(pattern))]
    for path in [*results, *_measured()]:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for name in (pathlib.Path(page).parent.name for page in _measured()):
        content = json.dumps(notebooks.notebook(name), indent=1)
        files.append(File.generated(config, f"examples/{name}/{name}.ipynb", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    page.meta.setdefault("tags", config.extra["keywords"].get(page.file.src_uri, []))
    if page.file.src_uri.startswith("examples/"):
        markdown = _with_picture_first(markdown, pathlib.Path(page.file.src_uri).parent.name)
    if page.file.src_uri.startswith(("benchmarks/", "examples/")):
        return markdown.replace("](../../docs/", "](../../")
    markdown = markdown.replace("<!-- gallery -->", _gallery())
    markdown = _OF_ROOT.sub(lambda found: _section(f"{found[1]}.md", found[2]), markdown)
    return _TO_RESULTS.sub(r"](\1", markdown)


def _with_picture_first(markdown: str, name: str) -> str:
    """Return the page of an example with its first picture below the title, and the notebook at the end."""
    picture = _PICTURE.search(markdown)
    if picture:
        title, _, rest = markdown.replace(picture[0], "", 1).partition("\n")
        markdown = f"{title}\n\n{picture[0]}\n{rest}"
    return f"{markdown}\n## Run it\n\n[Notebook]({name}.ipynb): the files of this example, and what runs them.\n"


def _gallery() -> str:
    """Return a card for each example: its picture, its title and its question."""
    return f'<div class="gallery" markdown>\n\n{"".join(map(_card, sorted(ROOT.glob("examples/*/README.md"))))}\n</div>'


def _card(page: pathlib.Path) -> str:
    text, folder = page.read_text(), f"../../examples/{page.parent.name}"
    title, question = re.match(r"# (.*)\n\n\*(.*?)\*\n", text).groups()
    picture = _PICTURE.search(text)
    shown = f"![]({folder}/{picture[2]}){{ loading=lazy }}<br>" if picture else ""
    return f"- [{shown}**{title}**]({folder}/README.md)<br>{question}\n"


def _section(file: str, name: str) -> str:
    """Return a section of a file of the repository for a page at the root of the site."""
    marked = rf"<!-- --8<-- \[start:{name}\] -->\n(.*?)<!-- --8<-- \[end:{name}\] -->"
    (text,) = re.findall(marked, (ROOT / file).read_text(), re.DOTALL)
    return text.replace("](docs/", "](").replace("](SECURITY.md)", "](about.md#security)")


def on_page_content(content: str, **_: Any) -> str:
    return _TABLE.sub(_with_labels, _FORMULA.sub(_mathml, content))


def _mathml(found: re.Match[str]) -> str:
    """A displayed formula of several parts has an element for each, so that a narrow screen can put them in lines."""
    tag, bracket, latex = found.groups()
    display = "block" if bracket == "[" else "inline"
    parts = _PARTS.split(html.unescape(latex)) if bracket == "[" else [html.unescape(latex)]
    return f'<{tag} class="formula">{"".join(_element(part.strip(), display) for part in parts)}</{tag}>'


def _element(latex: str, display: str) -> str:
    math = convert(latex, display=display)
    if "<mi>\\" in math:
        raise PluginError(f"latex2mathml does not know all commands of {latex}")
    long = " data-long" if len(latex) > LONG else ""
    return math.replace("<math ", f'<math aria-label="{html.escape(latex)}"{long} ', 1)


def _with_labels(found: re.Match[str]) -> str:
    """Give each cell of a table the text of the head of its column, and let dotted names break behind their dots."""
    heads = [html.escape(html.unescape(_TAG.sub("", head))) for head in re.findall(r"<th.*?>(.*?)</th>", found[0])]
    rows = _ROW.sub(lambda row: _row_with_labels(row[0], iter(heads)), found[0])
    rows = _DOTTED.sub(lambda name: name[0].replace(".", ".<wbr>"), rows)
    return rows.replace("<table>", "<table data-wide>") if len(heads) > WIDE else rows


def _row_with_labels(row: str, heads: Iterator[str]) -> str:
    return re.sub("<td", lambda _: f'<td data-label="{next(heads)}"', row)


def on_post_build(config: Any) -> None:
    """Source maps and the search's stemmers of other languages are two thirds of the theme; and what has to know the
    address of the site is wrong where there is none."""
    site = pathlib.Path(config.site_dir)
    without_address = [] if config.site_url else [site / "404.html", *site.glob("sitemap.xml*")]
    for unread in [*site.rglob("*.map"), *site.glob("assets/javascripts/lunr/**/*.js"), *without_address]:
        unread.unlink()
