"""Which operators make a host wait for an accelerator. A dispatch mode sees all of them, also where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_INDEXING = (torch.ops.aten.index, torch.ops.aten.index_put)
_MARKS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


def synchronises(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a host has to wait: for what an operator returns, a number of Python or a shape that depends on the data,
    or until numbers of its own have been copied to the accelerator.

    Indexing is marked as if it always did. It does with a mask, whose true elements are counted.
    """
    if function.overloadpacket in _INDEXING:
        return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    if function.overloadpacket is torch.ops.aten.lift_fresh:  # a list that becomes a tensor, to be copied
        return args[0].ndim > 0
    if function.overloadpacket is torch.ops.aten._to_copy:
        return args[0].is_cpu and kwargs.get("device", args[0].device) != args[0].device
    return any(mark in function.tags for mark in _MARKS)


class SynchronisingOperators(TorchDispatchMode):
    """Lists the operators that a host has to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if synchronises(function, args, kwargs):
            self.found.append(str(function))
        return function(*args, **kwargs)


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Let torch raise where a host waits for a GPU, which has to be there."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
