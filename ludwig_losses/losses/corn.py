from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, rounded
from ludwig_losses.declare.config import ClassificationLossConfig, ignore_index
from ludwig_losses.declare.loss import ClassificationLoss
from ludwig_losses.declare.schema import CATEGORY, field, loss_type
from ludwig_losses.functional import corn_loss
from ludwig_losses.functional._numerics import naming_the_target
from ludwig_losses.functional.corn import corn_probabilities, corn_rank, corn_tasks, loss_of_ranks
from ludwig_losses.host.registration import register_loss
from ludwig_losses.metrics.reported.ordinal import OrdinalMetric
from ludwig_losses.parameters import Order


class CornLossConfig(ClassificationLossConfig):
    """Ordinal regression for classes with an order, by conditional probabilities (Shi, Cao & Raschka, 2021)."""

    type: str = loss_type("corn")

    advice: ClassVar[Advice | None] = Advice(
        need="classes with an order (ordinal regression)",
        helps="a prediction two classes off is worse than one next to the truth",
        hinders="only exact hits matter, or the classes have no order, as colours or the numbers of bus lines",
        start="{type: corn, order: [low, medium, high]}",
        watch=("rank_mae", "quadratic_weighted_kappa"),
        page="corn",
        evidence="many_tables",
        found="no difference, 9 tables, by rank_mae",
    )

    order: list[str] | list[dict] | None = field(
        Order(
            default=None,
            description=(
                "The names of all classes from low to high. null orders names that are numbers by their values; other "
                "names have no order of themselves. Ignored classes need no place in it."
            ),
        )
    )

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        ignore_index()
    )

    def validates_on_loss(self, feature_type: str) -> bool:
        """Accuracy stays the same for many epochs while the boundaries move."""
        return True

    @classmethod
    def name(cls) -> str:
        return "Conditional Ordinal Regression (CORN)"

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        score = torch.linspace(-5, 9, 57, dtype=torch.float64)
        tasks = torch.stack([score, score - 2, score - 4], dim=-1)
        ranks = {"lowest class": 0, "second": 1, "third": 2, "highest": 3}
        places, p = rounded(score), corn_probabilities(tasks)
        losses = {name: corn_loss(tasks, torch.full((len(score),), rank)) for name, rank in ranks.items()}
        x_label = "score that all tasks share"
        probability = {name: (places, rounded(p[:, rank])) for name, rank in ranks.items()}
        loss = {name: (places, rounded(values)) for name, values in losses.items()}
        panels = [Panel(x_label, "probability of the class", probability)]
        return {"corn": [*panels, Panel(x_label, "loss of an example of it", loss)]}


@register_loss(CornLossConfig, features=[CATEGORY])
class CornLoss(ClassificationLoss):
    """Mean of the binary cross-entropies over all (example, task) pairs.

    Ludwig's decoders give one logit for each class. That of a class is here the one of ``P(y >= class | y >= the class
    below)``, so the lowest class needs none, nor does a class without a rank (``<UNK>``, in a vocabulary that was cut):
    it is never predicted, and its examples are ignored.
    """

    ranks_by_logits = False
    metrics = (OrdinalMetric,)
    metrics_need = "examples of two different classes"

    def __init__(self, config: CornLossConfig) -> None:
        super().__init__(config)
        # Names alone are not resolved yet.
        resolved = [entry for entry in config.order or () if isinstance(entry, dict)]
        order = torch.tensor([index for entry in resolved for index in entry.values()], dtype=torch.long)
        self.probabilities, self.median = CornProbabilities(order), CornMedian(order)

    @property
    def order(self) -> Tensor:
        return self.median.order

    @property
    def ranked_classes(self) -> list[int] | None:
        return self.order.tolist() or None

    @property
    def projection(self) -> nn.Module:
        return self.probabilities

    @property
    def decision(self) -> nn.Module:
        return self.median

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        rank, logits, counted = self.rank(preds, target), task_logits(preds, self.order), self.counted(target)
        if counted is not None:  # whatever these logits are
            logits = logits.masked_fill(~counted.unsqueeze(-1), 0.0)
        loss, pairs = loss_of_ranks(logits, rank), self.pairs(preds, rank)
        return self.weighted_mean(loss / pairs.clamp_min(1), self.weight_of_pairs(pairs, target), target)

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        return self.weight_of_pairs(self.pairs(preds, self.rank(preds, target)), target).sum()

    def pairs(self, preds: Tensor, rank: Tensor) -> Tensor:
        """Return how many (example, task) pairs each example is part of, none without a rank."""
        return corn_tasks(rank, len(class_order(preds, self.order)) - 1)

    def weight_of_pairs(self, pairs: Tensor, target: Tensor) -> Tensor:
        """Return the total weight of the pairs of each example."""
        weight = self.weight(target, None)
        return pairs if weight is None else pairs * weight

    def rank(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the rank of each target, -1 where it has none or is ignored."""
        classes = class_order(preds, self.order)
        ranks = torch.full((preds.shape[-1],), -1, dtype=torch.long, device=preds.device)
        ranks = ranks.index_copy(0, classes, torch.arange(len(classes), device=preds.device))
        # Not by indexing: a negative target would count from the end.
        of_targets = ranks, 0, target.long().flatten()
        rank = naming_the_target(torch.index_select, of_targets, target, len(ranks), can_ignore=False)
        rank, counted = rank.view(target.shape), self.counted(target)
        return rank if counted is None else rank.masked_fill(~counted, -1)

    def judge(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the predicted rank and the true rank of each example, -1 where it has none or is ignored."""
        return corn_rank(task_logits(preds, self.order)), self.rank(preds, target)

    def can_evaluate(self, target: np.ndarray | None) -> bool:
        return target is None or len({*np.unique(target).tolist()} - {*(self.ignored or ())}) > 1


class CornProbabilities(nn.Module):
    """The probability of each class, from one logit for each; TorchScript can compile it."""

    order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order, persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        p = corn_probabilities(task_logits(logits, self.order))
        return torch.zeros(logits.shape, dtype=p.dtype, device=p.device).index_copy(
            -1, class_order(logits, self.order), p
        )


class CornMedian(nn.Module):
    """The class in the middle of the distribution, from one logit for each; TorchScript can compile it."""

    order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order, persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        return class_order(logits, self.order)[corn_rank(task_logits(logits, self.order))]


def class_order(logits: Tensor, order: Tensor) -> Tensor:
    """Return the indices of the classes from low to high; as they are numbered where nobody knows the classes."""
    return order if len(order) else torch.arange(logits.shape[-1], device=logits.device)


def task_logits(logits: Tensor, order: Tensor) -> Tensor:
    """Return the logits ``[..., K - 1]`` of all classes but the lowest, from low to high."""
    return logits.index_select(-1, class_order(logits, order)[1:])
