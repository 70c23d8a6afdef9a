"""Every metric under the one name that it has in Ludwig's tables, in comparisons of losses and on the pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# What the bins of a calibration error, and the floor of a log loss, are is part of what these metrics mean.
CALIBRATION_BINS = 15
SMALLEST_PROBABILITY = 2.0**-23  # sparsemax and entmax give some classes exactly none
SMALLEST_MEAN = 1e-6  # A deviance is infinite for a predicted mean of 0, and not defined below.
TWEEDIE_POWER = 1.5


@dataclass(frozen=True)
class Metric:
    """What a reader has to know of a metric.

    Args:
        higher_is_better: ``None`` where neither direction is.
        meaning: one sentence.
        features: the types of output features that have it.
        needs: what the feature, or the data, has to have beside predictions and targets.
        is_main: whether a comparison shows it on the terminal.
        judges: the types of output features of whose models it says how good they are, whatever the loss.
        margin: two losses whose difference is smaller are practically equal; ``None`` where that is not asked.
        is_compared: whether a comparison measures it; others are in the tables of ludwig train and evaluate only.
        decides: whether it may say which loss to take.
    """

    higher_is_better: bool | None
    meaning: str
    features: tuple[str, ...]
    needs: str = ""
    is_main: bool = True
    judges: tuple[str, ...] = ()
    margin: float | None = 0.01
    is_compared: bool = True
    decides: bool = True


_CLASSES = ("binary", "category")
_TOKENS = ("text", "sequence")
_NUMBERS = ("number", "timeseries")
_SET = ("set",)
_QUANTILES = "predicted quantiles"
_PROBABILITIES = "probabilities"
_TWO_CLASSES = "examples of every class and of others"
_ORDER = "an order of the classes"
_BACKGROUND = "a background class, with examples of it and of others"
_PARTNERS = "rows that are partners"
# Ludwig's own tables have the errors of numbers as they were normalized.
_UNITS = "in the units of the data"
_OF_LUDWIG_ONLY = "in the tables of ludwig train and evaluate only"
_TOKEN_CLASSES = "at most 64 classes; in the tables of ludwig train and evaluate a loss of this package"
_LABELS = "labelled rows of both kinds"
_AMOUNTS = "targets >= 0"
_MEANS = f"each of which counts as at least {SMALLEST_MEAN:g}; 0 where every one is the target"

METRICS = {
    "accuracy": Metric(
        True,
        "Share of the rows that are predicted right; on category features Ludwig calls it accuracy_micro, and the mean "
        "over the classes accuracy.",
        _CLASSES,
        judges=("category",),
    ),
    "balanced_accuracy": Metric(True, "Mean of the recalls of the classes.", _CLASSES),
    "macro_f1": Metric(
        True,
        "Mean of the F1 of the classes; on set features, of the labels that occur or are predicted.",
        (*_CLASSES, *_SET),
    ),
    "micro_f1": Metric(True, "F1 of all labels of all rows, counted together.", _SET),
    "jaccard": Metric(
        True,
        "Mean over the rows of the labels that are true and predicted by those that are one of both; 1 where there is "
        "none.",
        _SET,
        judges=_SET,
    ),
    "hamming_distance": Metric(False, "Share of the labels of all rows that are predicted wrong.", _SET, margin=0.005),
    "hits_at_k": Metric(
        True,
        "Mean over the classes of the share of their rows whose class is among the k most probable ones, with k the "
        "top_k of the feature.",
        ("category",),
        "more classes than top_k",
    ),
    "roc_auc": Metric(
        True,
        "Area under the ROC curve; with several classes the mean of each against the rest.",
        _CLASSES,
        _TWO_CLASSES,
        judges=("binary",),
    ),
    "average_precision": Metric(
        True,
        "Area under the precision-recall curve; with several classes or labels the mean of each against the rest.",
        (*_CLASSES, *_SET),
        _TWO_CLASSES,
    ),
    "recall": Metric(
        True,
        "Share of the true rows of the positive class that are predicted as such.",
        ("binary",),
        "examples of the positive class",
        is_main=False,
        margin=0.02,
    ),
    "rank_mae": Metric(
        False, "Mean distance of the predicted rank from the true one.", ("category",), _ORDER, margin=0.02
    ),
    "quadratic_weighted_kappa": Metric(
        True,
        "Agreement of predicted and true ranks beyond chance, by squared distances: 1 is perfect, 0 chance.",
        ("category",),
        _ORDER,
    ),
    "open_set_auroc": Metric(
        True,
        "Probability that a row of a known class has a higher score than one of the background.",
        _CLASSES,
        _BACKGROUND,
    ),
    "oscr": Metric(
        True,
        "Probability that a row of a known class is predicted right and has a higher score than one of the background.",
        _CLASSES,
        _BACKGROUND,
    ),
    "closed_set_accuracy": Metric(
        True,
        "Share of the rows of known classes whose most probable known class is the true one.",
        _CLASSES,
        _BACKGROUND,
    ),
    "log_loss": Metric(
        False,
        "Mean of -log of the probability of the true class, which counts as at least 1.2e-7.",
        _CLASSES,
        _PROBABILITIES,
    ),
    "brier_score": Metric(
        False,
        "Mean squared error of the probabilities; with several classes their sum, 0 to 2.",
        _CLASSES,
        _PROBABILITIES,
        margin=0.005,
    ),
    "expected_calibration_error": Metric(
        False,
        f"Mean distance of the probability of the likeliest class from its accuracy, {CALIBRATION_BINS} bins.",
        _CLASSES,
        _PROBABILITIES,
    ),
    "zero_probabilities": Metric(
        None, "Share of the probabilities that are exactly 0.", (*_CLASSES, *_TOKENS), _PROBABILITIES
    ),
    "mean_iou": Metric(
        True, "Mean over the classes of the intersection over union of their pixels.", ("image",), judges=("image",)
    ),
    "dice_coefficient": Metric(True, "Mean over the classes of the Dice coefficient of their pixels.", ("image",)),
    "smallest_class_iou": Metric(
        True, "IoU of the class with the fewest true pixels among the rows measured.", ("image",), margin=0.02
    ),
    "pixel_accuracy": Metric(True, "Share of the pixels that are predicted right.", ("image",)),
    "pair_accuracy": Metric(
        True, "Share of the rows with a partner whose nearest other row, by cosine, is one.", ("vector",), _PARTNERS
    ),
    "alignment": Metric(
        False, "Mean squared distance of partners on the unit sphere, 0 to 4.", ("vector",), _PARTNERS, margin=0.02
    ),
    "uniformity": Metric(
        False,
        "log of the mean of exp(-2 d**2) over all pairs of rows on the unit sphere, -8 to 0.",
        ("vector",),
        margin=0.05,
    ),
    "token_accuracy": Metric(
        True, "Share of the true tokens that are predicted at their position.", _TOKENS, judges=_TOKENS
    ),
    "sequence_accuracy": Metric(
        True, "Share of the rows that are predicted right from the first to the last token.", _TOKENS
    ),
    "token_macro_f1": Metric(
        True,
        "Mean of the F1 of the classes of tokens, without symbols and, in Ludwig's tables, ignored classes.",
        _TOKENS,
        _TOKEN_CLASSES,
    ),
    "token_micro_f1": Metric(
        True,
        "F1 of all classes of tokens together, without symbols and, in Ludwig's tables, ignored classes.",
        _TOKENS,
        _TOKEN_CLASSES,
        is_main=False,
    ),
    "edit_distance": Metric(
        False, "Insertions, deletions and substitutions, divided by the number of true tokens.", _TOKENS
    ),
    "root_mean_squared_error": Metric(False, f"Root of the mean squared error, {_UNITS}.", _NUMBERS, margin=None),
    "mean_absolute_error": Metric(False, f"Mean absolute error, {_UNITS}.", _NUMBERS, margin=None),
    "r2": Metric(
        True,
        "Share of the variance of the targets that the predictions explain: 1 is perfect, 0 no better than their mean.",
        _NUMBERS,
        "targets that are not all the same",
    ),
    "poisson_deviance": Metric(
        False,
        f"Mean Poisson deviance of the predictions, {_MEANS}.",
        _NUMBERS,
        _AMOUNTS,
        is_main=False,
        margin=None,
    ),
    "tweedie_deviance": Metric(
        False,
        f"Mean Tweedie deviance with the power {TWEEDIE_POWER} of the predictions, {_MEANS}.",
        _NUMBERS,
        _AMOUNTS,
        is_main=False,
        margin=None,
    ),
    "anomaly_auroc": Metric(
        True, "Probability that an anomaly has a higher score than a normal row.", ("anomaly",), _LABELS
    ),
    "anomaly_average_precision": Metric(
        True, "Area under the precision-recall curve of the score.", ("anomaly",), _LABELS
    ),
    "f1_max": Metric(
        True, "F1 of the best threshold that one could have chosen.", ("anomaly",), _LABELS, is_main=False
    ),
    "precision_at_threshold": Metric(
        True,
        "Share of anomalies among the rows above the threshold, 0 if there is none.",
        ("anomaly",),
        _LABELS,
        is_main=False,
    ),
    "recall_at_threshold": Metric(
        True, "Share of the anomalies that lie above the threshold.", ("anomaly",), _LABELS, is_main=False
    ),
    "pinball_loss": Metric(
        False,
        "Mean of the pinball losses of the quantiles; half the absolute error for the median.",
        _NUMBERS,
        _QUANTILES,
        margin=None,
    ),
    "crps": Metric(
        False,
        "Continuous ranked probability score from the quantiles, sum of w times pinball loss: w is twice the length of "
        f"the part of (0, 1) that is nearest to the level; {_UNITS}, the absolute error for the median alone.",
        _NUMBERS,
        f"{_QUANTILES} on both sides of the median",
        margin=None,
    ),
    "interval_coverage": Metric(
        None, "Share of the targets between the lowest and the highest quantile.", _NUMBERS, _QUANTILES
    ),
    "interval_width": Metric(
        False,
        "Mean distance of the highest from the lowest quantile.",
        _NUMBERS,
        _QUANTILES,
        is_main=False,
        margin=None,
        # The narrowest interval is one that covers nothing.
        decides=False,
    ),
    "interval_score": Metric(
        False,
        "Width of the interval, plus 2 / a times the distance of a target outside, with a the share to be outside.",
        _NUMBERS,
        _QUANTILES,
        margin=None,
    ),
    "deviance": Metric(
        False,
        "Mean deviance of counts or amounts under the distribution of the loss; 0 where every mean is the target.",
        ("number",),
        f"poisson_nll_loss or tweedie_loss; {_OF_LUDWIG_ONLY}",
        is_compared=False,
    ),
    "seconds_per_epoch": Metric(
        False, "Median time of an epoch, with the evaluation at its end.", (), is_main=False, margin=None
    ),
    "peak_memory_mb": Metric(
        False,
        "Largest resident memory of the process while it trained, with Python and Ludwig; with a GPU, the most that "
        "torch had allocated there.",
        (),
        is_main=False,
        margin=None,
    ),
}


def metric(name: str) -> Metric:
    """Return what is known of a metric, also of those of single classes, ``iou_1``, ``recall[malignant]`` and
    ``token_f1[O]``, which is ``token_f1_O`` in Ludwig's tables.

    Raises:
        KeyError: there is no such metric.
    """
    if name in METRICS:
        return METRICS[name]
    if (found := re.fullmatch(r"iou_(\d+)", name)) is not None:
        return Metric(True, f"IoU of class {found[1]}.", ("image",), is_main=False, margin=0.02)
    if (found := re.fullmatch(r"token_f1(?:_(.+)|\[(.*)\])", name, re.DOTALL)) is not None:
        in_ludwigs_tables = found[1] is not None
        meaning = f"F1 of the tokens of the class: {found[1] if in_ludwigs_tables else found[2]}."
        return Metric(True, meaning, _TOKENS, is_main=False, margin=0.02, is_compared=not in_ludwigs_tables)
    if (found := re.fullmatch(r"recall\[(.*)\]", name, re.DOTALL)) is not None:
        meaning = f"Share of the true rows of the class that are predicted as such: {found[1]}."
        return Metric(True, meaning, (*_CLASSES, *_SET), is_main=False, margin=0.02)
    if (found := re.fullmatch(r"average_precision\[(.*)\]", name, re.DOTALL)) is not None:
        meaning = f"Area under the precision-recall curve of the label: {found[1]}."
        return Metric(True, meaning, _SET, is_main=False, margin=0.02)
    raise KeyError(name)


def lower_is_better(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of some metrics of which less is better."""
    return tuple(name for name in names if metric(name).higher_is_better is False)


def deciding(feature_type: str) -> list[str]:
    """Return the metrics by which losses for a feature type may be compared to take one of them."""
    return [
        name
        for name, found in METRICS.items()
        if feature_type in found.features and found.higher_is_better is not None and found.is_compared and found.decides
    ]


def judging(feature_type: str) -> str | None:
    """Return the metric that says how good a model is whatever it was trained with, if there is one."""
    return next((name for name, found in METRICS.items() if feature_type in found.judges), None)
