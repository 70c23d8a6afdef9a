"""Projections of losses, which cache the probabilities that the loss has computed for a batch."""

import torch
from torch import Tensor, nn

from ludwig_losses.declare.remembered import Remembered
from ludwig_losses.functional._derivatives import as_projection

# The largest number of probabilities that are cached until the prediction: 4 MB.
_MOST_REMEMBERED = 2**20


class Probabilities(nn.Module):
    """A function from logits to probabilities, cached with values that follow from them; TorchScript can compile it."""

    def __init__(self, power: float) -> None:
        """Take the power of the derivative, see :func:`as_projection`."""
        super().__init__()
        self.power = power
        self._memory = Remembered()

    def forward(self, logits: Tensor) -> Tensor:
        if not torch.jit.is_scripting():
            p = self.remembered(logits)
            if p is not None:
                return as_projection(p, logits, self.power)
        return self.project(logits)

    def project(self, logits: Tensor) -> Tensor:
        """Return the probabilities of logits that are not cached."""
        raise NotImplementedError

    def remember(self, logits: Tensor, p: Tensor | None, **others: Tensor) -> None:
        """Cache probabilities, if there are any and if they are small: the next step needs the memory."""
        if p is not None and p.numel() <= _MOST_REMEMBERED:
            self._memory.values(logits).update(others, p=p)

    def remembered(self, logits: Tensor, name: str = "p") -> Tensor | None:
        """Return a cached value, without a gradient."""
        return self._memory.values(logits).get(name)
