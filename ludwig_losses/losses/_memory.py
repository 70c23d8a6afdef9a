import torch
from torch import Tensor
from torch.nn.functional import normalize

from ludwig_losses.functional._numerics import full_precision


class MemoryBank:
    """The last embeddings of the batches so far with their targets, first in, first out.

    No part of a model's state: it is not saved, and a model that is loaded begins with an empty one.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.embeddings: Tensor | None = None
        self.targets: Tensor | None = None

    def recall(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is remembered, on the device of a batch and in its types; nothing if it is of another width."""
        if self.embeddings is None or self.targets is None or self.embeddings.shape[1:] != embeddings.shape[1:]:
            return full_precision(embeddings.detach()[:0]), targets[:0]
        return self.embeddings.to(embeddings.device), self.targets.to(targets)

    def remember(self, embeddings: Tensor, targets: Tensor) -> None:
        """Add a batch, and forget what exceeds the size."""
        past, past_targets = self.recall(embeddings, targets)
        unit = normalize(full_precision(embeddings.detach()), dim=1)
        # One batch that overflowed must not stay for many: rows of zeros are similar to nothing.
        unit = torch.where(unit.isfinite().all(dim=1, keepdim=True), unit, 0)
        self.embeddings = torch.cat([past, unit])[-self.size :]
        self.targets = torch.cat([past_targets, targets.detach()])[-self.size :]
