import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ludwig_losses.advice import Advice
from ludwig_losses.curves import CROSS_ENTROPY, Panel, loss_and_gradient
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.remembered import Remembered
from ludwig_losses.declare.schema import VECTOR, field, loss_type
from ludwig_losses.functional import nt_xent_loss
from ludwig_losses.functional._gather import gather_consecutive_pairs, gather_rows
from ludwig_losses.functional._numerics import equal_rows
from ludwig_losses.host.ranks.agreement import trains_on_all_ranks
from ludwig_losses.host.registration import register_loss
from ludwig_losses.losses._memory import MemoryBank
from ludwig_losses.metrics.reported.contrastive import ContrastiveMetric
from ludwig_losses.parameters import Choice, Count, NumberOrWord

LEARNED = "learned"
# Between which a learned temperature stays, and where it begins. CLIP (Radford et al., ICML 2021) begins there, too,
# and cuts it off at the lower bound; from the upper one on the loss hardly tells similar rows from others.
_LOWEST, _FIRST, _HIGHEST = 0.01, 0.07, 1.0


class NTXentLossConfig(LossConfig):
    """Contrastive loss: pulls the two views of an example together, pushes others away (Chen et al., ICML 2020)."""

    type: str = loss_type("nt_xent_loss")

    advice: ClassVar[Advice | None] = Advice(
        question="embeddings",
        need="contrastive learning: pairs that belong together, no labels",
        helps=(
            "there are two views of each example, or values that many rows share, and you want embeddings for a "
            "classifier from few labels, or for search where the raw inputs compare badly"
        ),
        hinders="every row has a label and only the labels matter: train on them",
        start="{type: nt_xent_loss, temperature: 0.3, pairing: consecutive}",
        watch=("pair_accuracy", "alignment", "uniformity"),
        page="nt_xent",
        evidence="pairs",
        found="helped with 1 and 5 labels a class at temperature 0.3, not at 0.07, 1 data set",
    )

    temperature: float | str = field(
        NumberOrWord(
            default=0.07,
            minimum=0.001,
            options=(LEARNED,),
            worth_trying=(0.1, 0.3, 0.5),
            description=(
                "Scale of the cosine similarities; the lower, the sharper. learned trains it with the model, from 0.07 "
                "on, between 0.01 and 1."
            ),
        )
    )

    pairing: str = field(
        Choice(
            default="consecutive",
            options=("consecutive", "target"),
            description=(
                "What makes two rows positives: consecutive pairs rows 1 and 2, 3 and 4, ... of the data (kept "
                "together through splitting and shuffling); target pairs rows with the same target value, in any order."
            ),
        )
    )

    chunk_size: int | None = field(
        Count(
            default=None,
            description=(
                "How many rows are compared with the whole batch at a time: fewer take less memory. The result is the "
                "same; null chooses a number that fits in a few times 16 MB."
            ),
        )
    )

    average: str = field(
        Choice(
            default="pairs",
            options=("pairs", "anchors"),
            description=(
                "With `pairing: target`: average over all positive pairs (pairs), or per anchor first (anchors), as in "
                "supervised contrastive learning (SupCon, Khosla et al., NeurIPS 2020)."
            ),
        )
    )

    memory_bank: int | None = field(
        Count(
            default=None,
            description=(
                "How many past embeddings are kept as extra negatives (and, with `pairing: target`, positives). Choose "
                "fewer than there are training rows. Evaluation does not use them, and they are not saved with the "
                "model."
            ),
        )
    )

    fewest_rows_in_evaluation: ClassVar[int] = 3
    instead_of_pairs: ClassVar[str] = "pair rows by equal targets with loss.pairing: target"

    @classmethod
    def name(cls) -> str:
        return "NT-Xent Loss"

    @property
    def keeps_pairs(self) -> bool:
        return self.pairing == "consecutive"

    @property
    def fewest_rows(self) -> int:
        """A pair and a negative: without them the loss is 0. The memory bank may have either, but the partner of a
        consecutive row is in its batch."""
        return max(2 if self.keeps_pairs else 1, self.fewest_rows_in_evaluation - (self.memory_bank or 0))

    def validates_on_loss(self, feature_type: str) -> bool:
        """The default metric, the distance to the target vectors, says nothing about embeddings."""
        return True

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        def of_cosines(temperature: float) -> Callable[[Tensor], Tensor]:
            def loss(s: Tensor) -> Tensor:
                return torch.stack([nt_xent_loss(rows, temperature=temperature) for rows in map(_views, s)])

            return loss

        def unscaled(s: Tensor) -> Tensor:
            logits = torch.cat([s.unsqueeze(1), s.new_zeros(len(s), 2 * _PAIRS - 2)], dim=1)
            return cross_entropy(logits, torch.zeros(len(s), dtype=torch.long), reduction="none")

        losses: dict[str, Callable[[Tensor], Tensor]] = {f"{CROSS_ENTROPY} of cosines": unscaled}
        losses |= {f"temperature {t:g}": of_cosines(t) for t in (0.07, 0.2, 0.5)}
        s = torch.linspace(-0.95, 0.95, 39, dtype=torch.float64)
        return {"nt_xent": loss_and_gradient("cosine of the two partners", losses, s)}


