import logging
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.curves import CROSS_ENTROPY, Panel, loss_and_gradient
from ludwig_losses.declare.config import ClassificationLossConfig, ignore_index
from ludwig_losses.declare.loss import ClassificationLoss
from ludwig_losses.declare.probabilities import Probabilities
from ludwig_losses.declare.schema import BINARY, CATEGORY, field, loss_type
from ludwig_losses.functional import entropic_open_set_loss, known_score, known_softmax, objectosphere_loss
from ludwig_losses.functional._numerics import class_logits, is_static
from ludwig_losses.functional.open_set import among_all, largest_known, loss_and_log_probabilities, magnitude
from ludwig_losses.host.registration import register_loss
from ludwig_losses.metrics.reported.open_set import OpenSetMetric
from ludwig_losses.parameters import Classes, Feature, Number

logger = logging.getLogger(__name__)


class OpenSetLossConfig(ClassificationLossConfig):
    """Base of the losses that learn from examples of no known class."""

    background_class: str | int | list[str] | list[int] | None = field(
        Classes(
            default=None,
            description=(
                "The class, or classes, whose examples stand for everything unknown. It is never predicted, unless "
                "only one known class is left. Without it every example is known."
            ),
        )
    )

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        ignore_index()
    )

    def validates_on_loss(self, feature_type: str) -> bool:
        """Accuracy counts background rows as errors, however uncertain the model is on them."""
        return self.background_class is not None or super().validates_on_loss(feature_type)

    def resolve(self, feature: Feature) -> None:
        super().resolve(feature)
        if self.background_class is None:
            logger.warning(
                f"{feature.place()}: {self.type} has no background_class, so no example counts as "
                "unknown. Name the class whose examples do."
            )
        elif feature.classes is not None:
            background = self.indices("background_class") or []
            symbols = [index for index, name in enumerate(feature.classes) if name in feature.symbols]
            self.background_class = sorted({*background, *symbols})
            ignored = self.ignored_classes
            both = [feature.classes[index] for index in background if index in ignored]
            if both:
                raise ValueError(
                    f"{feature.place('background_class')}: {both} is in ignore_index, too: the examples of a class are "
                    "either unknown or ignored. Take it out of one of them."
                )
            if len({*self.background_class, *ignored}) >= len(feature.classes):
                beside = f" beside ignore_index: {ignored}" if ignored else ""
                raise ValueError(
                    f"{feature.place('background_class')}: {self.background_class}{beside} leaves no known "
                    f"class. The classes are {feature.classes}."
                )


