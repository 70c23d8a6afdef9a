"""What one-class training needs of Ludwig's trainer: a centre before the first step, a radius after each epoch, a
threshold before each evaluation, and no silent collapse, divergence or inversion."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from ludwig.constants import LOGITS, LOSS
from torch import Tensor, nn
from torch import distributed as dist

from ludwig_losses.declare.schema import ANOMALY
from ludwig_losses.functional.one_class import initial_center
from ludwig_losses.host.anomaly import verdict
from ludwig_losses.host.anomaly.contamination import MARGIN, cutoff_of_epoch, latest, taken_for_normal
from ludwig_losses.host.anomaly.feature import VECTOR, AnomalyOutputFeature
from ludwig_losses.host.anomaly.labels import ANOMALOUS, NORMAL
from ludwig_losses.host.anomaly.perturbation import remember_inputs
from ludwig_losses.host.anomaly.schema import AUTO
from ludwig_losses.host.anomaly.verdict import Found
from ludwig_losses.host.config.sections import place_of
from ludwig_losses.host.model.forward import outputs_and_targets
from ludwig_losses.host.ranks.agreement import ranks
from ludwig_losses.host.registry import metrics_of_feature
from ludwig_losses.parameters import Place

logger = logging.getLogger(__name__)

REMEDIES = (
    "A network collapses where it can map everything to one point: through biases (write bias: false in the decoder, "
    "and fc_use_bias or use_bias: false in combiner and encoders), the shift of a batch or layer norm, bounded "
    "activations (prefer relu or leaky_relu to tanh and sigmoid), or a learning rate at which all its units die. "
    "Change that, train for fewer epochs, or take drocc or deep_sad with labelled anomalies."
)

# The scores and the labels of some rows.
Scored = tuple[Any, Any]

# Scores that differ by less, relative to their mean, are equal up to rounding.
_ALIKE = 1e-5
# Too few rows in an epoch to detect a collapse.
_FEWEST_ROWS = 8
# How many rows of a rank are evaluated with noise on their inputs.
_MOST_MOVED = 1024


def features_of(model: nn.Module) -> list[AnomalyOutputFeature]:
    """Return the anomaly features of a model."""
    features = getattr(model, "output_features", None)
    return [] if features is None else [f for f in features.values() if isinstance(f, AnomalyOutputFeature)]


def train_with_threshold(
    original: Callable, trainer: Any, training_set: Any, validation_set: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Train; choose the best model by a metric that the validation data has, and report the threshold in the end."""
    features = features_of(trainer.model)
    if not features:
        return original(trainer, training_set, validation_set, *args, **kwargs)
    _choose_metric(trainer, features, training_set if validation_set is None else validation_set)
    with remember_inputs(trainer.model, features):
        result = original(trainer, training_set, validation_set, *args, **kwargs)
    state = result[0] if isinstance(result[0], dict) else result[0].state_dict()
    for feature in features:
        (threshold,) = (value for key, value in state.items() if key.endswith(_threshold_of(trainer.model, feature)))
        logger.info(
            f"Anomaly feature '{feature.feature_name}': rows with a score above {float(threshold):.6g} are flagged."
        )
        if feature.best is not None:
            verdict.report(feature, place_of(trainer.model, feature.feature_name))
            feature.best = None
    return result


def tune_before_centre(original: Callable, trainer: Any, *args: Any, **kwargs: Any) -> Any:
    """Try batch sizes on made-up rows, before there is a centre."""
    features = features_of(trainer.model)
    for feature in features:
        feature.is_tried = True
    try:
        return original(trainer, *args, **kwargs)
    finally:
        for feature in features:
            feature.is_tried = False


def _threshold_of(model: nn.Module, feature: AnomalyOutputFeature) -> str:
    """Return the name of the threshold of a feature among the weights of its model."""
    tensor = feature.decoder_obj.threshold
    return next(name for name, buffer in model.named_buffers() if buffer is tensor)


