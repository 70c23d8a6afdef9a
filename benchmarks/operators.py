"""What every loss and every peer asks of an accelerator: how many operators it starts, and the peak of its memory.

On a GPU most of these losses take as long as it takes to start their operators. Both can be counted without a GPU: a
dispatch mode sees each operator on CPU tensors, while the losses take the way that they take on an accelerator.

``python benchmarks/operators.py [PART OF A TITLE ...]`` writes ``benchmarks/results/operators.md`` (for all works), or
prints the rows of some. ``--without kornia,SMP`` leaves out peers; any other peer that is not installed is an error.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ludwig_losses.functional import _numerics

if TYPE_CHECKING:
    from works import Work

RESULT = pathlib.Path(__file__).parent / "results" / "operators.md"
IGNORED = 255
OURS = "ludwig-losses"
_ALLOCATIONS = ("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided")


def starts_work(function: torch._ops.OpOverload) -> bool:
    """Whether an operator computes, fills or copies something: it is neither a view nor an allocation."""
    returned = [each.alias_info for each in function._schema.returns]
    is_view = torch.Tag.inplace_view in function.tags or any(
        alias is not None and not alias.is_write for alias in returned
    )
    return not is_view and function.overloadpacket.__name__ not in (*_ALLOCATIONS, "_unsafe_view")


class Count(TorchDispatchMode):
    """Lists the operators that start work, and follows the bytes of the tensors that they make.

    What is there before counts as none of it. What an operator takes inside itself, as a sort does, is not seen.

    Attributes:
        operators: their names, in order.
        live: bytes of the tensors that exist now.
        peak: the most that ``live`` has been.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []
        self.live = self.peak = 0
        self._storages: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        for storage in _storages((args, kwargs)):
            self._follow(storage, 0)
        output = function(*args, **kwargs)
        if starts_work(function):
            self.operators.append(function.overloadpacket.__name__)
        for storage in _storages(output):
            self._follow(storage, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return output

    def _follow(self, storage: torch.UntypedStorage, size: int) -> None:
        """Count a storage, if it is new, until it is freed."""
        key = storage._cdata
        if key in self._storages:
            return

        def forget(_: weakref.ref) -> None:
            del self._storages[key]
            self.live -= size

        self._storages[key] = weakref.ref(storage, forget)
        self.live += size


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    return (value.untyped_storage() for value in tree_leaves(values) if isinstance(value, Tensor))


@contextmanager
def as_on_an_accelerator() -> Iterator[None]:
    """Let the losses take the way of an accelerator: their numbers may not be looked at."""
    host_devices = _numerics.HOST_DEVICES
    _numerics.HOST_DEVICES = frozenset()
    try:
        yield
    finally:
        _numerics.HOST_DEVICES = host_devices


def count(loss: Callable[..., Tensor], logits: Tensor, target: Tensor | None) -> Count:
    """Count forward and backward of a loss."""
    return count_calls(lambda: step(loss, logits, target))


def count_calls(call: Callable[[], object]) -> Count:
    """Count what is called, after a call that fills every cache."""
    with as_on_an_accelerator():
        call()
        with Count() as counted:
            call()
    return counted


def step(loss: Callable[..., Tensor], logits: Tensor, target: Tensor | None) -> None:
    """One forward and backward of the mean."""
    leaf = logits.detach().requires_grad_()
    value = loss(leaf, target)
    (value if value.ndim == 0 else value.mean()).backward()


class Row(NamedTuple):
    """One implementation of a work."""

    title: str
    implementation: str
    right: bool
    operators: int
    peak: float  # in multiples of the logits

    def __str__(self) -> str:
        value = "yes" if self.right else "**no**"
        return f"| {self.title} | {self.implementation} | {value} | {self.operators} | {self.peak:.1f} |"


def rows(work: Work) -> Iterator[Row]:
    """Count every implementation of a work."""
    from losses import same_value

    logits, target = work.data()
    for name, loss in work.losses.items():
        counted = count(loss, logits, target)
        yield Row(work.title, name, same_value(work, loss), len(counted.operators), counted.peak / logits.nbytes)


def partly_ignored(shape: Sequence[int], deviation: float) -> tuple[Tensor, Tensor]:
    """Every third row of pixels is of no class."""
    logits, target = _classes_first(shape, deviation)
    target[:, ::3] = IGNORED
    return logits, target


def half_absent(shape: Sequence[int], deviation: float) -> tuple[Tensor, Tensor]:
    """The upper half of the classes is in no image."""
    logits, target = _classes_first(shape, deviation)
    return logits, target % (shape[1] // 2)


def _classes_first(shape: Sequence[int], deviation: float) -> tuple[Tensor, Tensor]:
    import works

    return works.classes_first(tuple(shape), deviation)


def masks_with_options() -> Iterator[Work]:
    """Dice where classes are absent, pixels are ignored, and classes are weighted."""
    import plain
    import works
    from ludwig_losses import functional

    for shape in ((4, 2, 64, 64), (8, 21, 128, 128)):
        yield works.Work("Dice, absent classes", shape, works.DICE, None, make=half_absent)
        ignoring = {
            OURS: partial(functional.dice_loss, ignore_index=IGNORED),
            "plain": partial(plain.dice, ignore_index=IGNORED),
        }
        yield works.Work("Dice, ignored pixels", shape, ignoring, None, make=partly_ignored)
        weights = torch.linspace(0.5, 1.5, shape[1])
        weighted = {
            OURS: partial(functional.dice_loss, class_weights=weights),
            "plain": partial(plain.dice, class_weights=weights),
        }
        yield works.Work("Dice, class weights", shape, weighted, None)


def counted_works() -> list[Work]:
    """The works of ``losses.py`` that differ on an accelerator: one small batch, and not the data of other logits."""
    import works

    others = [size for size in works.SMALL_BATCHES if size != 128]
    return [
        work
        for work in (*works.WORKS, *works.FORMULAS, *masks_with_options())
        if work.shape[0] not in others and work.make is not works.half_trained
    ]


def summary(table: Sequence[Row]) -> str:
    """One line per work: ours, and the right peers that start the fewest operators and take the least memory."""
    lines = []
    for title in dict.fromkeys(row.title for row in table):
        of_work = [row for row in table if row.title == title and row.right]
        (ours,) = (row for row in of_work if row.implementation == OURS)
        peers = [row for row in of_work if not row.implementation.startswith(OURS)]
        few, small = min(peers, key=lambda row: row.operators), min(peers, key=lambda row: row.peak)
        lines.append(
            f"| {title} | {ours.operators} | {few.operators} ({few.implementation}) "
            f"| {ours.peak:.1f} | {small.peak:.1f} ({small.implementation}) |"
        )
    return "\n".join(lines)


def metric_rows() -> str:
    """Count the update of every metric of the package, in a process in which its losses are not switched off."""
    environment = {name: value for name, value in os.environ.items() if name != "LUDWIG_LOSSES_DISABLE"}
    program = pathlib.Path(__file__).with_name("metric_updates.py")
    lines = subprocess.check_output([sys.executable, program], text=True, env=environment).splitlines()
    return "\n".join(line for line in lines if line.startswith("|"))  # Libraries print what they lack.


PAGE = """# Operators and memory of every loss on an accelerator

Forward and backward of the mean, in float32, counted on CPU tensors by `benchmarks/operators.py` (torch {torch}).
Operators are those that start work: neither views nor allocations. Memory is the peak of all tensors that are made,
in multiples of the logits; what an operator takes inside itself, as a sort does, is not seen.

| work | our operators | fewest of a right peer | our memory | least of a right peer |
|---|---|---|---|---|
{summary}

## Metrics

What the metrics of this package start per batch that is evaluated, beside the loss itself. None waits for the
accelerator before the end of an evaluation.

| metrics | operators |
|---|---|
{metrics}

## Every implementation

Those with another value compute something else.

| work | implementation | right value | operators | memory |
|---|---|---|---|---|
{losses}
"""


def main(arguments: Mapping[str, Any]) -> None:
    os.environ["WITHOUT"] = arguments["without"]
    parts = arguments["parts"]
    table = []
    for work in counted_works():
        if not parts or any(part in work.title for part in parts):
            for row in rows(work):
                print(row, flush=True)
                table.append(row)
    if not parts:
        page = PAGE.format(
            torch=torch.__version__.partition("+")[0],
            summary=summary(table),
            metrics=metric_rows(),
            losses="\n".join(map(str, table)),
        )
        RESULT.write_text(page)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART OF A TITLE")
    parser.add_argument("--without", default="", metavar="PEER,PEER", help="peers that are left out")
    main(vars(parser.parse_args()))
