"""The plots of a comparison, each as PNG and SVG."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import matplotlib

from ludwig_losses.comparison.results import Results, Row


def draw(results: Results, tables: dict[str, list[Row]], output: pathlib.Path) -> list[pathlib.Path]:
    """Draw what there is something to draw of; return the paths of the PNG files."""
    return []
