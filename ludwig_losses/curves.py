"""What each loss looks like: curves of its value and gradient, computed by the functions and drawn with matplotlib."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Curve = tuple[list[float], list[float]]

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


def panels(loss: str) -> list[Panel]:
    """Return the figure of a loss.

    Raises:
        KeyError: there is none.
    """
    return _FIGURES[loss]()


def has_figure(loss: str) -> bool:
    """Whether a loss has a figure."""
    return loss in _FIGURES


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


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def _loss_and_gradient(
    x_label: str, losses: dict[str, Callable[[Tensor], Tensor]], z: Tensor, x: Tensor | None = None
) -> list[Panel]:
    """Return a panel with the value and one with the size of the derivative by ``z``, over ``x`` (``z`` if none)."""
    values, slopes, places = {}, {}, _rounded(z if x is None else x)
    for label, loss in losses.items():
        at = z.clone().requires_grad_()
        value = loss(at)
        value.sum().backward()
        values[label], slopes[label] = (places, _rounded(value.detach())), (places, _rounded(_grad(at).abs()))
    return [Panel(x_label, LOSS, values), Panel(x_label, GRADIENT, slopes)]


def _grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _by_probability(losses: dict[str, Callable[[Tensor, Tensor], Tensor]]) -> list[Panel]:
    """Losses of two classes against the probability of the true one; the gradient is the one by its logit."""
    import torch

    p = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)

    def of_logit(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: loss(_pair(z), torch.ones(len(z), dtype=torch.long))

    return _loss_and_gradient(
        "probability of the true class", {k: of_logit(v) for k, v in losses.items()}, p.logit(), p
    )


def _pair(z: Tensor) -> Tensor:
    """Logits ``[B, 2]`` in which the true class, 1, leads by ``z``."""
    import torch

    return torch.stack([torch.zeros_like(z), z], dim=-1)


def _by_lead(losses: dict[str, Callable[[Tensor, Tensor], Tensor]], reach: float = 6) -> list[Panel]:
    """Losses of two classes against the lead of the true one's logit."""
    import torch

    z = torch.linspace(-reach, reach, 61, dtype=torch.float64)

    def of_lead(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: loss(_pair(z), torch.ones(len(z), dtype=torch.long))

    return _loss_and_gradient("lead of the true class's logit", {k: of_lead(v) for k, v in losses.items()}, z)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, target, reduction="none")


