from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from ludwig.constants import SOFTMAX_CROSS_ENTROPY
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, by_size
from ludwig_losses.declare.class_names import per_class_values
from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.loss import Loss
from ludwig_losses.declare.schema import (
    BINARY,
    CATEGORY,
    IMAGE,
    NUMBER,
    SEQUENCE,
    SET,
    TEXT,
    TIMESERIES,
    VECTOR,
    field,
    loss_type,
)
from ludwig_losses.functional import dice_loss
from ludwig_losses.functional._numerics import full_precision
from ludwig_losses.host.model import own_losses
from ludwig_losses.host.registration import register_loss, register_term_metrics
from ludwig_losses.host.registry import config_of, module_of, projects
from ludwig_losses.metrics.reported.terms import TermsMetric, names_of_terms
from ludwig_losses.parameters import Feature, Terms

FEATURES = (BINARY, CATEGORY, IMAGE, NUMBER, SEQUENCE, SET, TEXT, TIMESERIES, VECTOR)


class CompoundLossConfig(LossConfig):
    """Several losses at once: the sum of its terms, each times its weight."""

    type: str = loss_type("compound_loss")

    advice: ClassVar[Advice | None] = Advice(
        question="masks",
        need="two objectives at once",
        helps="one loss trains reliably and another one is the objective: cross-entropy beside Lovász-Softmax",
        hinders="one loss suffices: each further weight is one more hyperparameter to tune",
        start="{type: compound_loss, terms: [{type: lovasz_softmax_loss}, {type: softmax_cross_entropy}]}",
        watch=("mean_iou",),
        page="compound",
        evidence="small_objects",
        found="helped with Lovász, no difference with Dice, 1 data set",
    )

    terms: list | None = field(
        Terms(
            description=(
                "The losses to add up, Ludwig's own included, each written as it is alone; `weight` is the factor of a "
                "term. A term of weight 0 is reported and not trained."
            ),
        )
    )

    def __post_init__(self) -> None:
        # A rendered configuration spells out every default.
        self.terms = self.terms and [config.to_dict() for config in self.parsed]
        register_term_metrics(names_of_terms(self.parsed), FEATURES)

    @property
    def parsed(self) -> list:
        """The configuration object of each term."""
        return [config_of(term) for term in self.terms or ()]

    @property
    def projecting(self) -> list[int]:
        """Which terms the feature predicts with, as far as their projections are its predictions."""
        return [i for i, term in enumerate(self.parsed) if term.weight and projects(term)]

    @property
    def ignored_classes(self) -> list[int]:
        ignored = [set(term.ignored_classes if isinstance(term, LossConfig) else ()) for term in self.weighted]
        return sorted(set.intersection(*ignored)) if ignored else []

    @property
    def _pairing(self) -> list[int]:
        return [i for i, term in enumerate(self.parsed) if isinstance(term, LossConfig) and term.keeps_pairs]

    @property
    def keeps_pairs(self) -> bool:
        return bool(self._pairing)

    @property
    def instead_of_pairs(self) -> str:
        index = self._pairing[0]
        return self.parsed[index].instead_of_pairs.replace("loss.", f"loss.terms[{index}].", 1)

    @property
    def weighted(self) -> list:
        """The configuration objects of the terms that are trained, not only reported."""
        return [term for term in self.parsed if term.weight]

    @property
    def fewest_rows(self) -> int:
        return min((t.fewest_rows if isinstance(t, LossConfig) else 1 for t in self.weighted), default=1)

    @property
    def fewest_rows_in_evaluation(self) -> int:
        return min((t.fewest_rows_in_evaluation if isinstance(t, LossConfig) else 1 for t in self.weighted), default=1)

    def asks_for_counts(self, feature_type: str) -> bool:
        return any(isinstance(term, LossConfig) and term.asks_for_counts(feature_type) for term in self.parsed)

    def validates_on_loss(self, feature_type: str) -> bool:
        return any(_validates_on_loss(term, feature_type) for term in self.weighted)

    def check(self) -> None:
        super().check()
        terms = self.parsed
        if not terms:
            raise ValueError(
                "terms is missing. Write a list of losses, for instance [{type: focal_loss, weight: 1.0}, ...]."
            )
        if not any(term.weight for term in terms):
            raise ValueError(
                "terms: every weight is 0, so there is nothing to learn. Give a term a weight, or write weight: 0 "
                "for the loss itself, beside terms, to leave this feature out of the training."
            )
        if len(self.projecting) > 1:
            which = " and ".join(f"terms[{i}] ({terms[i].type})" for i in self.projecting)
            raise ValueError(
                f"{which} each train predictions of their own, and the feature can have only one of them. "
                "Leave one out, or give it weight: 0 to watch it only."
            )
        for index, term in enumerate(terms):
            try:
                if isinstance(term, LossConfig):
                    term.check()
                    self._check_estimates(term)
            except ValueError as error:
                raise ValueError(f"terms[{index}]: {error}") from None

    def _check_estimates(self, term: LossConfig) -> None:
        """Check that the other terms can judge what a term makes of the outputs of the decoder."""
        if not term.estimates or len(self.parsed) == 1:
            return
        if not term.weight:
            raise ValueError(
                f"{term.type} says what the outputs of the decoder mean, so it cannot be watched only. Give it a "
                f"weight, or leave it out."
            )
        if term.why_alone:
            raise ValueError(f"{term.type} beside other terms: {term.why_alone}")

    @property
    def _estimating(self) -> LossConfig | None:
        """The term that says what the outputs of the decoder of a number or timeseries feature mean."""
        return next((term for term in self.parsed if isinstance(term, LossConfig) and term.estimates), None)

    @property
    def outputs(self) -> int | None:
        return super().outputs if self._estimating is None else self._estimating.outputs

    @property
    def columns(self) -> list[str]:
        return super().columns if self._estimating is None else self._estimating.columns

    @property
    def spreads(self) -> list[str]:
        return super().spreads if self._estimating is None else self._estimating.spreads

    @property
    def calibrates(self) -> bool:
        return self._estimating is not None and self._estimating.calibrates

    @property
    def begins(self) -> bool:
        return self._estimating is not None and self._estimating.begins

    @property
    def of_amounts(self) -> bool:
        return self._estimating is not None and self._estimating.of_amounts

    @property
    def needs_positive(self) -> bool:
        return self._estimating is not None and self._estimating.needs_positive

    def resolve(self, feature: Feature) -> None:
        super().resolve(feature)
        self.terms = [
            _resolved(config, replace(feature, path=f"{feature.path}.terms[{index}]")).to_dict()
            for index, config in enumerate(self.parsed)
        ]

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        def both(logits: Tensor, target: Tensor) -> Tensor:
            return dice_loss(logits, target) + 0.5 * cross_entropy(logits, target)

        return {"compound": by_size({"Dice": dice_loss, "Dice + 0.5 cross-entropy": both})}


