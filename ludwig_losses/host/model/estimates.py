"""Number and timeseries features whose loss says what the outputs of the decoder mean: quantiles, for instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ludwig.constants import TIMESERIES
from ludwig.features.base_feature import PredictModule
from ludwig.utils import output_feature_utils
from ludwig.utils.torch_utils import Dense
from torch import Tensor, nn

from ludwig_losses.declare.loss import Loss
from ludwig_losses.host.registry import declaration_of

# The parameters of Ludwig's linear layer that its decoders have.
_OF_DENSE = ("use_bias", "weights_initializer", "bias_initializer")


def initialize_decoder(original: Callable, feature: Any, decoder_config: Any) -> nn.Module:
    """Return Ludwig's decoder, with as many outputs for each target as the loss of the feature needs."""
    decoder = original(feature, decoder_config)
    if declaration_of(type(feature.loss)) is None or not (feature.loss.begins or feature.loss.outputs):
        return decoder
    _refuse_bounds(feature, decoder_config)
    if feature.loss.outputs:
        targets = (decoder.dense.dense.out_features,) if feature.type() == TIMESERIES else ()
        options = {name: getattr(decoder_config, name) for name in _OF_DENSE if hasattr(decoder_config, name)}
        decoder.dense = Outputs(decoder_config.input_size, (*targets, feature.loss.outputs), **options)
    if feature.loss.begins:
        # The first predictions are those of a constant, with which the loss begins.
        nn.init.zeros_(decoder.dense.dense.weight)
    return decoder


def _refuse_bounds(feature: Any, decoder_config: Any) -> None:
    for name in ("clip", "activation"):
        value = getattr(decoder_config, name, None)
        if value not in (None, "linear"):
            raise ValueError(
                f"Output feature '{feature.feature_name}': decoder.{name}: {value} changes the numbers from which "
                f"{feature.loss.type} makes its predictions, not the predictions. Remove {name}."
            )


class Outputs(Dense):
    """Ludwig's linear layer, with several outputs ``[B, ..., K]`` for each target ``[B, ...]``."""

    def __init__(self, input_size: int, shape: tuple[int, ...], **options: Any) -> None:
        super().__init__(input_size, int(torch.Size(shape).numel()), **options)
        self.shape = list(shape)

    def forward(self, input: Tensor) -> Tensor:
        return self.dense(input).reshape([input.shape[0]] + self.shape)  # noqa: RUF005 - TorchScript


def create_predict_module(create: Callable, feature: Any) -> PredictModule:
    """Return Ludwig's predict module, or one that predicts what the loss of the feature makes of the logits."""
    loss = _loss(feature)
    estimates = None if loss is None else loss.estimates
    if estimates is None:
        return create(feature)
    return Estimated(estimates, getattr(feature, "clip", None), feature.loss.spreads)


def get_prediction_set(get: Callable, feature: Any) -> set[str]:
    """Return the keys of Ludwig's predictions, with the further ones of the loss; Ray drops all others."""
    loss = _loss(feature)
    return get(feature) if loss is None else {*get(feature), *feature.loss.columns, *feature.loss.spreads}


def _loss(feature: Any) -> Loss | None:
    """The loss of a feature that predicts with it, once the feature has one."""
    loss = getattr(feature, "train_loss_function", None)
    return loss if isinstance(loss, Loss) and loss.estimates is not None else None


def postprocess_number(original: Callable, feature: Any, predictions: Any, metadata: Any) -> Any:
    """Return the predictions in the units of the data, with the further columns of the loss.

    Rounding does not change the order of values. A distance goes back by the scale of the normalization alone.
    """
    result = original(feature, predictions, metadata)
    if _loss(feature) is None:
        return result
    # Not at the top: the import of that module loads this one, for its patches.
    from ludwig.features.number_feature import get_transformer

    transformer = get_transformer(metadata, metadata["preprocessing"])
    below = None
    for name in feature.loss.columns:
        column = f"{feature.feature_name}_{name}"
        if column not in result:
            continue
        result[column] = result[column].map(transformer.inverse_transform)
        if below is not None:
            result[column] = result[column].where(result[column] >= result[below], result[below])
        below = column
    for name in feature.loss.spreads:
        column = f"{feature.feature_name}_{name}"
        if column in result:
            result[column] = result[column] * (transformer.inverse_transform(1.0) - transformer.inverse_transform(0.0))
    return result


def postprocess_timeseries(original: Callable, feature: Any, result: Any, metadata: Any) -> Any:
    """Return the predictions as Ludwig's lists, with the further columns of the loss."""
    processed = original(feature, result, metadata)
    if _loss(feature) is not None:
        for name in [*feature.loss.columns, *feature.loss.spreads]:
            column = f"{feature.feature_name}_{name}"
            if column in processed:
                processed[column] = processed[column].map(lambda values: values.tolist())
    return processed


class Estimated(PredictModule):
    """Predicts what a module makes of the logits; TorchScript can compile it."""

    def __init__(self, estimates: nn.Module, clip: tuple[float, float] | None, spreads: list[str]) -> None:
        super().__init__()
        self.estimates = estimates
        # What is no value of the target is not clipped.
        self.spreads = torch.jit.annotate(list[str], list(spreads))
        self.lowest, self.highest = (-torch.inf, torch.inf) if clip is None else map(float, clip)

    def forward(self, inputs: dict[str, Tensor], feature_name: str) -> dict[str, Tensor]:
        logits = output_feature_utils.get_output_feature_tensor(inputs, feature_name, self.logits_key)
        outputs: dict[str, Tensor] = {self.logits_key: logits}
        for name, values in self.estimates(logits).items():
            outputs[name] = values if name in self.spreads else values.clamp(self.lowest, self.highest)
        return outputs
