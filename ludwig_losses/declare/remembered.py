"""What was computed from the same tensors before: Ludwig asks for the loss of a batch up to three times, and for
probabilities that the loss has found."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


class Remembered(threading.local):
    """Values by name that belong to one tensor, or to several, as long as these exist and nobody has changed them.

    The tensors themselves are not kept: for images the logits of a batch are large. A copy remembers nothing. Each
    thread has its own values: between a look at the key and one at the values, another one may have changed both.
    """

    def __init__(self) -> None:
        """Remember nothing; called once in each thread."""
        self._storages: list[StorageWeakRef] = []
        self._key: Any = None
        self._values: dict[str, Any] = {}

    def __reduce__(self) -> tuple[type[Remembered], tuple]:
        return Remembered, ()

    def values(self, *tensors: Tensor) -> dict[str, Any]:
        """Return the values that are known of some tensors, none if they are others than before; add to them."""
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return {}
        key = []
        for x in tensors:
            if type(x) is not Tensor or x.is_inference():  # of which it is not known whether they were changed
                return {}
            # What two tensors have in common only if they are views of the same, unchanged numbers.
            key.append((x.data_ptr(), x._version, x.shape, x.stride(), x.dtype, x.device))
        # Where a tensor was, another one may lie by now.
        if key != self._key or any(map(StorageWeakRef.expired, self._storages)):
            self._storages = [StorageWeakRef(x.untyped_storage()) for x in tensors]
            self._key, self._values = key, {}
        return self._values
