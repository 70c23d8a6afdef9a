"""The ``anomaly`` output feature and its decoder, the same on both generations of Ludwig."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from ludwig.constants import COLUMN, HIDDEN, LOGITS, PREDICTIONS, PROC_COLUMN
from ludwig.decoders.base import Decoder
from ludwig.decoders.registry import register_decoder
from ludwig.features.base_feature import OutputFeature, PredictModule
from ludwig.utils import output_feature_utils
from torch import Tensor, nn

from ludwig_losses.declare.schema import ANOMALY
from ludwig_losses.functional.one_class import squared_distance
from ludwig_losses.host.anomaly import labels
from ludwig_losses.host.anomaly.contamination import MARGIN, LatestScores
from ludwig_losses.host.anomaly.schema import AUTO, AnomalyDecoderConfig, AnomalyOutputFeatureConfig, has_score_head

logger = logging.getLogger(__name__)

SCORE = "anomaly_score"
VECTOR = "anomaly_vector"
# The name of the column of scores in Ludwig's documentation.
SCORE_PREDICTIONS = f"{SCORE}_{PREDICTIONS}"
# Finite: Ludwig stops training when the model contains an infinite value.
NO_THRESHOLD = torch.finfo(torch.float32).max


@register_decoder("anomaly", [ANOMALY])
class AnomalyDecoder(Decoder):
    """Maps the output of the combiner to an embedding, and that to an anomaly score: higher is more anomalous.

    The centre, the squared radius and the threshold are persistent buffers: training determines them, and they are
    saved with the model.
    """

    def __init__(
        self, input_size: int, output_size: int, use_bias: bool, decoder_config: Any = None, **kwargs: Any
    ) -> None:
        super().__init__()
        self.config = decoder_config
        self.linear = nn.Linear(input_size, output_size, bias=use_bias)
        self.head: nn.Linear | None = None
        self.register_buffer("center", torch.zeros(output_size))
        self.register_buffer("is_centred", torch.tensor(False))
        self.register_buffer("radius2", torch.tensor(0.0))
        self.register_buffer("threshold", torch.tensor(NO_THRESHOLD))
        self._known_to_be_centred = self.is_checked_for_threshold = False

    def add_head(self) -> None:
        """Score by a learned linear function of the embedding instead of its distance to the centre."""
        self.head = nn.Linear(self.linear.out_features, 1)

    def add_cutoff(self) -> None:
        """Keep the score above which rows without a label were not trained as normal in the last epoch."""
        self.register_buffer("cutoff", torch.tensor(torch.finfo(torch.float32).max))

    def begin_at(self, center: Tensor, mean: Tensor) -> None:
        """Set the centre, and initialise a head with a score that grows along the mean embedding, from 0 there.

        Far from the training rows, the score hardly changes in training. With a random head it falls with the distance
        for about half of the seeds, and distant rows are found normal.
        """
        self.center.copy_(center)
        self.is_centred.fill_(True)
        size = torch.linalg.vector_norm(mean)
        if self.head is not None and size > 0:
            with torch.no_grad():
                self.head.weight.copy_(mean / size * torch.linalg.vector_norm(self.head.weight))
                self.head.bias.copy_(-(self.head.weight @ mean))

    def has_centre(self) -> bool:
        """Whether the centre was set. Once it is, this does not synchronise again."""
        self._known_to_be_centred = self._known_to_be_centred or bool(self.is_centred)
        return self._known_to_be_centred

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._known_to_be_centred = self.is_checked_for_threshold = False
        super()._load_from_state_dict(*args, **kwargs)

    def forward(self, hidden: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return the embeddings, shape (batch, output_size), and their scores, shape (batch,)."""
        vector = self.linear(hidden)
        if self.head is None:
            return vector, squared_distance(vector, self.center)
        return vector, self.head(vector).squeeze(-1)

    @staticmethod
    def get_schema_cls() -> type:
        return AnomalyDecoderConfig

    @property
    def input_shape(self) -> torch.Size:
        return torch.Size([self.linear.in_features])

    @property
    def output_shape(self) -> torch.Size:
        return torch.Size([1])


