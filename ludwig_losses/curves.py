"""Curves of the values and gradients of losses, which each loss declares, drawn with matplotlib."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Curve = tuple[list[float], list[float]]
# Of logits and targets, by label.
Loss = Callable[..., "Tensor"]
Losses = Mapping[str, Loss]

CROSS_ENTROPY = "cross-entropy"
LOSS, GRADIENT = "loss", "size of the gradient"

_LIGHT = {"text": "#1f2328", "lines": ["#5c636b", "#0065a8", "#c44900", "#00795a", "#9b2a70", "#7a5c00"]}
_DARK = {"text": "#e6e8eb", "lines": ["#b4bac2", "#5eb5f0", "#ff9a57", "#39cfa5", "#f08cc4", "#e2c04b"]}
_REGIONS = {"light": ["#f3c9a5", "#9cc9e8", "#d9d9de"], "dark": ["#8a4b1d", "#1f5f8a", "#4a4d57"]}


@dataclass(frozen=True)
class Panel:
    """One part of a figure.

    Args:
        x_label, y_label: of the axes.
        curves: points by the label of each curve.
        regions: in place of curves, how many classes have a probability above 0, by row and column of a square.
        log: the axes with a logarithmic scale, of ``"x"`` and ``"y"``.
    """

    x_label: str
    y_label: str
    curves: dict[str, Curve] = field(default_factory=dict)
    regions: list[list[int]] | None = None
    log: str = ""

    @property
    def data(self) -> Any:
        """What is drawn, as numbers that a file can keep and a test compare."""
        if self.regions is None:
            return self.curves
        return [sum(row.count(classes) for row in self.regions) for classes in (1, 2, 3)]


def draw(figure: list[Panel], path: str, *, dark: bool = False) -> None:
    """Draw a figure into a file whose name says the format: ``.svg``, ``.png`` or ``.pdf``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: matplotlib does not know the format.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    colors = _DARK if dark else _LIGHT
    style: Any = {
        "svg.hashsalt": "ludwig-losses",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.prop_cycle": cycler(color=colors["lines"]),
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    for part in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"):
        style[part] = colors["text"]
    with matplotlib.rc_context(style):
        drawing = Figure(figsize=(5.2, 2.9), layout="constrained")
        for panel, axes in zip(figure, drawing.subplots(1, len(figure), squeeze=False)[0], strict=True):
            _draw(panel, axes, "dark" if dark else "light")
        handles, labels = drawing.axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=_columns(labels), frameon=False)
        metadata = {"Description": describe(figure), "Date": None} if path.endswith(".svg") else None
        drawing.savefig(path, transparent=path.endswith(".svg"), dpi=200, metadata=metadata)


def describe(figure: list[Panel]) -> str:
    """Return the numbers of a figure as JSON, which an SVG file keeps as its description."""
    return json.dumps([panel.data for panel in figure], separators=(",", ":"))


def _columns(labels: list[str]) -> int:
    """As many columns of a legend as fit below two panels."""
    return 3 if len(labels) <= 3 or max(map(len, labels)) <= 16 else 2


def _draw(panel: Panel, axes: Any, scheme: str) -> None:
    axes.set_xlabel(panel.x_label)
    if panel.regions is not None:
        _draw_regions(panel.regions, axes, scheme)
        return
    axes.set_title(panel.y_label, fontsize=9)
    for label, (x, y) in panel.curves.items():
        axes.plot(x, y, label=label, linestyle="--" if label.startswith(CROSS_ENTROPY) else "-", linewidth=1.6)
    axes.grid(alpha=0.25, linewidth=0.6)
    if "x" in panel.log:
        axes.set_xscale("log")
    if "y" in panel.log:
        axes.set_yscale("log")


# The plane of three logits, around the point where they are equal; in it, the triangle of the probabilities.
_REACH, _CELLS = 2.0, 101
_RADIUS = math.sqrt(2 / 3)
_ANGLES = [math.pi / 2 + turn * 2 * math.pi / 3 for turn in range(3)]


def _draw_regions(regions: list[list[int]], axes: Any, scheme: str) -> None:
    from matplotlib.colors import ListedColormap

    colors = _REGIONS[scheme]
    axes.imshow(regions, origin="lower", extent=[-_REACH, _REACH] * 2, cmap=ListedColormap(colors), vmin=1, vmax=3)
    corners = [(math.cos(angle), math.sin(angle)) for angle in _ANGLES]
    corners = [(x * _RADIUS, y * _RADIUS) for x, y in (*corners, corners[0])]
    axes.plot(*zip(*corners, strict=True), color=(_DARK if scheme == "dark" else _LIGHT)["text"], linewidth=1.2)
    axes.set(xticks=[], yticks=[])
    for classes, color in enumerate(colors, start=1):
        axes.scatter([], [], marker="s", color=color, label=f"{classes} class{'es' * (classes > 1)} above 0")