def _choose_metric(trainer: Any, features: list[AnomalyOutputFeature], data: Any) -> None:
    """Let the loss choose the best model where the default metric needs labels that the data has not.

    Raises:
        ValueError: another metric that needs labels was chosen.
    """
    of_labels = {name for metric_cls in metrics_of_feature(ANOMALY) for name in metric_cls.NAMES}
    for feature in features:
        name, metric = feature.feature_name, trainer.validation_metric
        if trainer.validation_field != name or metric not in of_labels:
            continue
        targets = data.dataset.get(feature.proc_column) if isinstance(getattr(data, "dataset", None), dict) else None
        if targets is None or {NORMAL, ANOMALOUS} <= set(np.unique(targets)):
            continue
        lacking = (
            f"{place_of(trainer.model, name)}: the validation data has not both normal rows and labelled anomalies"
        )
        if metric != "anomaly_auroc":
            raise ValueError(
                f"trainer.validation_metric: {metric} is not available: {lacking}. Add them, or choose the loss."
            )
        logger.warning(f"{lacking}, so the loss and not anomaly_auroc chooses the best model.")
        trainer._validation_metric = LOSS


def train_epoch(original: Callable, trainer: Any, *args: Any, **kwargs: Any) -> Any:
    """Train one epoch, from a centre to a radius."""
    features = features_of(trainer.model)
    if not features:
        return original(trainer, *args, **kwargs)
    given = inspect.signature(original).bind(trainer, *args, **kwargs).arguments
    progress = given["progress_tracker"]
    _place_centres(trainer, features, given["training_set"], progress.batch_size)
    for feature in features:
        feature.seen, feature.losses = [], []
        feature.train_loss_function.begin_epoch(progress.epoch)
    result = original(trainer, *args, **kwargs)
    if getattr(trainer, "skip_all_evaluation", False):
        for feature, found in _judge(trainer, features, given, progress.batch_size):
            feature.best = found
    for feature in features:
        _end_epoch(feature, place_of(trainer.model, feature.feature_name))
    return result


def set_threshold_and_evaluate(original: Callable, trainer: Any, *args: Any, **kwargs: Any) -> Any:
    """Evaluate with the threshold of the present model, which is saved with it if it is the best one."""
    features = features_of(trainer.model)
    if not features:
        return original(trainer, *args, **kwargs)
    given = inspect.signature(original).bind(trainer, *args, **kwargs).arguments
    progress = given["progress_tracker"]
    judged = _judge(trainer, features, given, progress.batch_size)
    result = original(trainer, *args, **kwargs)
    if progress.best_eval_metric_steps == progress.steps:
        for feature, found in judged:
            feature.best = found
    return result


def evaluate_with_adversary(original: Callable, predictor: Any, *args: Any, **kwargs: Any) -> Any:
    """Evaluate a data set with the adversary of the losses that have one."""
    with remember_inputs(predictor.model, features_of(predictor.model)):
        return original(predictor, *args, **kwargs)


def _place_centres(trainer: Any, features: list[AnomalyOutputFeature], training_set: Any, batch_size: int) -> None:
    """Set the centres that are not set: the mean of the embeddings of the untrained network.

    Before the first step, as in the paper: after an epoch the network would already be trained towards an arbitrary
    point. Labelled anomalies are excluded.

    Raises:
        ValueError: there is no row that is not labelled as an anomaly.
    """
    features = [feature for feature in features if not feature.decoder_obj.is_centred]
    if not features:
        return
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for outputs, targets in outputs_and_targets(trainer, training_set, batch_size):
        for feature in features:
            name = feature.feature_name
            usual = targets[name] != ANOMALOUS
            vectors = outputs[f"{name}::{VECTOR}"][usual].double().cpu()
            sums[name] = sums.get(name, torch.zeros(())).to(vectors) + vectors.sum(dim=0)
            counts[name] = counts.get(name, 0) + len(vectors)
    sums, counts = _added_up(sums), _added_up(counts)
    for feature in features:
        name, decoder = feature.feature_name, feature.decoder_obj
        if not counts[name]:
            raise ValueError(
                f"{place_of(trainer.model, name)}: every row of the training data is labelled as an anomaly (1). An "
                f"anomaly feature learns what is normal: add rows labelled 0, or without a label (-1)."
            )
        mean = (sums[name] / counts[name]).to(decoder.center)
        decoder.begin_at(initial_center(mean), mean)


