"""How an ``anomaly`` output feature is written in a configuration, and the strict check of it."""

import copy
from collections.abc import Callable
from typing import Any

from ludwig.constants import DECODER, LOSS, MODEL_ECD, PREPROCESSING, TYPE
from ludwig.error import ConfigValidationError
from ludwig.schema import utils as schema_utils
from ludwig.schema.decoders.base import BaseDecoderConfig
from ludwig.schema.decoders.utils import DecoderDataclassField, register_decoder_config
from ludwig.schema.features.base import BaseOutputFeatureConfig
from ludwig.schema.features.loss.loss import BaseLossConfig, get_loss_schema_registry
from ludwig.schema.features.loss.utils import LossDataclassField
from ludwig.schema.features.preprocessing.base import BasePreprocessingConfig
from ludwig.schema.features.preprocessing.utils import PreprocessingDataclassField, register_preprocessor
from ludwig.schema.features.utils import ecd_output_config_registry
from ludwig.schema.metadata import DECODER_METADATA
from ludwig.schema.metadata.parameter_metadata import INTERNAL_ONLY, ParameterMetadata

from ludwig_losses.declare.schema import ANOMALY, PYDANTIC, keep_inherited_fields
from ludwig_losses.host.config.messages import unknown_key
from ludwig_losses.host.config.sections import name_of_loss
from ludwig_losses.parameters import Place, is_number

AUTO = "auto"


def schema_class(cls: Any) -> Any:
    """Complete a class of configurations, for which each generation needs something else."""
    if not PYDANTIC:
        return schema_utils.ludwig_dataclass(cls)
    keep_inherited_fields(cls)
    cls.model_rebuild(force=True)
    return cls


@register_preprocessor("anomaly_output")
@schema_class
class AnomalyPreprocessingConfig(BasePreprocessingConfig):
    """Rows without a label are unlabelled."""

    missing_value_strategy: str = schema_utils.StringOptions(
        ["fill_with_const"], default="fill_with_const", allow_none=False, description="Missing labels are unlabelled."
    )

    fill_value: int = schema_utils.IntegerOptions(
        options=[-1], default=-1, allow_none=False, description="The label of rows without one."
    )

    computed_fill_value: int = schema_utils.IntegerOptions(
        options=[-1], default=-1, allow_none=False, description="The label of rows without one."
    )


# The texts of the decoder in the JSON schema; Ludwig looks them up by the name of the module.
DECODER_METADATA["AnomalyDecoder"] = {
    **DECODER_METADATA.get("AnomalyDecoder", {}),
    TYPE: ParameterMetadata(
        short_description="Maps the output of the combiner to an embedding, and that to an anomaly score.",
        long_description="Fully connected layers and a linear one. The score is the squared distance of their "
        "output to a centre that training finds (deep_svdd, deep_sad), or a learned function of it (drocc).",
    ),
}


@register_decoder_config("anomaly", [ANOMALY], model_types=[MODEL_ECD])
@schema_class
class AnomalyDecoderConfig(BaseDecoderConfig):
    """A stack of fully connected layers and a linear one, whose output is the embedding that is scored."""

    @classmethod
    def module_name(cls) -> str:
        return "AnomalyDecoder"

    type: str = schema_utils.ProtectedString("anomaly", description="Type of decoder.")

    num_fc_layers: int = schema_utils.NonNegativeInteger(
        default=1, description="Number of fully connected layers where fc_layers is not given."
    )

    fc_output_size: int = schema_utils.PositiveInteger(default=128, description="Output size of these layers.")

    fc_use_bias: bool = schema_utils.Boolean(default=None, description="Internal: follows use_bias.")

    output_size: int = schema_utils.PositiveInteger(default=32, description="Size of the embedding.")

    use_bias: bool = schema_utils.Boolean(
        default=None,
        description="Whether the layers of the decoder have biases. By default, they have with a loss that learns the "
        "score (drocc), which could only grow or only fall with the size of the inputs otherwise, and have none with a "
        "loss of distances, where a network with biases can map everything to the centre (Ruff et al., 2018, "
        "proposition 2).",
    )

    input_size: int = schema_utils.PositiveInteger(
        default=None, allow_none=True, description="Size of the input, which Ludwig sets."
    )

    def __post_init__(self) -> None:
        self.fc_use_bias = self.use_bias

    def with_biases(self, default: bool) -> "AnomalyDecoderConfig":
        """Return the decoder with biases as the configuration says, or else by default."""
        if self.use_bias is not None:
            return self
        decoder = copy.copy(self)  # Ludwig may share one default decoder among features
        decoder.use_bias = decoder.fc_use_bias = default
        return decoder


