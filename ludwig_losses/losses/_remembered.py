"""What was computed from the same tensors before: Ludwig asks for the loss of a batch of an evaluation twice."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Remembered:
    """Values by name that belong to one pair of tensors, as long as nobody has changed these."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Let go of the tensors."""
        self._tensors: tuple[Tensor, ...] = ()
        self._key: Any = None
        self._values: dict[Any, Any] = {}

    def values(self, preds: Tensor, target: Tensor) -> dict[Any, Any]:
        """Return the values that are known of two tensors, none if they are others than before; add to them."""
        tensors = (preds, target)
        key = None if any(x.is_inference() for x in tensors) else tuple(map(_identity, tensors))
        if key is None or key != self._key:
            # They are held, or others could come to lie where they were.
            self._tensors, self._key, self._values = tensors, key, {}
        return self._values


def _identity(tensor: Tensor) -> tuple:
    """What two tensors have in common only if they are views of the same, unchanged numbers."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor._version