def _of_all_ranks(found: Any) -> list[Any]:
    """Return what each rank has found."""
    gathered: list[Any] = [found] * ranks()
    if len(gathered) > 1:
        dist.all_gather_object(gathered, found)
    return gathered


def _added_up(found: dict[str, Any]) -> dict[str, Any]:
    """Return the sums over all ranks."""
    of_ranks = _of_all_ranks(found)
    return {name: sum(of_rank[name] for of_rank in of_ranks) for name in found}


def _judge(
    trainer: Any, features: list[AnomalyOutputFeature], given: dict[str, Any], batch_size: int
) -> list[tuple[AnomalyOutputFeature, Found]]:
    """Evaluate the scores of the present model, and set the thresholds that follow from them.

    They are those of the validation data, or of the training data where that has no row that may be normal. The
    largest score of few validation rows may be small by chance; then the training data are used, too.
    """
    validation_set = given.get("validation_set")
    found: dict[str, Found] = {}
    if validation_set is not None and len(validation_set):
        found = _scores(trainer, features, validation_set, batch_size)
    short = [f for f in features if f.feature_name not in found or verdict.is_short(f, found[f.feature_name])]
    trained = _scores(trainer, short, given["training_set"], batch_size) if short else {}
    for feature in features:
        name = feature.feature_name
        found[name] = verdict.merged(found.get(name), trained.get(name))
        if feature.threshold == AUTO:
            feature.decoder_obj.threshold.fill_(verdict.threshold_of(feature, found[name], trained.get(name)))
    return [(feature, found[feature.feature_name]) for feature in features]


def _scores(trainer: Any, features: list[AnomalyOutputFeature], dataset: Any, batch_size: int) -> dict[str, Found]:
    """Return what a data set says about the scores, also with noise on the inputs of twice the deviation of each."""
    # A rank may have no row of a small data set.
    kept: dict[str, list[tuple[Tensor, ...]]] = {feature.feature_name: [(torch.zeros(0),) * 5] for feature in features}
    rows, generator = 0, torch.Generator().manual_seed(0)

    def score_moved(inputs: Tensor, score_of: Callable[[Tensor], Tensor]) -> Tensor:
        noise = torch.randn(inputs.shape, generator=generator).to(inputs)
        return score_of(inputs + 2 * inputs.std(dim=0) * noise)

    with remember_inputs(trainer.model, features, of_all=True):
        for outputs, targets in outputs_and_targets(trainer, dataset, batch_size):
            for feature in features:
                score, label = outputs[f"{feature.feature_name}::{LOGITS}"], targets[feature.feature_name]
                usual = label != ANOMALOUS
                most = _MOST_MOVED if len(score) > 1 and rows < _MOST_MOVED else 0
                moved = feature.network.once_per_pass(score_moved) if most else score
                parts = (score[usual], label[usual], score[usual][:most], moved[usual][:most], score[~usual])
                kept[feature.feature_name].append(tuple(part.double().cpu() for part in parts))
            rows += len(score)
    return {feature.feature_name: _found(feature, kept[feature.feature_name]) for feature in features}


def _found(feature: AnomalyOutputFeature, kept: list[tuple[Tensor, ...]]) -> Found:
    parts = [torch.cat(tensors).numpy() for tensors in zip(*kept, strict=True)]
    losses = torch.stack(feature.losses).double().cpu().numpy() if feature.losses else np.zeros(0)
    of_ranks = [np.concatenate(of_rank) for of_rank in zip(*_of_all_ranks([*parts, losses]), strict=True)]
    usual, label, usual_of_moved, moved, anomalous, losses = of_ranks
    usual = taken_for_normal(usual, label, feature.train_loss_function.contamination)
    return Found(usual, usual_of_moved, moved, anomalous, loss=float(losses.mean()) if len(losses) else 0.0)


