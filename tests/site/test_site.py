"""The site in a real browser, below a path: pages keep to the screen, the search finds what people ask for."""

from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from browser import Browser, search, serving

pytestmark = pytest.mark.site

ROOT = pathlib.Path(__file__).parents[2]
PREFIX = "/some/path/"

LOOKS = [(width, *scheme) for width in (390, 1280) for scheme in (("light", "default"), ("dark", "slate"))]

# Elements that are wider than the page or their box; what scrolls by itself is code.
WIDE = """[...document.querySelectorAll(".md-content :is(table, .formula, math, img)")].filter(element => {
    const page = document.querySelector(".md-content__inner").getBoundingClientRect();
    const box = element.getBoundingClientRect();
    return box.right > page.right + 1 || element.scrollWidth > element.clientWidth + 1 && element.clientWidth;
}).map(element => element.textContent.trim().replace(/\\s+/g, " ").slice(0, 60) || element.src)"""

# Names in code, and words of tables, that stand on two lines.
BROKEN = """[...document.querySelectorAll(".md-content :is(:not(pre) > code, th, td)")].flatMap(element => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), broken = [];
    while (walker.nextNode()) for (const word of walker.currentNode.data.matchAll(/\\w+/g)) {
        const range = document.createRange();
        range.setStart(walker.currentNode, word.index);
        range.setEnd(walker.currentNode, word.index + word[0].length);
        const lines = new Set([...range.getClientRects()].map(line => Math.round(line.top)));
        if (lines.size > 1) broken.push(word[0]);
    }
    return broken;
})"""

# The first page of each list that there is, is among the first three results.
QUERIES = {
    "imbalance": ["guides/class_imbalance"],
    "custom loss": ["guides/own_loss"],
    "tuning": ["guides/tuning"],
    "Lightning": ["guides/pytorch"],
    "multilabel": ["choosing"],
    "calibration": ["guides/calibration"],
    "noisy labels": ["guides/wrong_labels"],
    "open set": ["guides/unknown_classes"],
    "licence": ["about"],
    "cite": ["about"],
    "focal_loss": ["losses/focal"],
    "dice loss": ["losses/dice"],
    "class weights": ["guides/classes"],
    "upgrade": ["about"],
    "hyperopt": ["guides/cluster"],
    "report a bug": ["about"],
    "version": ["about"],
    "security": ["about"],
    "threshold": ["guides/calibration"],
    "segmentation": ["guides/segmentation"],
    "contrastive": ["guides/pairs"],
    "prediction interval": ["losses/quantile"],
    "install": ["index", "start"],
}


@dataclass
class Site:
    folder: pathlib.Path
    address: str

    def pages(self) -> list[str]:
        found = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.html"))
        return [page for page in found if page != "404.html"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder, address = tmp_path_factory.mktemp("site"), f"http://127.0.0.1:{port}{PREFIX}"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "SITE_URL": address, "SITE_DIR": str(folder)}, check=True)
    with serving(folder, PREFIX, port):
        yield Site(folder, address)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def test_pages_keep_to_the_screen_and_names_in_one_piece(site, browser):
    wrong = {}
    for page in site.pages():
        browser.open(site.address + page)
        for width, scheme, shown in LOOKS:
            browser.look(width, scheme)
            # Two frames later the page has its new layout.
            browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
            found = browser.run(
                f"[innerWidth, document.body.dataset.mdColorScheme, document.documentElement.scrollWidth, {WIDE}, {BROKEN}]"
            )
            if found != [width, shown, width, [], []]:
                wrong[page, width, scheme] = found
    assert not wrong


def test_formulas_have_the_font_of_the_site(site, browser):
    browser.ask("DOM.enable")
    browser.ask("CSS.enable")
    fonts = set()
    for page in ("losses/dice.html", "losses/lovasz_softmax.html", "losses/entmax.html", "functions.html"):
        browser.open(site.address + page)
        root = browser.ask("DOM.getDocument")["root"]["nodeId"]
        for node in browser.ask("DOM.querySelectorAll", nodeId=root, selector="math *")["nodeIds"]:
            used = browser.ask("CSS.getPlatformFontsForNode", nodeId=node)["fonts"]
            fonts |= {(font["familyName"], font["isCustomFont"]) for font in used}
    assert fonts == {("Formula Math", True)}


@pytest.mark.parametrize("query", QUERIES)
def test_the_search_finds(query, site, browser):
    expected = next(page for page in QUERIES[query] if (site.folder / f"{page}.html").exists())
    browser.look(1280, "light")
    browser.open(site.address)
    assert f"{PREFIX}{expected}.html" in search(browser, query)[:3]


def test_pages_that_are_missing_lead_home(site, browser):
    browser.open(f"{site.address}losses/no/such/page.html")
    styled = "getComputedStyle(document.querySelector('.md-header')).position"
    assert "404" in browser.run("document.body.innerText") and browser.run(styled) == "sticky"
    assert browser.run("document.querySelector('.md-logo').href") in (site.address, f"{site.address}index.html")


def test_the_sitemap_has_every_page(site):
    listed = re.findall("<loc>(.*?)</loc>", (site.folder / "sitemap.xml").read_text())
    pages = {site.address + page for page in site.pages()}
    assert {f"{site.address}index.html" if page == site.address else page for page in listed} == pages
