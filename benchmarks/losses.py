"""Forward and backward of every loss and library: time, interleaved in one process, and peak extra memory.

``python benchmarks/losses.py [PART OF A TITLE ...]`` measures all works, or some, and merges them into
``benchmarks/results/losses.json``, from which ``report.py`` makes the table and the plots. ``DEVICE=cuda`` measures on
a GPU, its memory included, into ``losses-cuda.json``.
"""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable

import torch

import report
from works import DEVICE, WORKS, Work

RESULTS = pathlib.Path(__file__).parent / "results"
THREADS = 2
# Each implementation is run so often that a work takes about so many seconds, within these bounds.
SECONDS, FEWEST, MOST = 8.0, 3, 31
# A clock that is read more often than so says little.
LEAST = 0.002
LIMIT = "limit"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h

Step = Callable[[], float]


def step(loss: Callable, logits: torch.Tensor, target: torch.Tensor) -> Step:
    """One forward and backward; returns the loss."""

    def run() -> float:
        value = loss(logits, target)
        value.sum().backward()
        logits.grad = None
        return value.detach()

    return run


def seconds(run: Step, repeats: int = 1) -> float:
    """Time of a run that follows another one of its own kind: the memory that another library left must not count."""
    run()
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    wait()
    return (time.perf_counter() - start) / repeats


def wait() -> None:
    """Wait for an accelerator to be done."""
    if DEVICE != "cpu":
        torch.accelerator.synchronize()


def times(runs: dict[str, Step], budget: float = SECONDS) -> dict[str, float]:
    """Median milliseconds of interleaved runs, after one that warms up."""
    for run in runs.values():
        seconds(run)
    first = {name: seconds(run) for name, run in runs.items()}
    repeats = {name: max(1, int(LEAST / each)) for name, each in first.items()}
    round_time = sum(repeats[name] * each for name, each in first.items())
    rounds = int(max(FEWEST, min(MOST, budget / round_time)))
    measured = [{name: seconds(run, repeats[name]) for name, run in runs.items()} for _ in range(rounds)]
    return {name: 1000 * statistics.median(row[name] for row in measured) for name in runs}


def keep_free_memory(keep: bool) -> None:
    """Let the C library keep what is freed, or return it at once.

    Kept, as after some steps of a training, it does not cost page faults, which depend on the allocations before and
    let the same code take twice its time. Returned, the resident memory is what is used.
    """
    for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        ctypes.CDLL(None).mallopt(option, 2**30 if keep else 2**17)


def peak_extra_bytes(run: Step) -> int:
    """How far the resident memory rises above its start, whoever allocates: torch, numpy or a library below them."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - allocated
    ctypes.CDLL(None).malloc_trim(0)  # free memory must not hide what is taken
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    (line,) = (line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


def same_value(work: Work, loss: Callable) -> bool:
    """Whether a loss agrees with its paper, transcribed in float64, also on a batch too small for all classes."""
    for logits, target in (work.data(), work.data(work.small)):
        exact_target = target.double() if target.is_floating_point() else target
        expected = work.losses["plain"](logits.detach().double(), exact_target)
        if not torch.allclose(loss(logits, target).detach().double().sum(), expected, rtol=1e-4):
            return False
    return True


def steps(work: Work) -> dict[str, Step]:
    logits, target = work.data()
    return {name: step(loss, logits, target) for name, loss in {LIMIT: work.limit, **work.losses}.items()}


def peaks(work: Work) -> dict[str, float]:
    """Megabytes of each implementation."""
    keep_free_memory(False)
    found = {}
    for name, run in steps(work).items():
        run()
        found[name] = round(peak_extra_bytes(run) / 1e6, 1)
    return found


def peaks_in_processes(works: list[Work]) -> list[dict[str, float]]:
    """:func:`peaks` of each work in a process of its own: what others left half free, the next one fills unseen.

    Processes are forked, since peers take half a minute to import, so that nothing may have been computed before.
    """
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        return pool.map(_peaks_of, [WORKS.index(work) for work in works], chunksize=1)


def _peaks_of(index: int) -> dict[str, float]:
    torch.set_num_threads(THREADS)
    return peaks(WORKS[index])


def measure(work: Work, memory: dict[str, float]) -> dict:
    """One row of the results."""
    milliseconds = times(steps(work))
    rows = {}
    for name, value in milliseconds.items():
        rows[name] = {
            "ms": round(value, 4),
            "ratio": round(value / milliseconds[LIMIT], 2),
            "peak_extra_mb": memory[name],
        }
        if name != LIMIT:
            rows[name]["same_value"] = same_value(work, work.losses[name])
    logits, _ = work.data()
    return {
        "limit": work.limit_name,
        "bar": work.bar,
        "logits_mb": round(logits.nbytes / 1e6, 4),
        "implementations": rows,
        "growth": growth(work) if DEVICE == "cpu" else {},
    }


def growth(work: Work) -> dict:
    """Milliseconds against size, for the plot."""
    points: dict[str, list] = {}
    for shape in work.sizes:
        logits, target = work.data(shape)
        runs = {name: step(loss, logits, target) for name, loss in work.losses.items()}
        size = logits.numel() // (shape[1] if len(shape) == 4 else 1)
        size = shape[{"rows": 0, "classes": 1}[work.axis.split()[0]]] if len(shape) == 2 else size
        for name, value in times(runs, budget=SECONDS / 4).items():
            points.setdefault(name, []).append([size, round(value, 4)])
    return {"axis": work.axis, "points": points} if points else {}


def machine() -> dict:
    """The machine in words that name nobody."""
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
    return {
        "cpu": f"{model} ({platform.machine()})",
        "cores": os.cpu_count(),
        "threads": THREADS,
        **({} if DEVICE == "cpu" else {"device": torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE}),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main(parts: list[str]) -> None:
    chosen = [work for work in WORKS if not parts or any(part in work.title for part in parts)]
    # A GPU counts what is allocated, and forked processes could not use it.
    memory = list(map(peaks, chosen)) if DEVICE == "cuda" else peaks_in_processes(chosen)
    torch.set_num_threads(THREADS)
    # On some processors log1p, of which binary cross-entropy is made, is ten times as fast once a power was taken.
    torch.rand(2**20).pow(2.5)
    path = RESULTS / ("losses.json" if DEVICE == "cpu" else f"losses-{DEVICE}.json")
    results = json.loads(path.read_text()) if path.exists() else {"works": {}}
    results["machine"] = machine()
    keep_free_memory(True)
    order = [work.title for work in WORKS]
    for work, megabytes in zip(chosen, memory, strict=True):
        results["works"][work.title] = measure(work, megabytes)
        print(report.lines(work.title, results["works"][work.title]), flush=True)
        results["works"] = dict(sorted(results["works"].items(), key=lambda item: order.index(item[0])))
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if DEVICE == "cpu":
        report.write(results, RESULTS)


if __name__ == "__main__":
    main(sys.argv[1:])