def _focal() -> list[Panel]:
    from ludwig_losses.functional import softmax_focal_loss

    def focal(gamma: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda z, y: softmax_focal_loss(z, y, gamma=gamma)

    return _by_probability({CROSS_ENTROPY: _cross_entropy, **{f"gamma {g:g}": focal(g) for g in (0.5, 1, 2, 5)}})


def _poly() -> list[Panel]:
    from ludwig_losses.functional import poly_loss

    def poly(epsilon: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda z, y: poly_loss(z, y, epsilon=epsilon)

    return _by_probability({CROSS_ENTROPY: _cross_entropy, **{f"epsilon {e:g}": poly(e) for e in (-1, 1, 2)}})


def _bi_tempered() -> list[Panel]:
    from ludwig_losses.functional import bi_tempered_logistic_loss

    def tempered(t1: float, t2: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda z, y: bi_tempered_logistic_loss(z, y, t1=t1, t2=t2)

    pairs = ((0.8, 1.0), (0.8, 1.2), (0.5, 1.5), (0.2, 2.0))
    curves = {f"t1 {t1:g}, t2 {t2:g}": tempered(t1, t2) for t1, t2 in pairs}
    return _by_lead({CROSS_ENTROPY: _cross_entropy, **curves}, reach=8)


def _entmax() -> list[Panel]:
    from ludwig_losses.functional import entmax_loss

    def entmax(alpha: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda z, y: entmax_loss(z, y, alpha=alpha)

    names = {1.25: "alpha 1.25", 1.5: "entmax-1.5", 2.0: "sparsemax"}
    return _by_lead({CROSS_ENTROPY: _cross_entropy, **{names[alpha]: entmax(alpha) for alpha in names}})


# The plane of three logits, around the point where they are equal; in it, the triangle of the probabilities.
_REACH, _CELLS = 2.0, 101
_RADIUS = math.sqrt(2 / 3)
_ANGLES = [math.pi / 2 + turn * 2 * math.pi / 3 for turn in range(3)]


def simplex() -> list[Panel]:
    """Return where in the plane of three logits each projection leaves how many classes a probability above 0."""
    import torch

    from ludwig_losses.functional import entmax15, sparsemax

    line = torch.linspace(-_REACH, _REACH, _CELLS, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    logits = torch.stack([_RADIUS * (x * math.cos(angle) + y * math.sin(angle)) for angle in _ANGLES], dim=-1)
    projections = {"softmax": lambda z: z.softmax(dim=-1), "entmax-1.5": entmax15, "sparsemax": sparsemax}
    return [
        Panel(name, "", regions=(project(logits) > 1e-9).sum(dim=-1).tolist()) for name, project in projections.items()
    ]


def _open_set() -> list[Panel]:
    import torch

    from ludwig_losses.functional import entropic_open_set_loss

    def loss(target: int) -> Callable[[Tensor], Tensor]:
        def of_lead(z: Tensor) -> Tensor:
            logits = torch.stack([z, *[torch.zeros_like(z)] * 3], dim=-1)
            return entropic_open_set_loss(logits, torch.full((len(z),), target), known=torch.tensor([0, 1, 2]))

        return of_lead

    losses = {f"{CROSS_ENTROPY} (known, right)": loss(0), "known, wrong": loss(1), "unknown": loss(3)}
    z = torch.linspace(-6, 6, 61, dtype=torch.float64)
    return _loss_and_gradient("lead of one of three logits", losses, z)


def _objectosphere() -> list[Panel]:
    import torch

    from ludwig_losses.functional import objectosphere_loss

    def loss(target: int, zeta: float) -> Callable[[Tensor], Tensor]:
        def of_lead(z: Tensor) -> Tensor:
            logits = torch.stack([z, *[torch.zeros_like(z)] * 3], dim=-1)
            known = torch.tensor([0, 1, 2])
            return objectosphere_loss(logits, torch.full((len(z),), target), known=known, xi=5.0, zeta=zeta)

        return of_lead

    losses = {f"{CROSS_ENTROPY} (known)": loss(0, 0.0), "known, zeta 0.1": loss(0, 0.1)}
    losses |= {"unknown, zeta 0": loss(3, 0.0), "unknown, zeta 0.1": loss(3, 0.1)}
    z = torch.linspace(0.05, 10, 61, dtype=torch.float64)
    return _loss_and_gradient("magnitude of the logits (xi 5)", losses, z)


def _corn() -> list[Panel]:
    import torch

    from ludwig_losses.functional import corn_loss, corn_probabilities

    score = torch.linspace(-5, 9, 57, dtype=torch.float64)
    tasks = torch.stack([score, score - 2, score - 4], dim=-1)
    ranks = ("lowest class", "second", "third", "highest")
    places, p = _rounded(score), corn_probabilities(tasks)
    losses = [corn_loss(tasks, torch.full((len(score),), rank)) for rank in range(4)]
    x_label = "score that all tasks share"
    return [
        Panel(x_label, "probability of the class", {n: (places, _rounded(p[:, k])) for k, n in enumerate(ranks)}),
        Panel(x_label, "loss of an example of it", {n: (places, _rounded(losses[k])) for k, n in enumerate(ranks)}),
    ]


def _by_size(losses: dict[str, Callable[[Tensor, Tensor], Tensor]]) -> list[Panel]:
    """Losses of a mask whose object is missed, against the size of the object; the gradient is that of its pixels."""
    import torch

    side, sizes = 64, [2**k for k in range(2, 12)]
    shares = [float(f"{100 * size / side**2:.4g}") for size in sizes]
    values: dict[str, Curve] = {label: (shares, []) for label in losses}
    slopes: dict[str, Curve] = {label: (shares, []) for label in losses}
    for (label, loss), size in ((each, size) for each in losses.items() for size in sizes):
        target = (torch.arange(side**2) < size).long().view(1, side, side)
        logits = torch.stack([torch.full((1, side, side), z, dtype=torch.float64) for z in (1.5, -1.5)], dim=1)
        value = loss(logits.requires_grad_(), target)
        value.backward()
        values[label][1].append(float(f"{value.item():.4g}"))
        slopes[label][1].append(float(f"{_grad(logits)[:, 1][target == 1].abs().sum().item():.4g}"))
    x_label = "object, % of the pixels"
    return [Panel(x_label, LOSS, values, log="x"), Panel(x_label, "gradient of its pixels", slopes, log="xy")]


def _mean_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return _cross_entropy(logits, target).mean()


def _dice() -> list[Panel]:
    from ludwig_losses.functional import dice_loss, softmax_focal_loss

    return _by_size(
        {
            CROSS_ENTROPY: _mean_cross_entropy,
            "focal": lambda z, y: softmax_focal_loss(z, y).mean(),
            "Dice": dice_loss,
            "Tversky, beta 0.8": lambda z, y: dice_loss(z, y, tversky_alpha=0.2, tversky_beta=0.8),
        }
    )


def _lovasz() -> list[Panel]:
    from ludwig_losses.functional import dice_loss, lovasz_softmax_loss

    return _by_size({CROSS_ENTROPY: _mean_cross_entropy, "Dice": dice_loss, "Lovász-Softmax": lovasz_softmax_loss})


def _compound() -> list[Panel]:
    from ludwig_losses.functional import dice_loss

    return _by_size(
        {
            CROSS_ENTROPY: _mean_cross_entropy,
            "Dice": dice_loss,
            "Dice + 0.5 cross-entropy": lambda z, y: dice_loss(z, y) + 0.5 * _mean_cross_entropy(z, y),
        }
    )


def _nt_xent() -> list[Panel]:
    import torch
    from torch.nn.functional import cross_entropy

    from ludwig_losses.functional import nt_xent_loss

    def loss(temperature: float) -> Callable[[Tensor], Tensor]:
        def of_similarity(s: Tensor) -> Tensor:
            return torch.stack([nt_xent_loss(_views(each), temperature=temperature) for each in s.unbind()])

        return of_similarity

    def unscaled(s: Tensor) -> Tensor:
        logits = torch.cat([s.unsqueeze(1), s.new_zeros(len(s), 2 * _PAIRS - 2)], dim=1)
        return cross_entropy(logits, torch.zeros(len(s), dtype=torch.long), reduction="none")

    losses = {f"{CROSS_ENTROPY} of cosines": unscaled, **{f"temperature {t:g}": loss(t) for t in (0.07, 0.2, 0.5)}}
    s = torch.linspace(-0.95, 0.95, 39, dtype=torch.float64)
    return _loss_and_gradient("cosine of the two partners", losses, s)


_PAIRS = 32


def _views(cosine: Tensor) -> Tensor:
    """Rows in which partners have a cosine, and all others are orthogonal."""
    import torch

    eye = torch.eye(2 * _PAIRS, dtype=torch.float64)
    first, other = eye[:_PAIRS], cosine * eye[:_PAIRS] + (1 - cosine**2).sqrt() * eye[_PAIRS:]
    return torch.stack([first, other], dim=1).flatten(0, 1)


def _one_class() -> list[Panel]:
    import torch

    from ludwig_losses.functional import deep_sad_loss, deep_svdd_loss, drocc_loss

    def sad(label: int) -> Callable[[Tensor], Tensor]:
        return lambda d: deep_sad_loss(d, torch.full((len(d),), label))

    losses: dict[str, Callable[[Tensor], Tensor]] = {
        f"{CROSS_ENTROPY} (drocc)": lambda d: drocc_loss(-d, d, mu=0.0),
        "deep_svdd, nu 0": lambda d: deep_svdd_loss(d, nu=0.0),
        "deep_svdd, nu 0.5": lambda d: deep_svdd_loss(d, nu=0.5, radius2=1.0),
        "deep_sad, normal": sad(0),
        "deep_sad, anomaly": sad(1),
    }
    return _loss_and_gradient("anomaly score (radius² 1)", losses, torch.linspace(0.2, 3, 57, dtype=torch.float64))


_FIGURES: dict[str, Callable[[], list[Panel]]] = {
    "compound_loss": _compound,
    "corn": _corn,
    "deep_sad": _one_class,
    "deep_svdd": _one_class,
    "dice_loss": _dice,
    "drocc": _one_class,
    "entmax_1.5_loss": _entmax,
    "entmax_loss": _entmax,
    "entropic_open_set": _open_set,
    "focal_loss": _focal,
    "lovasz_softmax_loss": _lovasz,
    "nt_xent_loss": _nt_xent,
    "objectosphere": _objectosphere,
    "poly_loss": _poly,
    "sparsemax_loss": _entmax,
    "tempered_softmax_cross_entropy": _bi_tempered,
}