@ecd_output_config_registry.register(ANOMALY)
@schema_class
class AnomalyOutputFeatureConfig(BaseOutputFeatureConfig):
    """An output feature that scores how unlike the training data a row is."""

    type: str = schema_utils.ProtectedString(ANOMALY, description="Type of the output feature.")

    decoder: BaseDecoderConfig = DecoderDataclassField(MODEL_ECD, feature_type=ANOMALY, default="anomaly")

    loss: BaseLossConfig = LossDataclassField(feature_type=ANOMALY, default="deep_svdd")

    preprocessing: BasePreprocessingConfig = PreprocessingDataclassField(feature_type="anomaly_output")

    default_validation_metric: str = schema_utils.StringOptions(
        ["anomaly_auroc"],
        default="anomaly_auroc",
        description="Internal: the metric that chooses the best model.",
        parameter_metadata=INTERNAL_ONLY,
    )

    threshold: float | str = schema_utils.OneOfOptionsField(
        default=AUTO,
        allow_none=False,
        description="Rows with a score above it are anomalies. auto: the threshold_percentile of the scores of the "
        "validation data, or of the training data where that has no row that may be normal.",
        field_options=[
            schema_utils.Float(default=0.0, allow_none=False, description="A score."),
            schema_utils.StringOptions([AUTO], default=AUTO, allow_none=False, description="From validation data."),
        ],
    )

    threshold_percentile: float = schema_utils.FloatRange(
        default=95.0,
        min=0.0,
        max=100.0,
        description="With threshold: auto, the percentage of the validation data that lies below the threshold. Rows "
        "labelled as anomalies are excluded.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.decoder = self.decoder.with_biases(default=has_score_head(type(self.loss)))


def has_score_head(loss_cls: type | None) -> bool:
    """Whether a loss learns the score, instead of taking the distance to the centre."""
    return getattr(loss_cls, "score_head", False)


def check_and_spread_defaults(upgrade_config: Callable, config: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a configuration that was checked, with the defaults of anomaly features in each of them."""
    check_features(config)
    return upgrade_config(spread_defaults(config))


def check_anomaly_features(check: Callable, updated_config: dict[str, Any]) -> Any:
    """Check anomaly features, those of a saved model included, before Ludwig checks the configuration."""
    check_features(updated_config)
    return check(updated_config)


# What Ludwig sets itself, and writes into the configuration of a saved model; and bias, which it renames use_bias.
_OF_LUDWIG = {"active", "proc_column", "default_validation_metric", "input_size", "num_classes", "fc_use_bias", "bias"}


def check_features(config: dict[str, Any]) -> None:
    """Check every anomaly feature of a configuration dictionary, and their defaults, beside the losses.

    Raises:
        ConfigValidationError: with one line for each mistake.
    """
    errors = []
    for index, feature in enumerate(config.get("output_features") or []):
        if isinstance(feature, dict) and feature.get("type") == ANOMALY:
            errors += _check_feature(Place(f"output_features[{index}]", feature.get("name")), feature, config)
    default = (config.get("defaults") or {}).get(ANOMALY)
    if isinstance(default, dict):
        errors += _check_feature(Place(f"defaults.{ANOMALY}"), {TYPE: ANOMALY, **default}, config)
    if errors:
        raise ConfigValidationError("\n".join(errors))


def _check_feature(place: Place, feature: dict[str, Any], config: dict[str, Any]) -> list[str]:
    loss_cls = get_loss_schema_registry().get(name_of_loss(config, feature))
    errors = _check_keys(place, feature, AnomalyOutputFeatureConfig, "An anomaly feature")
    threshold, percentile = feature.get("threshold", AUTO), feature.get("threshold_percentile", 95.0)
    if threshold != AUTO and not is_number(threshold):
        errors.append(f"{place.at('.threshold')}: got {threshold!r}, expected auto or a number.")
    if not (is_number(percentile) and 0 <= percentile <= 100):
        errors.append(f"{place.at('.threshold_percentile')}: got {percentile!r}, expected a number in [0, 100].")
    decoder = feature.get(DECODER)
    if isinstance(decoder, dict):
        errors += _check_keys(place.at(".decoder"), decoder, AnomalyDecoderConfig, "The anomaly decoder")
        errors += _check_biases(place.at(".decoder"), decoder, default=has_score_head(loss_cls))
    if isinstance(feature.get(PREPROCESSING), dict):
        where = place.at(".preprocessing")
        errors += _check_keys(
            where, feature[PREPROCESSING], AnomalyPreprocessingConfig, "The preprocessing of an anomaly feature"
        )
    return errors


def _check_keys(place: Place, section: dict[str, Any], schema: Any, what: str) -> list[str]:
    known = sorted(name for name in schema.get_valid_field_names() if name not in _OF_LUDWIG)
    return [
        unknown_key(place, key, value, known, what)
        for key, value in section.items()
        if key not in known and key not in _OF_LUDWIG
    ]


def _check_biases(place: Place, decoder: dict[str, Any], *, default: bool) -> list[str]:
    key = "bias" if "bias" in decoder else "use_bias"
    bias = decoder.get(key, default)
    if not isinstance(bias, bool):
        return [f"{place.at(f'.{key}')}: got {bias!r}, expected true or false."]
    if decoder.get("fc_use_bias", bias) != bias:
        return [
            f"{place.at('.fc_use_bias')}: {key} decides for all layers, and is {str(bias).lower()}. Write {key}: "
            f"{str(not bias).lower()}."
        ]
    return []


def spread_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Give every anomaly feature what ``defaults.anomaly`` says; Ludwig knows no such section."""
    default = (config.get("defaults") or {}).get(ANOMALY)
    if default is None:
        return config
    features = [_merged(default, feature) for feature in config.get("output_features") or []]
    defaults = {key: value for key, value in config["defaults"].items() if key != ANOMALY}
    return {**config, "defaults": defaults, "output_features": features}


def _merged(default: dict[str, Any], feature: dict[str, Any]) -> dict[str, Any]:
    if feature.get("type") != ANOMALY:
        return feature
    sections = {}
    for key in (DECODER, LOSS):
        ours, theirs = default.get(key), feature.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict) and theirs.get("type") in (None, ours.get("type")):
            sections[key] = {**ours, **theirs}
    return {**default, **feature, **sections}
