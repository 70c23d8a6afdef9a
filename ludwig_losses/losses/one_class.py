"""Deep SVDD, Deep SAD and DROCC: what is normal, learned from examples of it."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ludwig_losses.advice import Advice
from ludwig_losses.curves import CROSS_ENTROPY, Panel, loss_and_gradient
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import ANOMALY, field, loss_type
from ludwig_losses.functional.one_class import deep_sad_loss, deep_svdd_loss, drocc_adversary, drocc_loss
from ludwig_losses.host.registration import register_loss
from ludwig_losses.parameters import Number, NumberOrWord, Whole

AUTO = "auto"
_UNLABELLED = -1

CONTAMINATION = Number(
    default=0.0,
    minimum=0,
    maximum=0.25,
    description=(
        "Share of the rows without a label (-1) that may be anomalies. Twice that share, the rows with the highest "
        "scores in training, are not trained as normal. 0: every row without a label is taken for normal."
    ),
)


class OneClassLossConfig(LossConfig):
    """Base of the schemas of losses for anomaly features."""

    # Whether the score is a learned function of the embedding, not its squared distance to the centre.
    score_head: ClassVar[bool] = False

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        def sad(label: int) -> Callable[[Tensor], Tensor]:
            return lambda d: deep_sad_loss(d, torch.full((len(d),), label))

        losses: dict[str, Callable[[Tensor], Tensor]] = {
            f"{CROSS_ENTROPY} (drocc)": lambda d: drocc_loss(-d, d, mu=0.0),
            "deep_svdd, nu 0": lambda d: deep_svdd_loss(d, nu=0.0),
            "deep_svdd, nu 0.5": lambda d: deep_svdd_loss(d, nu=0.5, radius2=1.0),
            "deep_sad, normal": sad(0),
            "deep_sad, anomaly": sad(1),
        }
        scores = torch.linspace(0.2, 3, 57, dtype=torch.float64)
        return {"one_class": loss_and_gradient("anomaly score (radius² 1)", losses, scores)}


class OneClassLoss(Loss):
    """Base of the modules for anomaly features: called with the anomaly score of each row and its label.

    The score is the squared distance of the embedding to the centre, or what the schema says with ``score_head``. A
    label is 0 (normal), 1 (anomaly) or -1 (unlabelled). Labelled anomalies are excluded unless the loss uses them.
    """

    # Which quantile of the squared distances of an epoch the loss wants to find in ``radius2`` in the next one.
    quantile: float | None = None
    # 0 until the first epoch is over.
    radius2: Tensor | None = None
    # Which share of the rows without a label may be anomalies; those above the cutoff are not taken for normal.
    contamination: float = 0.0
    # None, or NaN, before the first scores are known.
    cutoff: Tensor | None = None
    # Whether the loss perturbs the inputs of the network, and the way from them to the score in this forward pass:
    # network.once_per_pass(f) is f(inputs, score_of), with inputs of shape (B, D) and a function from such to scores.
    perturbs_inputs: ClassVar[bool] = False
    network: Any = None
    # The loss of a network that gives every row the score 0: a training run that stays far above it has diverged.
    uninformed: float | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Learn the number of the epoch of the training that begins, from 0."""

    def row_cutoff(self, target: Tensor) -> Tensor | None:
        """Return the cutoff of each row, which is infinite where the label says what the row is."""
        return None if self.cutoff is None else torch.where(target == _UNLABELLED, self.cutoff, torch.inf)

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        return (target != 1).sum()

    def mean(self, loss: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the rows that are not labelled as anomalies."""
        return self.weighted_mean(loss, target != 1, target)


class DeepSVDDLossConfig(OneClassLossConfig):
    """A sphere around the centre that contains the normal rows (Ruff et al., ICML 2018)."""

    type: str = loss_type("deep_svdd")

    advice: ClassVar[Advice | None] = Advice(
        question="embeddings",
        need="anomaly detection without labels",
        helps="common detectors cannot read the rows, as text or mixed features (not measured): it learns an encoder",
        hinders=(
            "rows are numbers (it was no better than an isolation forest) or images (two of scikit-learn's detectors "
            "were better)"
        ),
        start="{type: deep_svdd, nu: 0.1}",
        watch=("anomaly_auroc", "anomaly_average_precision"),
        page="one_class",
        evidence="many_tables",
        found="no difference, 21 tables, by anomaly_auroc",
    )

    nu: float = field(
        Number(
            default=0.1,
            minimum=0,
            worth_trying=(0.01, 0.05),
            maximum=1,
            description=(
                "Share of the training rows that may lie outside of the sphere, whose squared radius is the (1 - nu) "
                "quantile of their distances, taken anew after each epoch. 0: no radius, the mean squared distance."
            ),
        )
    )

    contamination: float = field(CONTAMINATION)


@register_loss(DeepSVDDLossConfig, features=[ANOMALY])
class DeepSVDDLoss(OneClassLoss):
    """Mean Deep SVDD loss of the rows that are not labelled as anomalies."""

    def __init__(self, config: DeepSVDDLossConfig) -> None:
        super().__init__(config)
        self.nu = config.nu
        self.quantile = 1 - config.nu if config.nu > 0 else None
        self.contamination = config.contamination

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        radius2 = preds.new_zeros(()) if self.radius2 is None else self.radius2
        return self.mean(deep_svdd_loss(preds, nu=self.nu, radius2=radius2, cutoff=self.row_cutoff(target)), target)


class DeepSADLossConfig(OneClassLossConfig):
    """Deep SVDD that pushes labelled anomalies away from the centre (Ruff et al., ICLR 2020)."""

    type: str = loss_type("deep_sad")

    advice: ClassVar[Advice | None] = Advice(
        question="embeddings",
        need="anomaly detection with a few labelled anomalies",
        helps="1 % of the training rows, or better 5 %, are known anomalies of the kinds to be found",
        hinders="none is labelled, or future anomalies resemble none of the labelled ones",
        start="{type: deep_sad, eta: 1.0}",
        watch=("anomaly_auroc", "anomaly_average_precision"),
        page="one_class",
        evidence="many_tables",
        found="helped, 21 tables, by anomaly_auroc",
    )

    eta: float = field(
        Number(
            default=1.0,
            above=0,
            worth_trying=(0.5, 2.0),
            description=(
                "Weight of the labelled rows, normal (0) and anomalous (1), against unlabelled ones (-1), which are "
                "taken for normal with weight 1."
            ),
        )
    )

    contamination: float = field(CONTAMINATION)


@register_loss(DeepSADLossConfig, features=[ANOMALY])
class DeepSADLoss(OneClassLoss):
    """Mean Deep SAD loss of all rows."""

    def __init__(self, config: DeepSADLossConfig) -> None:
        super().__init__(config)
        self.eta, self.contamination = config.eta, config.contamination

    def denominator(self, preds: Tensor, target: Tensor) -> float | Tensor:
        return len(target)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return deep_sad_loss(preds, target, eta=self.eta, cutoff=self.row_cutoff(target)).mean()


class DROCCLossConfig(OneClassLossConfig):
    """Separates normal rows from adversarial points at a distance from them (Goyal et al., ICML 2020)."""

    type: str = loss_type("drocc")

    advice: ClassVar[Advice | None] = Advice(
        question="embeddings",
        need="anomaly detection without labels, on standardised inputs",
        helps="deep_svdd collapses: it learns the score, and needs no centre",
        hinders=(
            "rows are numbers (it was no better than an isolation forest), inputs are not standardised, or training "
            "time is limited (a step takes about six times as long)"
        ),
        start="{type: drocc, radius: auto, perturbation_strength: 1.0}",
        watch=("anomaly_auroc", "anomaly_average_precision"),
        page="one_class",
        evidence="many_tables",
        found="no difference, 21 tables, by anomaly_auroc",
    )

    radius: float | str = field(
        NumberOrWord(
            default=1.0,
            above=0,
            options=(AUTO,),
            description=(
                "Distance from a normal row at which anomalies begin, in the space that is perturbed. auto is half "
                "the square root of its dimension, as the authors recommend for standardised tabular data."
            ),
        )
    )

    gamma: float = field(
        Number(
            default=2.0,
            minimum=1,
            worth_trying=(1.5, 4.0),
            description="Adversarial points lie between radius and gamma * radius.",
        )
    )

    mu: float = field(Number(default=1.0, minimum=0, description="Weight of the adversarial points."))

    perturbation_strength: float = field(
        Number(default=0.1, above=0, description="Length of a step of the gradient ascent that finds them.")
    )

    num_perturbation_steps: int = field(
        Whole(
            default=5,
            minimum=1,
            description="Steps of the ascent. Each costs a forward and a backward pass through the network.",
        )
    )

    warmup_epochs: int = field(
        Whole(default=0, minimum=0, description="Epochs at the start without adversarial points.")
    )

    contamination: float = field(CONTAMINATION)

    score_head: ClassVar[bool] = True


@register_loss(DROCCLossConfig, features=[ANOMALY])
class DROCCLoss(OneClassLoss):
    """Mean DROCC loss of the rows that are not labelled as anomalies.

    The network's confidence that a row is normal is the negative anomaly score. An adversary costs
    ``num_perturbation_steps`` forward and backward passes to the inputs, and one more of each than a loss without it.
    Evaluations use it, too, always with the same random start and also during the warm-up: without it the loss is
    smallest for a network that finds everything normal.
    """

    perturbs_inputs = True

    def __init__(self, config: DROCCLossConfig) -> None:
        super().__init__(config)
        self.radius, self.gamma, self.mu = config.radius, config.gamma, config.mu
        self.num_steps, self.step_size = config.num_perturbation_steps, config.perturbation_strength
        self.warmup_epochs, self.contamination = config.warmup_epochs, config.contamination
        self.warming_up = False
        self.uninformed = (1 + config.mu) * math.log(2)

    def begin_epoch(self, epoch: int) -> None:
        self.warming_up = epoch < self.warmup_epochs

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        if self.network is None or self.warming_up:
            return self.mean(drocc_loss(-preds, preds, mu=0.0), target)
        adversarial_score = self.network.once_per_pass(self._adversarial_score)
        if not preds.requires_grad:
            adversarial_score = adversarial_score.detach()
        cutoff = self.row_cutoff(target)
        cutoff = None if cutoff is None else -cutoff
        return self.mean(drocc_loss(-preds, adversarial_score, mu=self.mu, cutoff=cutoff), target)

    def _adversarial_score(self, inputs: Tensor, score_of: Callable[[Tensor], Tensor]) -> Tensor:
        radius = math.sqrt(inputs.shape[1]) / 2 if isinstance(self.radius, str) else self.radius
        perturbation = drocc_adversary(
            lambda x: -score_of(x),
            inputs,
            radius=radius,
            gamma=self.gamma,
            num_steps=self.num_steps,
            step_size=self.step_size,
            generator=None if torch.is_grad_enabled() else torch.Generator(inputs.device).manual_seed(0),
        )
        return -score_of(inputs + perturbation)