class AnomalyFeatureMixin:
    """What preprocessing asks of the feature type."""

    @staticmethod
    def type() -> str:
        return ANOMALY

    @staticmethod
    def cast_column(column: Any, backend: Any) -> Any:
        return labels.cast(column, backend)

    @staticmethod
    def get_feature_meta(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return {}

    @staticmethod
    def add_feature_data(feature_config: Any, input_df: Any, proc_df: Any, *args: Any, **kwargs: Any) -> Any:
        proc_df[feature_config[PROC_COLUMN]] = input_df[feature_config[COLUMN]]
        return proc_df


class AnomalyOutputFeature(AnomalyFeatureMixin, OutputFeature):
    """Scores how anomalous a row is, and flags what lies above the threshold."""

    def __init__(self, output_feature_config: Any, output_features: dict[str, OutputFeature], **kwargs: Any) -> None:
        super().__init__(output_feature_config, output_features, **kwargs)
        self.threshold, self.threshold_percentile = (
            output_feature_config.threshold,
            output_feature_config.threshold_percentile,
        )
        self.decoder_obj = self.initialize_decoder(output_feature_config.decoder)
        if has_score_head(type(self.loss)):
            self.decoder_obj.add_head()
        if self.threshold != AUTO:
            self.decoder_obj.threshold.fill_(float(self.threshold))
        # The scores, labels and losses of the training batches of this epoch, while there is one.
        self.seen: list[tuple[Tensor, Tensor]] | None = None
        self.losses: list[Tensor] = []
        # What the evaluation of the best model so far says about its scores.
        self.best: Any = None
        # The latest scores of rows without a label, where contamination excludes some of them.
        self.latest: LatestScores | None = None
        # The way from the inputs to the score, while there is a forward pass that a loss may perturb.
        self.network: Any = None
        # While Ludwig tries batch sizes, on made-up rows and before the training.
        self.is_tried = False
        self._setup_loss()
        self._setup_metrics()
        if self.train_loss_function.contamination:
            self.decoder_obj.add_cutoff()
            self.latest = LatestScores(MARGIN * self.train_loss_function.contamination)

    def logits(self, inputs: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        vector, score = self.decoder_obj(inputs[HIDDEN])
        return {LOGITS: score, VECTOR: vector, PREDICTIONS: score > self.decoder_obj.threshold}

    def train_loss(self, targets: Tensor, predictions: dict[str, Tensor], feature_name: str) -> Tensor:
        self._check_prepared()
        score = output_feature_utils.get_output_feature_tensor(predictions, feature_name, LOGITS)
        loss_function = self._informed(self.train_loss_function)
        if self.seen is not None and self.latest is not None:
            loss_function.cutoff = self.latest.cutoff(score, targets)
        loss = loss_function(score, targets)
        if self.seen is not None:
            self.seen.append((score.detach(), targets))
            self.losses.append(loss.detach())
        return loss

    def eval_loss(self, targets: Tensor, predictions: dict[str, Tensor]) -> Tensor:
        self._informed(self.eval_loss_metric.loss_function)
        return super().eval_loss(targets, predictions)

    def update_metrics(self, targets: Tensor, predictions: dict[str, Tensor]) -> None:
        self._check_prepared()
        self._informed(self.eval_loss_metric.loss_function)
        super().update_metrics(targets, predictions)

    def predictions(self, all_decoder_outputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        self._check_centre()
        if not self.decoder_obj.is_checked_for_threshold and not self.is_tried:
            self._warn_without_threshold()
        return super().predictions(all_decoder_outputs, feature_name)

    def _check_prepared(self) -> None:
        """Refuse to compute a loss without what only the wrapped trainer of Ludwig provides.

        Raises:
            RuntimeError: the centre was never set, or a loss that perturbs the inputs does not get them.
        """
        self._check_centre()
        if self.train_loss_function.perturbs_inputs and self.network is None and not self.is_tried:
            raise RuntimeError(
                f"Anomaly feature '{self.feature_name}': {self.loss.type} has no access to the inputs of the network, "
                f"so it cannot look for its adversary. {_not_in_place('Trainer.train', 'Predictor.batch_evaluation')}"
            )

    def _check_centre(self) -> None:
        if not self.is_tried and not self.decoder_obj.has_centre():
            raise RuntimeError(
                f"Anomaly feature '{self.feature_name}': its centre was never set, so scores and radius mean nothing. "
                f"{_not_in_place('Trainer._train_loop')}"
            )

    def _warn_without_threshold(self) -> None:
        """Say once that no row will be flagged, where that is so."""
        self.decoder_obj.is_checked_for_threshold = True
        if float(self.decoder_obj.threshold) >= NO_THRESHOLD:
            logger.warning(
                f"Anomaly feature '{self.feature_name}': no threshold was set when the model was trained, so no row is "
                f"flagged as an anomaly. The scores hold. Train again, with rows that are not labelled as anomalies, "
                f"or with a number as the threshold."
            )

    def _informed(self, loss: Any) -> Any:
        """Tell a loss the squared radius and the cutoff, which the decoder keeps so that they are saved with the model,
        and the way from the inputs to the score."""
        loss.radius2, loss.network = self.decoder_obj.radius2, self.network
        loss.cutoff = getattr(self.decoder_obj, "cutoff", None)
        return loss

    def create_predict_module(self) -> PredictModule:
        return AnomalyPredict()

    def get_prediction_set(self) -> set[str]:
        return {SCORE, PREDICTIONS}

    @classmethod
    def get_output_dtype(cls) -> torch.dtype:
        return torch.float32

    @property
    def output_shape(self) -> torch.Size:
        return torch.Size([1])

    @property
    def input_shape(self) -> torch.Size:
        return torch.Size([self.input_size])

    @staticmethod
    def update_config_with_metadata(feature_config: Any, feature_metadata: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing in the configuration depends on the data."""

    @staticmethod
    def calculate_overall_stats(predictions: Any, targets: Any, train_set_metadata: Any) -> dict[str, Any]:
        return {}

    def postprocess_predictions(self, result: Any, metadata: Any) -> Any:
        score = f"{self.feature_name}_{SCORE}"
        if score in result:
            result[f"{self.feature_name}_{SCORE_PREDICTIONS}"] = result[score]
        return result

    @classmethod
    def get_postproc_output_dtype(cls, metadata: Any) -> str:
        return "float32"

    @staticmethod
    def create_postproc_module(metadata: Any) -> nn.Module:
        return AnomalyPostprocessing()

    @staticmethod
    def get_schema_cls() -> type:
        return AnomalyOutputFeatureConfig


def _not_in_place(*names: str) -> str:
    """Return what to do where a part of Ludwig is not the one that this package wraps."""
    return (
        f"ludwig_losses provides it in a wrapper of {' or '.join(names)} of Ludwig, which did not run: train with "
        f"LudwigModel.train, and with a version of Ludwig that ludwig_losses supports."
    )


class AnomalyPredict(PredictModule):
    """Names the outputs of the decoder; TorchScript can compile it."""

    def __init__(self) -> None:
        super().__init__()
        self.score_key = SCORE

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        score = output_feature_utils.get_output_feature_tensor(inputs, feature_name, self.logits_key)
        flag = output_feature_utils.get_output_feature_tensor(inputs, feature_name, self.predictions_key)
        return {self.score_key: score, self.predictions_key: flag, self.logits_key: score}


class AnomalyPostprocessing(nn.Module):
    """The same for a model that was exported to TorchScript."""

    def __init__(self) -> None:
        super().__init__()
        self.score_key, self.predictions_key = SCORE, PREDICTIONS

    def forward(self, preds: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        score = output_feature_utils.get_output_feature_tensor(preds, feature_name, self.score_key)
        flag = output_feature_utils.get_output_feature_tensor(preds, feature_name, self.predictions_key)
        return {self.score_key: score, self.predictions_key: flag}


def with_mixin(get_registry: Callable) -> dict[str, type]:
    """Return Ludwig's feature types, with the anomaly feature."""
    return {**get_registry(), ANOMALY: AnomalyFeatureMixin}


def with_output_feature(get_registry: Callable) -> dict[str, type]:
    """Return Ludwig's types of output features, with the anomaly feature."""
    return {**get_registry(), ANOMALY: AnomalyOutputFeature}