def rounded(values: Tensor) -> list[float]:
    """Return numbers with four digits, as figures keep them."""
    return [float(f"{value:.4g}") for value in values.tolist()]


def loss_and_gradient(
    x_label: str, losses: Mapping[str, Callable[..., Tensor]], z: Tensor, x: Tensor | None = None
) -> list[Panel]:
    """Return a panel with the value and one with the size of the derivative by ``z``, over ``x`` (``z`` if none)."""
    values, slopes, places = {}, {}, rounded(z if x is None else x)
    for label, loss in losses.items():
        at = z.clone().requires_grad_()
        value = loss(at)
        value.sum().backward()
        values[label], slopes[label] = (places, rounded(value.detach())), (places, rounded(_grad(at).abs()))
    return [Panel(x_label, LOSS, values), Panel(x_label, GRADIENT, slopes)]


def _grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def by_probability(losses: Losses) -> list[Panel]:
    """Losses of two classes, and cross-entropy, by the probability of the true one; the gradient is by its logit."""
    import torch

    p = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)

    def of_logit(loss: Loss) -> Callable[[Tensor], Tensor]:
        return lambda z: loss(_pair(z), torch.ones(len(z), dtype=torch.long))

    return loss_and_gradient(
        "probability of the true class", {k: of_logit(v) for k, v in _beside_cross_entropy(losses)}, p.logit(), p
    )


def _pair(z: Tensor) -> Tensor:
    """Logits ``[B, 2]`` in which the true class, 1, leads by ``z``."""
    import torch

    return torch.stack([torch.zeros_like(z), z], dim=-1)


def by_lead(losses: Losses, reach: float = 6) -> list[Panel]:
    """Losses of two classes, and cross-entropy, by the lead of the true one's logit."""
    import torch

    z = torch.linspace(-reach, reach, 61, dtype=torch.float64)

    def of_lead(loss: Loss) -> Callable[[Tensor], Tensor]:
        return lambda z: loss(_pair(z), torch.ones(len(z), dtype=torch.long))

    return loss_and_gradient(
        "lead of the true class's logit", {k: of_lead(v) for k, v in _beside_cross_entropy(losses)}, z
    )


def _beside_cross_entropy(losses: Losses) -> Iterator[tuple[str, Loss]]:
    from torch.nn.functional import cross_entropy

    yield CROSS_ENTROPY, partial(cross_entropy, reduction="none")
    yield from losses.items()


def by_size(losses: Losses) -> list[Panel]:
    """Losses of a mask whose object is missed, and the mean cross-entropy, by the size of the object; the gradient is
    that of its pixels."""
    import torch

    losses = dict(_beside_cross_entropy(losses))
    side, sizes = 64, [2**k for k in range(2, 12)]
    shares = [float(f"{100 * size / side**2:.4g}") for size in sizes]
    values: dict[str, Curve] = {label: (shares, []) for label in losses}
    slopes: dict[str, Curve] = {label: (shares, []) for label in losses}
    for (label, loss), size in ((each, size) for each in losses.items() for size in sizes):
        target = (torch.arange(side**2) < size).long().view(1, side, side)
        logits = torch.stack([torch.full((1, side, side), z, dtype=torch.float64) for z in (1.5, -1.5)], dim=1)
        value = loss(logits.requires_grad_(), target).mean()
        value.backward()
        values[label][1].append(float(f"{value.item():.4g}"))
        slopes[label][1].append(float(f"{_grad(logits)[:, 1][target == 1].abs().sum().item():.4g}"))
    x_label = "object, % of the pixels"
    return [Panel(x_label, LOSS, values, log="x"), Panel(x_label, "gradient of its pixels", slopes, log="xy")]


def simplex(projections: Mapping[str, Callable[..., Tensor]]) -> list[Panel]:
    """Return where in the plane of three logits each projection leaves how many classes a probability above 0."""
    import torch

    line = torch.linspace(-_REACH, _REACH, _CELLS, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    logits = torch.stack([_RADIUS * (x * math.cos(angle) + y * math.sin(angle)) for angle in _ANGLES], dim=-1)
    return [
        Panel(name, "", regions=(project(logits) > 1e-9).sum(dim=-1).tolist()) for name, project in projections.items()
    ]
