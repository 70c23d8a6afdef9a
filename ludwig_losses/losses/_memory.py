import torch
from torch import Tensor
from torch.nn.functional import normalize

from ludwig_losses.functional._numerics import full_precision


class MemoryBank:
    """The last embeddings of the batches so far with their targets, first in, first out.

    It is not saved with the model: a loaded model begins with an empty memory bank.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        # Both together, so that another thread never sees the embeddings of one batch and the targets of another.
        self._past: tuple[Tensor, Tensor] | None = None

    @property
    def embeddings(self) -> Tensor | None:
        """The embeddings kept, each normalised to length 1; ``None`` before the first batch."""
        return None if self._past is None else self._past[0]

    def recall(self, embeddings: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is kept, on the device of a batch and in its types; nothing if the embeddings differ in size."""
        past = self._past
        if past is None or past[0].shape[1:] != embeddings.shape[1:]:
            return full_precision(embeddings.detach()[:0]), targets[:0]
        return past[0].to(embeddings.device), past[1].to(targets)

    def remember(self, embeddings: Tensor, targets: Tensor) -> None:
        """Add a batch, and drop the oldest rows beyond the size."""
        past, past_targets = self.recall(embeddings, targets)
        unit = normalize(full_precision(embeddings.detach()), dim=1)
        # An overflow must not spoil later batches: a row of zeros has similarity 0 to all others.
        unit = torch.where(unit.isfinite().all(dim=1, keepdim=True), unit, 0)
        self._past = torch.cat([past, unit])[-self.size :], torch.cat([past_targets, targets.detach()])[-self.size :]
