from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ludwig_losses.advice import Advice
from ludwig_losses.curves import Panel, by_lead
from ludwig_losses.declare.config import ClassificationLossConfig, ignore_index
from ludwig_losses.declare.labels import Kept, LabelsLoss, are_labels, columns
from ludwig_losses.declare.schema import BINARY, CATEGORY, SET, field, loss_type
from ludwig_losses.functional import logit_adjusted_loss, sigmoid_logit_adjusted_loss
from ludwig_losses.functional._numerics import class_logits
from ludwig_losses.functional.logit_adjusted import adjusted_labels, adjusted_softmax
from ludwig_losses.host.registration import register_loss
from ludwig_losses.parameters import Choice, Feature, Number, PerClass, shown

TRAINING, BALANCED = "training", "balanced"


class LogitAdjustedLossConfig(ClassificationLossConfig):
    """Cross-entropy that allows for the frequencies of the classes, for long tails (Menon et al., ICLR 2021)."""

    type: str = loss_type("logit_adjusted_loss")

    advice: ClassVar[Advice | None] = Advice(
        need="class imbalance, and every class matters as much",
        helps="classes are judged by their mean recall (balanced accuracy), and the rare ones have examples enough",
        hinders=(
            "predictions have to be right as often as possible, or calibrated (predict: training is), or macro F1 "
            "decides: it rose neither on 23 tables nor on 6 with long tails"
        ),
        start="{type: logit_adjusted_loss}",
        watch=("accuracy", "balanced_accuracy", "macro_f1"),
        page="logit_adjusted",
        evidence="many_tables",
        found="helped, 23 tables, by balanced_accuracy",
    )

    tau: float = field(
        Number(
            default=1.0,
            worth_trying=(0.5, 1.5, 2.0),
            minimum=0,
            maximum=10,
            description="How much is adjusted. 1 is for the balanced error (balanced softmax), 0 gives cross-entropy.",
        )
    )

    priors: list[float] | dict[str, float] | None = field(
        PerClass(
            default=None,
            minimum=1e-12,
            description=(
                "Share or count of each class in the training data; only ratios matter. null takes the counts of the "
                "data; a class without an example counts as one. On a set feature the share of the rows that have each "
                "label, between 0 and 1, or null."
            ),
        )
    )

    predict: str = field(
        Choice(
            default=BALANCED,
            options=(BALANCED, TRAINING),
            description=(
                "What predictions are for: data in which classes are equally frequent (balanced), or as frequent as in "
                "the training data (training), for which probabilities are calibrated."
            ),
        )
    )

    ignore_index: str | int | list[str] | list[int] | None = field(  # type: ignore[misc]  # Here it is a parameter.
        ignore_index()
    )

    def asks_for_counts(self, feature_type: str) -> bool:
        without = self.priors is None and feature_type in (BINARY, SET)
        return without or super().asks_for_counts(feature_type)

    def resolve(self, feature: Feature) -> None:
        if feature.of_labels and self.priors is None:
            self.priors = shares_of_labels(feature)
        elif feature.of_labels:
            check_shares(self.priors, feature)
        else:
            check_cut_vocabulary(self.priors, feature)
        if self.priors is None:
            self.priors = counts_of_classes(feature)
        super().resolve(feature)

    @classmethod
    def figures(cls) -> dict[str, list[Panel]]:
        losses = {
            f"true class: {share:.0%} of the rows": partial(
                logit_adjusted_loss, priors=torch.tensor([1 - share, share])
            )
            for share in (0.5, 0.1, 0.01)
        }
        return {"logit_adjusted": by_lead(losses, reach=8)}


def check_cut_vocabulary(priors: Any, feature: Feature) -> None:
    """Check that priors have a number for what Ludwig has added to a vocabulary that was cut (``most_common``).

    Ludwig counts no row of it, though it stands for all rare classes: it would be taken for the rarest class.

    Raises:
        ValueError: a symbol has no number.
    """
    missing = [name for name in feature.classes or () if name in feature.symbols]
    if isinstance(priors, (list, tuple)) or (isinstance(priors, dict) and all(name in priors for name in missing)):
        return
    if missing:
        names = ", ".join(f"'{name}': ..." for name in feature.classes or ())
        raise ValueError(
            f"{feature.place('priors')}: got {shown(priors)}, but the vocabulary was cut, and how many rows "
            f"{', '.join(missing)} stands for is not known. Write the share of each class: priors: {{{names}}}."
        )


