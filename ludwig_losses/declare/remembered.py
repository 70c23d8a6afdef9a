"""A cache of values computed from the same tensors: Ludwig asks for the loss of a batch up to three times, and for
probabilities that the loss has computed."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


class Remembered(threading.local):
    """Values by name that belong to one or several tensors, as long as these exist unchanged.

    No tensor is kept alive: for images the logits of a batch are large. A copy is empty. Each thread has its own
    values: otherwise another thread could change them between the check of the key and the access.
    """

    def __init__(self) -> None:
        """Begin empty; called once in each thread."""
        self._storages: list[StorageWeakRef] = []
        self._key: Any = None
        self._values: dict[str, Any] = {}

    def __reduce__(self) -> tuple[type[Remembered], tuple]:
        return Remembered, ()

    def values(self, *tensors: Tensor) -> dict[str, Any]:
        """Return the values of some tensors, for reading and adding; empty if the tensors differ from the last ones."""
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return {}
        key = self._key_of(tensors)
        if key is None:
            return {}
        if not self._are_of(key):
            self._storages = [StorageWeakRef(x.untyped_storage()) for x in tensors]
            self._key, self._values = key, {}
        return self._values

    def known(self, *tensors: Tensor) -> dict[str, Any]:
        """Return the values of some tensors for reading; the last ones are kept if the tensors differ."""
        return self._values if self._values and self._are_of(self._key_of(tensors)) else {}

    def _key_of(self, tensors: tuple[Tensor, ...]) -> Any:
        """Return what is equal only for views of the same, unchanged numbers; ``None`` where that is not known."""
        if any(type(x) is not Tensor or x.is_inference() for x in tensors):  # their changes are not tracked
            return None
        return [(x.data_ptr(), x._version, x.shape, x.stride(), x.dtype, x.device) for x in tensors]

    def _are_of(self, key: Any) -> bool:
        # The address may be reused after the storage is freed.
        return key is not None and key == self._key and not any(map(StorageWeakRef.expired, self._storages))