def _joined(parts: Iterable[Scored]) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and the labels of all parts; a rank may have no row of a small data set."""
    scores, labels = [np.zeros(0)], [np.zeros(0)]
    for score, label in parts:
        scores.append(torch.as_tensor(score).double().cpu().numpy())
        labels.append(torch.as_tensor(label).cpu().numpy())
    return np.concatenate(scores), np.concatenate(labels)


def _end_epoch(feature: AnomalyOutputFeature, place: Place) -> None:
    """Keep the quantile of the distances of the epoch, if the loss wants one, and look for a collapse."""
    seen, feature.seen, feature.losses = feature.seen or [], None, []
    batches = [score[target != ANOMALOUS].double().cpu().numpy() for score, target in seen]
    batches = [batch for of_rank in _of_all_ranks(batches) for batch in of_rank]
    scores = np.concatenate([np.zeros(0), *batches])
    if feature.latest is not None:
        scores = _keep_cutoff(feature, place, seen)
    quantile = feature.train_loss_function.quantile
    if quantile is not None and len(scores):
        feature.decoder_obj.radius2.fill_(float(np.quantile(scores, quantile)))
    check_collapse(feature, place, [batch for batch in batches if len(batch) > 1] or [scores])


def _keep_cutoff(feature: AnomalyOutputFeature, place: Place, seen: list[Scored]) -> np.ndarray:
    """Keep the cutoff for evaluations; return the scores of the rows of the epoch that are taken for normal.

    Raises:
        ValueError: every row has a label, so that none can be excluded.
    """
    share, of_ranks = feature.train_loss_function.contamination, _of_all_ranks(_joined(seen))
    unlabelled = np.concatenate([latest(*of_rank) for of_rank in of_ranks])
    if not len(unlabelled):
        raise ValueError(
            f"{place.at('.loss')}: contamination = {share:g} is a share of the training rows without a label (-1), but "
            f"every training row has one. Remove contamination, or the labels (0) of rows that nobody has looked at."
        )
    feature.decoder_obj.cutoff.fill_(cutoff_of_epoch(unlabelled, MARGIN * share))
    return taken_for_normal(*_joined(of_ranks), MARGIN * share)


def check_collapse(feature: AnomalyOutputFeature, place: Place, batches: list[np.ndarray]) -> None:
    """Stop if the scores are NaN, infinite or all equal, and warn if they are equal in most batches.

    Each batch is checked on its own: the common score of a collapsed network still moves with every step.

    Args:
        batches: the scores of an epoch that are not those of labelled anomalies.

    Raises:
        RuntimeError: the scores are not finite, are equal within each batch, or all lie in the centre, up to rounding.
    """
    scores, last = np.concatenate(batches), batches[-1]
    if not np.isfinite(scores).all():
        raise RuntimeError(
            f"{place}: the training has diverged. {(~np.isfinite(scores)).mean():.0%} of the scores of the epoch are "
            f"NaN or infinite. Lower trainer.learning_rate, and standardise the inputs."
        )
    if len(scores) < _FEWEST_ROWS:
        return
    sizes = np.array([np.abs(batch).mean() for batch in batches])
    spreads = np.array([batch.std() for batch in batches]) / np.maximum(sizes, np.finfo(float).tiny)
    scale = float((feature.decoder_obj.center.double() ** 2).sum()) if feature.decoder_obj.head is None else 0.0
    if spreads.mean() <= _ALIKE or np.abs(scores).mean() <= 1e-9 * scale:
        raise RuntimeError(
            f"{place}: the network has collapsed. The last batch has {len(np.unique(last))} distinct scores for "
            f"{len(last)} rows, {sizes[-1]:.3g} on average with a standard deviation of {last.std():.3g}, so they tell "
            f"nothing apart. {REMEDIES}"
        )
    share = (spreads <= _ALIKE).mean()
    if share > 0.5:  # not an error: most rows of the data may be the same
        logger.warning(f"{place}: in {share:.0%} of the batches the network gives all rows one score. {REMEDIES}")
