"""Projections of a loss: the probabilities that it has found for a batch need not be computed again."""

import torch
from torch import Tensor, nn

from ludwig_losses.declare.remembered import Remembered
from ludwig_losses.functional._derivatives import as_projection

# Probabilities that are kept from the loss until the prediction: 4 MB.
_MOST_REMEMBERED = 2**20


class Probabilities(nn.Module):
    """A function from logits to probabilities, which may be known of the same logits, with what follows from them;
    TorchScript can compile it."""

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
        """Return the probabilities of logits of which nothing is known."""
        raise NotImplementedError

    def remember(self, logits: Tensor, p: Tensor | None, **others: Tensor) -> None:
        """Keep probabilities, if there are any; not so many that the next step would miss their memory."""
        if p is not None and p.numel() <= _MOST_REMEMBERED:
            self._memory.values(logits).update(others, p=p)

    def remembered(self, logits: Tensor, name: str = "p") -> Tensor | None:
        """Return what is known, without a gradient."""
        return self._memory.values(logits).get(name)
