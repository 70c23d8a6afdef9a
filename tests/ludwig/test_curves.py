"""The figures of the pages show what the functions compute, and what is said about them."""

from __future__ import annotations

import importlib.util
import pathlib
import re

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("write", ROOT / "docs" / "_build" / "write.py")
write = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(write)

DRAWN = sorted(path.stem for path in write.FIGURES.glob("*.svg"))


@pytest.fixture(scope="module")
def figures():
    return write.figures()


def flat(data) -> tuple[list, list]:
    """The names and the numbers of a figure."""
    if isinstance(data, dict):
        parts = [flat(part) for part in data.values()]
        return [*data, *(name for names, _ in parts for name in names)], [n for _, ns in parts for n in ns]
    if isinstance(data, (list, tuple)):
        parts = [flat(part) for part in data]
        return [name for names, _ in parts for name in names], [n for _, ns in parts for n in ns]
    return [], [data]


def test_every_figure_is_drawn_for_both_backgrounds_and_shown(figures):
    assert sorted([*figures, *(f"{name}-dark" for name in figures)]) == DRAWN
    shown = {name for page in write.PAGES for name in re.findall(r"figures/([\w-]+)\.svg", page.read_text())}
    assert shown == {*DRAWN}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_shows_what_the_functions_compute(name, figures):
    (names, drawn), (computed_names, computed) = (
        flat(write.numbers_of(write.FIGURES / f"{name}.svg")),
        flat([panel.data for panel in figures[name.removesuffix("-dark")]]),
    )
    assert names == computed_names, "run `make docs-write`"
    np.testing.assert_allclose(drawn, computed, rtol=2e-3, atol=1e-4, err_msg="run `make docs-write`")


def test_focal_and_poly_curves_are_the_formulas(figures):
    p, loss = np.array(figures["focal"][0].curves["gamma 2"])
    np.testing.assert_allclose(loss, -((1 - p) ** 2) * np.log(p), rtol=2e-3)
    p, slope = np.array(figures["poly"][1].curves["epsilon 2"])
    np.testing.assert_allclose(slope, (1 - p) * (1 + 2 * p), rtol=2e-3)  # of the logit


def test_sparsemax_keeps_three_classes_within_the_simplex_only(figures):
    softmax, entmax, sparsemax = (panel.data for panel in figures["simplex"])
    assert softmax[:2] == [0, 0] and entmax[2] > sparsemax[2] and entmax[0] < sparsemax[0]
    triangle = 3 * np.sqrt(3) / 4 * (2 / 3) / 16  # its area, as a share of the square
    assert sparsemax[2] / sum(sparsemax) == pytest.approx(triangle, rel=0.05)
