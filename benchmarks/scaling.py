"""The arithmetic of docs/scaling.md: `python benchmarks/scaling.py` prints its tables, with --measure times.

tests/test_scaling.py compares the formulas with what a gather really moves and keeps.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

RANKS = (8, 64, 1024)
BATCHES = (2048, 8192, 32768)
WIDTH = 128
# Similarities that NT-Xent holds at a time unless told otherwise, in three arrays.
CHUNK = 2**22
ARRAYS = 3
# What an accelerator gets done of such products in a second, in float32.
FLOPS = 20e12
# Nanoseconds of a pixel, forward and backward, on two threads of an AMD EPYC: (2 classes, 21 classes).
PIXEL = {
    "cross-entropy": (12.1, 71.1),
    "focal_loss": (18.1, 77.6),
    "dice_loss": (11.5, 70.1),
    "lovasz_softmax_loss": (38.6, 186.0),
}
PIXELS = 1_000_000 * 512 * 512
# Parameters of a network, and seconds of a step of 32 images of 224 x 224 on an accelerator, forward and backward.
NETWORKS = {"perceptron": (2_200_000, 0.002), "ResNet-50": (25_600_000, 0.1), "U-Net": (31_000_000, 0.3)}
WORKERS = (2, 8, 64)
# Bytes a second between machines: 10 and 100 Gbit/s.
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}


def received(ranks: int, batch: int, width: int = WIDTH) -> int:
    """Bytes that a rank receives in a step: the others' rows in float32, labels in int64, and sizes twice."""
    rows = batch // ranks
    return (ranks - 1) * (rows * (4 * width + 8) + 2 * 8)


def gathered(batch: int, width: int = WIDTH) -> int:
    """Bytes of the gathered rows, which each rank keeps until its backward pass."""
    return 4 * batch * width


def similarities(batch: int, chunk: int | None = None) -> int:
    """Bytes of the similarities that a rank holds at a time, by the number of rows compared with all others."""
    rows = min(chunk or max(CHUNK // batch, 1), batch)
    return ARRAYS * 4 * rows * batch


def operations(batch: int, width: int = WIDTH) -> int:
    """Operations of the three products of a step: similarities, and both sides of their gradient."""
    return 3 * 2 * batch**2 * width


def averaged(ranks: int, parameters: int) -> int:
    """Bytes that a rank receives while gradients in float32 are averaged in a ring, and as many that it sends."""
    return 2 * (ranks - 1) * 4 * parameters // ranks


def efficiency(ranks: int, parameters: int, step: float, link: float) -> float:
    """Share of the throughput of so many single ranks that is left if nothing is averaged during the backward pass."""
    return step / (step + averaged(ranks, parameters) / link)


def gather_table() -> str:
    lines = ["| ranks | global batch | rows of a rank | received by a rank | kept by a rank |", "|---|---|---|---|---|"]
    for ranks in RANKS:
        for batch in BATCHES:
            cells = f"{received(ranks, batch) / 1e6:.2f} MB | {gathered(batch) / 1e6:.2f} MB"
            lines.append(f"| {ranks:,} | {batch:,} | {batch // ranks:,} | {cells} |")
    return "\n".join(lines)


def similarity_table() -> str:
    lines = [
        "| global batch | all similarities at once | in chunks, by default | operations of a rank | at 20 TFLOP/s |",
        "|---|---|---|---|---|",
    ]
    for batch in (512, *BATCHES):
        memory = f"{similarities(batch, batch) / 1e6:,.0f} MB | {similarities(batch) / 1e6:,.0f} MB"
        work = operations(batch)
        lines.append(f"| {batch:,} | {memory} | {work / 1e9:,.1f} G | {1e3 * work / FLOPS:.2f} ms |")
    return "\n".join(lines)


def workers_table() -> str:
    heads = " | ".join(f"at {name}: time, efficiency" for name in LINKS)
    lines = [f"| network | workers | received by a worker | {heads} |", "|---" * (3 + len(LINKS)) + "|"]
    for name, (parameters, step) in NETWORKS.items():
        for workers in WORKERS:
            moved = averaged(workers, parameters)
            cells = " | ".join(
                f"{1e3 * moved / link:.1f} ms, {efficiency(workers, parameters, step, link):.0%}"
                for link in LINKS.values()
            )
            lines.append(f"| {name}, {1e3 * step:.0f} ms a step | {workers} | {moved / 1e6:.0f} MB | {cells} |")
    return "\n".join(lines)


def image_table() -> str:
    lines = ["| loss | 2 classes, per pixel | an epoch | 21 classes, per pixel | an epoch |", "|---|---|---|---|---|"]
    for name, times in PIXEL.items():
        cells = " | ".join(f"{time:.1f} ns | {time * 1e-9 * PIXELS / 3600:.1f} h" for time in times)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def measure() -> None:
    """Print the time of a pixel for each loss, and of NT-Xent by the size of its batch."""
    from ludwig_losses import functional

    torch.set_num_threads(2)
    losses = {
        "cross-entropy": torch.nn.functional.cross_entropy,
        "focal_loss": lambda logits, target: functional.softmax_focal_loss(logits, target).mean(),
        "dice_loss": functional.dice_loss,
        "lovasz_softmax_loss": functional.lovasz_softmax_loss,
    }
    for shape in ((4, 2, 256, 256), (8, 21, 128, 128)):
        logits = torch.randn(shape, requires_grad=True)
        # Regions and not noise: neighbouring pixels are of one class.
        target = (
            torch.randint(shape[1], (shape[0], 8, 8))
            .repeat_interleave(shape[2] // 8, 1)
            .repeat_interleave(shape[3] // 8, 2)
        )
        for name, loss in losses.items():
            print(f"{name} {shape}: {1e9 * _seconds(loss, logits, target) / target.numel():.1f} ns a pixel")
    for batch in (512, *BATCHES[:2]):
        rows = torch.randn(batch, WIDTH, requires_grad=True)
        print(f"nt_xent_loss {batch} x {WIDTH}: {1e3 * _seconds(functional.nt_xent_loss, rows):.1f} ms")


def _seconds(loss: Callable, *arguments: torch.Tensor) -> float:
    """Return the median time of forward and backward."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        loss(*arguments).backward()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure()
    else:
        print(*(table() for table in (gather_table, similarity_table, workers_table, image_table)), sep="\n\n")