def shares_of_labels(feature: Feature) -> list[float]:
    """Return the share of the rows that have each label; at least one row has it, and one has not.

    Raises:
        ValueError: it is not known.
    """
    if feature.rows is None or feature.rows_of_classes is None or feature.rows < 2:
        raise ValueError(
            f"{feature.place('priors')}: null takes the share of the rows that have each label, which is not known: "
            f"the data was prepared for another loss, or has one row only. {_write_shares(feature)}"
        )
    return [min(max(count, 1), feature.rows - 1) / feature.rows for count in feature.rows_of_classes]


def _write_shares(feature: Feature) -> str:
    names = [name for name in feature.classes or () if name not in feature.symbols]
    return f"Write the share of the rows that have each label: priors: {{{', '.join(f'{n}: ...' for n in names)}}}."


def check_shares(priors: Any, feature: Feature) -> None:
    """Check that what is written for each label is a share of the rows.

    Raises:
        ValueError: it is none.
    """
    named = zip(feature.classes or (), priors, strict=False) if isinstance(priors, (list, tuple)) else priors.items()
    wrong = {name: share for name, share in named if share >= 1 and name not in feature.symbols}
    if wrong:
        raise ValueError(
            f"{feature.place('priors')}: got {shown(wrong)}, expected numbers < 1. {_write_shares(feature)}"
        )


def counts_of_classes(feature: Feature) -> list[float]:
    """Return how often each class occurs, at least once.

    Raises:
        ValueError: that is not known.
    """
    if feature.frequencies is None:
        classes = ", ".join(f"{name}: ..." for name in feature.classes or ("0", "1"))
        raise ValueError(
            f"{feature.place('priors')}: null takes how often each class occurs, which is not known: the data was "
            f"prepared for another loss. Write the shares of the training data: priors: {{{classes}}}."
        )
    return [float(max(count, 1)) for count in feature.frequencies]


@register_loss(LogitAdjustedLossConfig, features=[BINARY, CATEGORY, SET])
class LogitAdjustedLoss(LabelsLoss):
    """Mean logit-adjusted cross-entropy; a binary feature's logit ``z`` is the pair ``[0, z]``.

    The counts of the classes are in the schema once Ludwig has preprocessed data; without them nothing is adjusted.
    """

    def __init__(self, config: LogitAdjustedLossConfig) -> None:
        super().__init__(config)
        self.options: dict[str, Any] = {"tau": config.tau, "ignore_index": config.ignore_index}
        self.probabilities = AdjustedProbabilities(config.priors, config.tau)
        self.label_probabilities = LabelProbabilities(config.priors, config.tau)
        self.ranks_by_logits = not self.projects(config)

    @classmethod
    def projects(cls, config: LogitAdjustedLossConfig) -> bool:
        return config.predict == TRAINING

    @property
    def projection(self) -> nn.Module:
        return self.probabilities

    @property
    def label_projection(self) -> nn.Module:
        return self.label_probabilities

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        if are_labels(preds, target):
            return self.mean_of_labels(preds, target)
        priors = self.probabilities.priors
        loss = logit_adjusted_loss(class_logits(preds), target, priors=priors, **self.options)
        return self.mean(loss, target, self.counted(target))

    def of_labels(self, logits: Tensor, target: Tensor, kept: Kept) -> Tensor:
        priors = None if self.probabilities.priors is None else columns(self.probabilities.priors, kept)
        return sigmoid_logit_adjusted_loss(logits, target, priors=priors, tau=self.options["tau"])


class AdjustedProbabilities(nn.Module):
    """Probabilities for the shares of the training data, or that of True of a binary feature."""

    priors: Tensor | None

    def __init__(self, priors: Any, tau: float) -> None:
        super().__init__()
        self.register_buffer("priors", None if priors is None else torch.tensor(priors), persistent=False)
        self.tau = tau

    def forward(self, logits: Tensor) -> Tensor:
        z = class_logits(logits)
        priors = self.priors
        p = torch.softmax(z.float(), dim=-1) if priors is None else adjusted_softmax(z, priors, self.tau)
        return p[:, 1] if logits.dim() == 1 else p


class LabelProbabilities(AdjustedProbabilities):
    """Probabilities of labels for the shares of the training data."""

    def forward(self, logits: Tensor) -> Tensor:
        priors = self.priors
        z = logits.float()
        return torch.sigmoid(z if priors is None else adjusted_labels(z, priors, self.tau))
