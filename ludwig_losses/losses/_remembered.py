"""What was computed from the same tensors before: Ludwig asks for the loss of a batch up to three times, and for
probabilities that the loss has found."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


class Remembered:
    """Values by name that belong to one tensor, or to several, as long as these exist and nobody has changed them.

    The tensors themselves are not kept: for images the logits of a batch are large. A copy remembers nothing.
    """

    def __init__(self) -> None:
        self._storages: tuple[StorageWeakRef, ...] = ()
        self._key: Any = None
        self._values: dict[str, Any] = {}

    def __reduce__(self) -> tuple[type[Remembered], tuple]:
        return Remembered, ()

    def values(self, *tensors: Tensor) -> dict[str, Any]:
        """Return the values that are known of some tensors, none if they are others than before; add to them."""
        if not all(map(_is_known, tensors)):
            return {}
        key = tuple(map(_identity, tensors))
        # Where a tensor was, another one may lie by now.
        if key != self._key or any(storage.expired() for storage in self._storages):
            self._storages = tuple(StorageWeakRef(x.untyped_storage()) for x in tensors)
            self._key, self._values = key, {}
        return self._values


def _is_known(tensor: Tensor) -> bool:
    """Whether it can be told where a tensor lies and whether it was changed: neither while torch compiles or maps a
    function."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return type(tensor) is Tensor and not tensor.is_inference()


def _identity(tensor: Tensor) -> tuple:
    """What two tensors have in common only if they are views of the same, unchanged numbers."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor._version