def _validates_on_loss(term: Any, feature_type: str) -> bool:
    if isinstance(term, LossConfig):
        return term.validates_on_loss(feature_type)
    # The default metric is the squared error between logits and a distribution, which says nothing.
    return feature_type == VECTOR and term.type == SOFTMAX_CROSS_ENTROPY


def _resolved(config: Any, feature: Feature) -> Any:
    """Return the configuration of a term with classes as indices."""
    if isinstance(config, LossConfig):
        config.resolve(feature)
    elif isinstance(getattr(config, "class_weights", None), (list, tuple, dict)):
        config.class_weights = per_class_values("class_weights", config.class_weights, feature)
    return config


@register_loss(CompoundLossConfig, features=FEATURES)
class CompoundLoss(Loss):
    """Weighted sum of losses."""

    def __init__(self, config: CompoundLossConfig) -> None:
        super().__init__(config)
        config.check()
        self.names = names_of_terms(config.parsed)
        self.weights = [float(term.weight) for term in config.parsed]
        self.num_means = len(self.trained)
        self.terms = nn.ModuleList(map(module_of, config.parsed))
        # Square roots of means: their squares are averaged.
        self.is_root = [own_losses.is_root(module) for module in self.terms]
        self.projecting = next(iter(config.projecting), None)
        self.calibrates, self.fewest_rows = self._of_projecting("calibrates"), self._of_projecting("fewest_rows")
        self.calibration_share = self._of_projecting("calibration_share")
        self.quantile_columns = self._of_projecting("quantile_columns")
        for module, weight in zip(self.terms, self.weights, strict=True):
            if not weight:  # A term that is only reported learns nothing.
                module.requires_grad_(False)
        self.of_batch_alone = all(module.of_batch_alone for module in self.terms if isinstance(module, Loss))
        # A configuration from another process did not register the names here.
        register_term_metrics(self.names, FEATURES)

    @property
    def trained(self) -> list[int]:
        """Which terms have a weight. A term that is only reported must not enter the sum: 0 times infinity is not 0."""
        return [index for index, weight in enumerate(self.weights) if weight]

    def term(self, index: int, preds: Tensor, target: Tensor) -> Tensor:
        """Return the value of one term, without its weight."""
        module = self.terms[index]
        if isinstance(module, Loss):
            return module(self.judged(index, preds), target)
        value = module(full_precision(self.judged(index, preds)), target)
        self._remembered.values(preds, target)[self.names[index]] = value.detach()
        return value

    def judged(self, index: int, preds: Tensor) -> Tensor:
        """Return what a term compares with the targets: the predictions, if another term makes them of the logits."""
        estimates = self.estimates
        return preds if estimates is None or index == self.projecting else estimates(preds)["predictions"]

    def value_of_term(self, index: int, preds: Tensor, target: Tensor) -> Tensor:
        """Return the same without a gradient, and computed once for the same tensors."""
        module = self.terms[index]
        if isinstance(module, Loss):
            return module.value_of(self.judged(index, preds.detach()), target)
        value = self._remembered.values(preds, target).get(self.names[index])
        return self.term(index, preds.detach(), target) if value is None else value

    def value_of(self, preds: Tensor, target: Tensor) -> Tensor:
        known = self._remembered.values(preds, target)
        if "loss" not in known:
            known["loss"] = self.sum_of([self.value_of_term(index, preds, target) for index in self.trained])
        return known["loss"]

    def mean_of_term(self, index: int, preds: Tensor, target: Tensor) -> tuple[Tensor, float | Tensor]:
        """Return the mean that one term is made of, and its denominator."""
        module = self.terms[index]
        if isinstance(module, Loss):
            return module.batch_means(self.judged(index, preds.detach()), target)[0]
        known, name = self._remembered.values(preds, target), f"mean of {self.names[index]}"
        if name not in known:
            value = self.value_of_term(index, preds, target)
            mean = value.square() if self.is_root[index] else value
            known[name] = mean, own_losses.denominator(module, preds, target)
        return known[name]

    def term_from_mean(self, index: int, mean: Tensor) -> Tensor:
        """Return the value of one term from the mean that it is made of."""
        return mean.sqrt() if self.is_root[index] else mean

    def batch_means(self, preds: Tensor, target: Tensor) -> list[tuple[Tensor, float | Tensor]]:
        return [self.mean_of_term(index, preds, target) for index in self.trained]

    def from_means(self, means: Tensor) -> Tensor:
        return self.sum_of([self.term_from_mean(i, mean) for i, mean in zip(self.trained, means, strict=True)])

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return self.sum_of([self.term(index, preds, target) for index in self.trained])

    def sum_of(self, values: list[Tensor]) -> Tensor:
        """Return the weighted sum of the terms that are trained."""
        total: Any = 0  # check() has made sure that there are some
        for index, value in zip(self.trained, values, strict=True):
            weight = self.weights[index]
            if isinstance(total, Tensor):
                total = torch.add(total, value, alpha=weight)
            else:
                total = value if weight == 1 else weight * value
        return total

    @classmethod
    def projects(cls, config: CompoundLossConfig) -> bool:
        return bool(config.projecting)

    @property
    def projection(self) -> Callable[[Tensor], Tensor] | None:
        return self._of_projecting("projection")

    @property
    def label_projection(self) -> nn.Module | None:
        return self._of_projecting("label_projection")

    @property
    def decision(self) -> Callable[[Tensor], Tensor] | None:
        return self._of_projecting("decision")

    @property
    def score(self) -> Callable[[Tensor], Tensor] | None:
        return self._of_projecting("score")

    @property
    def score_name(self) -> str:
        return self._of_projecting("score_name")

    @property
    def estimates(self) -> nn.Module | None:
        return self._of_projecting("estimates")

    def prepare(self, shape: tuple[int, ...]) -> None:
        for term in self._judging_itself:
            term.prepare(shape)

    def begin(self, mean: float, std: float) -> None:
        for term in self._judging_itself:
            term.begin(mean, std)

    def calibrate(self, logits: Tensor, target: Tensor) -> None:
        for term in self._judging_itself:
            term.calibrate(logits, target)

    @property
    def _judging_itself(self) -> list[Loss]:
        """The term whose predictions the others judge, if there is one."""
        return [term for term in self.terms if isinstance(term, Loss) and term.estimates is not None]

    def _of_projecting(self, attribute: str) -> Any:
        return getattr(Loss if self.projecting is None else self.terms[self.projecting], attribute)

    @property
    def ranks_by_logits(self) -> bool:
        return self._of_projecting("ranks_by_logits")

    @property
    def ranked_classes(self) -> list[int] | None:
        return self._of_first("ranked_classes")

    @property
    def unknown_classes(self) -> list[int] | None:
        return self._of_first("unknown_classes")

    def _of_first(self, part: str) -> list[int] | None:
        """Return what the first term that knows it says of the classes, also one that is only reported."""
        found = (getattr(term, part) for term in self.terms if isinstance(term, Loss))
        return next((indices for indices in found if indices is not None), None)

    def create_metrics(self, config: CompoundLossConfig) -> dict[str, Any]:
        metrics = {self.names[0]: TermsMetric(self.for_metrics(config))}
        for module, term in zip(self.terms, config.parsed, strict=True):
            if isinstance(module, Loss):
                metrics = {**module.create_metrics(term), **metrics}
        return metrics

    def reporter(self, metric: str) -> Loss | None:
        if metric in self.names:
            return self
        found = (term.reporter(metric) for term in self.terms if isinstance(term, Loss))
        return next((loss for loss in found if loss is not None), None)