class OpenSetLoss(ClassificationLoss):
    """Base of the open-set modules; a binary feature's logit ``z`` is the pair ``[0, z]``."""

    metrics = (OpenSetMetric,)
    metrics_need = "examples of the background class and of a known one"
    score_name = "known_score"
    score_by_magnitude: ClassVar[bool] = False

    def __init__(self, config: OpenSetLossConfig) -> None:
        super().__init__(config)
        self.background = config.indices("background_class")
        # An ignored class is never predicted where the background is not: unknown examples would be drawn to it, too.
        self.probabilities = KnownProbabilities(sorted({*(self.background or []), *config.ignored_classes}))
        self.known_score = KnownScore(self.probabilities, self.score_by_magnitude)

    @classmethod
    def projects(cls, config: OpenSetLossConfig) -> bool:
        return config.background_class is not None

    @property
    def ranks_by_logits(self) -> bool:
        return self.background is None

    @property
    def unknown_classes(self) -> list[int] | None:
        return self.background

    @property
    def projection(self) -> nn.Module:
        return self.probabilities

    @property
    def score(self) -> nn.Module:
        return self.known_score

    def known(self, logits: Tensor) -> Tensor | None:
        """The indices of the known classes, or ``None`` for all."""
        return None if self.background is None else self.probabilities.known(logits)

    def can_evaluate(self, target: np.ndarray | None) -> bool:
        if self.background is None or target is None:
            return self.background is not None
        classes = np.asarray(target).astype(int)
        unknown = np.isin(classes[~np.isin(classes, self.ignored or [])], self.background)
        return bool(unknown.any() and not unknown.all())

    def judge(self, preds: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each example its score and its most probable known class."""
        score, p = self.known_score(preds), self.probabilities.remembered(preds)
        if p is not None and p.shape[-1] > len(self.probabilities.index) + 1:  # others than the known ones have none
            return score, p.argmax(dim=-1)
        logits = class_logits(preds)
        known = self.probabilities.known(logits)
        return score, known[logits.index_select(-1, known).argmax(dim=-1)]

    def loss(self, preds: Tensor, target: Tensor, xi: float, zeta: float) -> Tensor:
        """Return the mean loss, and remember the probabilities and the score."""
        logits = class_logits(preds)
        known = self.known(logits)
        loss, log_p, size = loss_and_log_probabilities(logits, target, known, xi, zeta, self.ignored)
        predictions_follow = preds.dim() > 1 and torch.is_grad_enabled()
        if known is not None and log_p is not None and predictions_follow:
            p = log_p.exp()
            score = largest_known(p, known)
            if not self.score_by_magnitude:
                self.probabilities.remember(preds, among_all(p, preds, known), score=score)
            elif size is not None:
                self.probabilities.remember(preds, among_all(p, preds, known), score=score * size)
        return self.mean(loss, target, self.counted(target))


class KnownProbabilities(Probabilities):
    """Probabilities in which the background has probability 0, or those of a binary feature."""

    index: Tensor

    def __init__(self, background: list[int]) -> None:
        super().__init__(power=1.0)
        self.background = background
        self.register_buffer("index", torch.tensor(background, dtype=torch.long), persistent=False)

    def known(self, logits: Tensor) -> Tensor:
        """Return the indices ``[K]`` of the classes of ``logits`` ``[..., C]`` that are not the background."""
        classes = logits.shape[-1]
        if not torch.jit.is_scripting():  # alone, or TorchScript would compile what stands below
            known = self._listed(logits, classes)
            if known is not None:
                return known
        is_background = torch.zeros(classes, dtype=torch.uint8, device=logits.device).index_fill(0, self.index, 1)
        return torch.argsort(is_background, stable=True)[: classes - len(self.index)]

    def _listed(self, logits: Tensor, classes: int) -> Tensor | None:
        """Return the same in the shortest way, except on an accelerator, where the copy would synchronise."""
        if is_static(logits):
            return None
        return torch.tensor([index for index in range(classes) if index not in self.background])

    def project(self, logits: Tensor) -> Tensor:
        if logits.dim() == 1:
            return logits.sigmoid()
        return known_softmax(logits, self.known(logits))


class KnownScore(nn.Module):
    """The largest probability of a known class, times the magnitude of the logits where the loss has trained that.

    Scores have no gradient: they are compared, and not trained.
    """

    def __init__(self, probabilities: KnownProbabilities, times_magnitude: bool) -> None:
        super().__init__()
        self.probabilities = probabilities
        self.times_magnitude = times_magnitude

    def forward(self, logits: Tensor) -> Tensor:
        if not torch.jit.is_scripting():
            score = self.probabilities.remembered(logits, "score")
            if score is not None:
                return score
        z = class_logits(logits.detach())
        known = self.probabilities.known(z)
        score = known_score(z, known)
        return score * magnitude(z, known) if self.times_magnitude else score


class EntropicOpenSetLossConfig(OpenSetLossConfig):
    """Cross-entropy that learns to be uncertain on examples of no known class (Dhamija et al., NeurIPS 2018)."""

    type: str = loss_type("entropic_open_set")

    advice: ClassVar[Advice | None] = Advice(
        need="open-set recognition, with examples of other things",
        helps=(
            "the model will meet unknown classes, and there are examples of other things on which it can learn to be "
            "uncertain"
        ),
        hinders="there are no such examples (it is cross-entropy then), or the unknown classes resemble none of them",
        start="{type: entropic_open_set, background_class: other}",
        watch=("open_set_auroc", "oscr"),
        page="open_set",
        evidence="open_set",
        found="no difference to cross-entropy, better than a class for the background, 1 data set",
    )

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        targets = {f"{CROSS_ENTROPY} (known, right)": 0, "known, wrong": 1, "unknown": 3}
        losses = {label: _of_one_logit(entropic_open_set_loss, target) for label, target in targets.items()}
        z = torch.linspace(-6, 6, 61, dtype=torch.float64)
        return {"open_set": loss_and_gradient("lead of one of three logits", losses, z)}


@register_loss(EntropicOpenSetLossConfig, features=[BINARY, CATEGORY])
class EntropicOpenSetLoss(OpenSetLoss):
    """Mean entropic open-set loss."""

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return self.loss(preds, target, xi=0.0, zeta=0.0)


class ObjectosphereLossConfig(OpenSetLossConfig):
    """Entropic open-set loss with large logits for known examples, small ones for others (Dhamija et al., 2018)."""

    type: str = loss_type("objectosphere")

    advice: ClassVar[Advice | None] = Advice(
        need="open-set recognition by the magnitude of the logits",
        helps="entropic_open_set helps, and xi and zeta can be tuned on data with unknown classes",
        hinders="they cannot be tuned: with the documented defaults it did not help on the data tried here",
        start="{type: objectosphere, background_class: other, xi: 5.0, zeta: 0.01}",
        watch=("open_set_auroc", "oscr"),
        page="open_set",
        evidence="open_set",
        found="no difference to cross-entropy; if tuned better than a class for the background, else worse, 1 data set",
    )

    xi: float = field(
        Number(
            default=10.0,
            worth_trying=(5.0, 20.0),
            minimum=0,
            description="Magnitude that examples of known classes should reach: the Euclidean norm of their logits.",
        )
    )

    zeta: float = field(
        Number(
            default=0.1,
            minimum=0,
            worth_trying=(0.01,),
            description="Weight of the magnitudes. 0 gives entropic_open_set.",
        )
    )

    def validates_on_loss(self, feature_type: str) -> bool:
        """Magnitudes grow first, and accuracy may fall meanwhile, also where all examples are known."""
        return self.zeta > 0 or super().validates_on_loss(feature_type)

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        plain, squared = (partial(objectosphere_loss, xi=5.0, zeta=zeta) for zeta in (0.0, 0.1))
        losses = {
            f"{CROSS_ENTROPY} (known)": _of_one_logit(plain, 0),
            "known, zeta 0.1": _of_one_logit(squared, 0),
            "unknown, zeta 0": _of_one_logit(plain, 3),
            "unknown, zeta 0.1": _of_one_logit(squared, 3),
        }
        z = torch.linspace(0.05, 10, 61, dtype=torch.float64)
        return {"objectosphere": loss_and_gradient("magnitude of the logits (xi 5)", losses, z)}


@register_loss(ObjectosphereLossConfig, features=[BINARY, CATEGORY])
class ObjectosphereLoss(OpenSetLoss):
    """Mean Objectosphere loss.

    The magnitude is that of the logits of the known classes: Ludwig hands a loss no other layer. In the paper it is
    that of the penultimate layer; :func:`ludwig_losses.functional.objectosphere_loss` takes both.
    """

    score_by_magnitude = True

    def __init__(self, config: ObjectosphereLossConfig) -> None:
        super().__init__(config)
        self.xi, self.zeta = config.xi, config.zeta

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return self.loss(preds, target, self.xi, self.zeta)


def _of_one_logit(loss: Callable[..., Tensor], target: int) -> Callable[[Tensor], Tensor]:
    """Return a loss as a function of the first of three known classes' logits, the others being 0, for the figures."""

    def of_logit(z: Tensor) -> Tensor:
        logits = torch.stack([z, *[torch.zeros_like(z)] * 3], dim=-1)
        return loss(logits, torch.full((len(z),), target), known=torch.tensor([0, 1, 2]))

    return of_logit