@register_loss(NTXentLossConfig, features=[VECTOR], aliases=["nt_xent"])
class NTXentLoss(Loss):
    """NT-Xent over the positive pairs of a batch; the target vectors matter only for ``pairing: target``.

    In data-parallel training the batch is that of all ranks together.
    """

    metrics = (ContrastiveMetric,)
    metrics_need = "rows with the same target"

    def __init__(self, config: NTXentLossConfig) -> None:
        super().__init__(config)
        self.options: dict[str, Any] = {"chunk_size": config.chunk_size, "average": config.average}
        self.learned = LearnedTemperature() if isinstance(config.temperature, str) else None
        self.fixed = _FIRST if isinstance(config.temperature, str) else float(config.temperature)
        self.by_target = config.pairing == "target"
        self._labels = Remembered()
        self.memory = None if config.memory_bank is None else MemoryBank(config.memory_bank)

    @property
    def temperature(self) -> float | Tensor:
        """The temperature, a tensor if it is learned."""
        return self.fixed if self.learned is None else self.learned.temperature()

    def labels(self, target: Tensor) -> Tensor | None:
        """Return which rows are positives of each other, where it is not the consecutive ones."""
        if not self.by_target:
            return None
        known = self._labels.values(target)
        if "labels" not in known:
            known["labels"] = equal_rows(target)
        return known["labels"]

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        labels = self.labels(target)
        if labels is None:
            return len(preds) // 2
        sizes = torch.zeros_like(labels).index_add(0, labels, torch.ones_like(labels))
        partners = sizes - 1
        return (sizes * (partners.clamp_max(1) if self.options["average"] == "anchors" else partners)).sum()

    def can_evaluate(self, target: np.ndarray | None) -> bool:
        if target is None or not self.by_target:
            return True
        return len(target) > 0 and len(np.unique(np.stack([*target]), axis=0)) < len(target)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        labels = None
        if trains_on_all_ranks(preds):
            if not self.by_target:
                labels = gather_consecutive_pairs(len(preds), preds.device)
            if self.by_target or self.memory is not None:
                target = gather_rows(target)
            preds = gather_rows(preds)
        # Ludwig's metrics call a loss without a gradient, some of them on training batches.
        if self.memory is not None and self.training and preds.requires_grad:
            return self._with_memory(self.memory, preds, target, labels)
        labels = self.labels(target) if labels is None else labels
        return nt_xent_loss(preds, labels, temperature=self.temperature, **self.options)

    def _with_memory(self, bank: MemoryBank, preds: Tensor, target: Tensor, labels: Tensor | None) -> Tensor:
        memory, past = bank.recall(preds, target)
        past_labels, of_all = None, self.labels(torch.cat([target, past]))
        if of_all is not None:
            labels, past_labels = of_all.split([len(target), len(past)])
        of_past: dict[str, Any] = {**self.options, "memory": memory, "memory_labels": past_labels}
        loss = nt_xent_loss(preds, labels, temperature=self.temperature, **of_past)
        bank.remember(preds, target)
        return loss


class LearnedTemperature(nn.Module):
    """A temperature that is trained: its logarithm is a sigmoid between two bounds, which it never reaches."""

    def __init__(self) -> None:
        super().__init__()
        share = math.log(_FIRST / _LOWEST) / math.log(_HIGHEST / _LOWEST)
        self.position = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def temperature(self) -> Tensor:
        """Return the temperature, with a gradient."""
        return _LOWEST * (_HIGHEST / _LOWEST) ** self.position.float().sigmoid()


# Pairs in the batch of the figure.
_PAIRS = 32


def _views(cosine: Tensor) -> Tensor:
    """Rows in which partners have a cosine, and all others are orthogonal."""
    eye = torch.eye(2 * _PAIRS, dtype=torch.float64)
    first, other = eye[:_PAIRS], cosine * eye[:_PAIRS] + (1 - cosine**2).sqrt() * eye[_PAIRS:]
    return torch.stack([first, other], dim=1).flatten(0, 1)
