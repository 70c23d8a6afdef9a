"""What ``LUDWIG_LOSSES_COMPILE=1`` saves: operators uncompiled, kernels compiled, and how long compiling takes.

``python benchmarks/compiled.py`` writes ``benchmarks/results/compiled.md``, in some minutes; with a part of a title it
prints the rows of some. Counted on the CPU, by inductor itself, while the losses take the way that they take on an
accelerator; nothing is found that was compiled before.
"""

from __future__ import annotations

import os
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch._inductor import metrics
from torch._inductor.utils import run_and_get_code

import operators
from ludwig_losses import functional

RESULT = pathlib.Path(__file__).parent / "results" / "compiled.md"
HEAD = """| loss | operators | compiled: kernels | and calls of libraries | seconds to compile |
|---|---|---|---|---|"""
# What inductor does not write itself, such as sorting.
_CALLS = re.compile(r"^ +(?:\w+ = )?(?:extern_kernels|torch\.ops)\.[\w.]+\(", re.MULTILINE)
_TEMPERED = partial(functional.bi_tempered_logistic_loss, t1=0.5, t2=1.5)


class Case(NamedTuple):
    """A loss, and the shape of its logits; one with one logit per element has no dimension of classes."""

    name: str
    loss: Callable[..., Tensor]
    shape: tuple[int, ...]
    binary: bool = False

    @property
    def title(self) -> str:
        return f"{self.name} {' x '.join(map(str, self.shape))}"

    def batch(self) -> tuple[Tensor, Tensor]:
        logits = torch.randn(self.shape, generator=torch.Generator().manual_seed(0))
        if self.binary:
            return logits, (logits > 1).float()
        return logits, logits.roll(1, dims=1).argmax(dim=1)


CASES = [
    Case("focal", functional.softmax_focal_loss, (4096, 1000)),
    Case("focal, binary", functional.sigmoid_focal_loss, (2**20,), binary=True),
    Case("poly", functional.poly_loss, (4096, 1000)),
    Case("logit-adjusted", partial(functional.logit_adjusted_loss, priors=torch.full((1000,), 1e-3)), (4096, 1000)),
    Case("Dice", functional.dice_loss, (8, 21, 128, 128)),
    Case("Dice", functional.dice_loss, (4, 2, 256, 256)),
    Case("Lovász", functional.lovasz_softmax_loss, (4, 2, 256, 256)),
    Case("Lovász", functional.lovasz_softmax_loss, (8, 21, 128, 128)),
    Case("entmax-1.5", functional.entmax15_loss, (256, 1000)),
    Case("sparsemax", functional.sparsemax_loss, (256, 1000)),
    Case("tempered", _TEMPERED, (128, 10)),
]


def row(case: Case) -> str:
    """Count the operators of a step uncompiled, then what is left of them compiled."""
    logits, target = case.batch()
    counted = operators.count(case.loss, logits, target)
    torch.compiler.reset()
    metrics.reset()
    compiled = torch.compile(lambda z, y: case.loss(z, y).mean(), fullgraph=True, dynamic=False)
    began = time.perf_counter()
    with operators.as_on_an_accelerator():
        _, programs = run_and_get_code(operators.step, compiled, logits, target)
    seconds = time.perf_counter() - began
    calls = sum(len(_CALLS.findall(program)) for program in programs)
    return f"| {case.title} | {len(counted.operators)} | {metrics.generated_kernel_count} | {calls} | {seconds:.0f} |"


def rows(parts: list[str]) -> Iterator[str]:
    warm_up = torch.compile(lambda z, y: (z * y).sum())  # headers are compiled once in a process
    operators.step(warm_up, torch.ones(3), torch.ones(3))
    for case in CASES:
        if not parts or any(part in case.title for part in parts):
            yield row(case)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        lines = [HEAD]
        for line in rows(sys.argv[1:]):
            print(line, flush=True)
            lines.append(line)
    if not sys.argv[1:]:
        version = torch.__version__.partition("+")[0]
        RESULT.write_text(
            f"# What compiling saves\n\nBy `benchmarks/compiled.py`, torch {version}.\n\n" + "\n".join(lines) + "\n"
        )
