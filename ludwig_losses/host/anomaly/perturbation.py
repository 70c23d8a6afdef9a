"""The score of an anomaly feature as a function of the inputs of the network, for losses that perturb them.

Inputs that are numbers, vectors, images, audio or time series are perturbed as the network gets them, after Ludwig's
preprocessing. All others (text, sequences, categories, sets, ...) are discrete, and the output of their encoder is
perturbed instead, in whatever space and scale that has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from ludwig.constants import AUDIO, ENCODER_OUTPUT, IMAGE, LAST_HIDDEN, LOGITS, NUMBER, TIMESERIES, VECTOR
from torch import Tensor, nn

CONTINUOUS = (AUDIO, IMAGE, NUMBER, TIMESERIES, VECTOR)


@contextlib.contextmanager
def remember_inputs(model: Any, features: list, *, of_all: bool = False) -> Iterator[None]:
    """Give the features whose loss perturbs inputs, or all of them, the inputs of each forward pass."""
    with contextlib.ExitStack() as stack:
        for feature in features:
            if (of_all or feature.train_loss_function.perturbs_inputs) and feature.network is None:
                stack.enter_context(_connected(Network(model, feature)))
        yield


@contextlib.contextmanager
def _connected(network: Network) -> Iterator[None]:
    model, feature = network.model, network.feature
    handles = [
        model.register_forward_pre_hook(network.remember_raw),
        model.combiner.register_forward_pre_hook(network.remember_encoded),
        model.register_forward_hook(network.remember_outputs),
    ]
    feature.network = network
    try:
        yield
    finally:
        feature.network = None
        for handle in handles:
            handle.remove()


class Network:
    """A model from its inputs to the score of one of its features, as in its last forward pass."""

    def __init__(self, model: Any, feature: Any) -> None:
        self.model, self.feature = model, feature
        self.raw: dict[str, Tensor] = {}
        self.encoded: dict[str, dict[str, Tensor]] | None = None
        self.outputs: dict[str, Tensor] = {}
        self.result: Tensor | None = None

    def remember_raw(self, model: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.raw = arguments[0][0] if isinstance(arguments[0], tuple) else arguments[0]
        self.encoded = self.result = None

    def remember_encoded(self, combiner: nn.Module, arguments: tuple[Any, ...]) -> None:
        if self.encoded is None:  # Later forward passes have perturbed inputs.
            self.encoded = dict(arguments[0])

    def remember_outputs(self, model: nn.Module, arguments: tuple[Any, ...], outputs: dict[str, Tensor]) -> None:
        self.outputs = outputs

    def once_per_pass(self, compute: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]) -> Tensor:
        """Return what ``compute`` makes of the inputs, one vector per row, and of the function from such to scores.

        It runs once for each forward pass: loss and metrics see the same.
        """
        if self.result is None:
            encoded = self.encoded or {}
            values = {name: self._perturbed(name, output) for name, output in encoded.items()}
            inputs = torch.cat([value.reshape(len(value), -1) for value in values.values()], dim=1)
            self.result = compute(inputs, lambda perturbed: self._score(values, encoded, perturbed))
        return self.result

    def _perturbed(self, name: str, encoded: dict[str, Tensor]) -> Tensor:
        return self.raw[name] if self._is_continuous(name) else encoded[ENCODER_OUTPUT]

    def _is_continuous(self, name: str) -> bool:
        return self.model.input_features.get(name).type() in CONTINUOUS and self.raw[name].is_floating_point()

    def _score(self, values: dict[str, Tensor], encoded: dict[str, dict[str, Tensor]], perturbed: Tensor) -> Tensor:
        parts = perturbed.split([value[0].numel() for value in values.values()], dim=1)
        outputs = {}
        for (name, value), part in zip(values.items(), parts, strict=True):
            shaped = part.reshape(value.shape).to(value.dtype)
            if self._is_continuous(name):
                outputs[name] = self.model.input_features.get(name)(shaped)
            else:
                outputs[name] = {**encoded[name], ENCODER_OUTPUT: shaped}
        others = {name: self.outputs[f"{name}::{LAST_HIDDEN}"] for name in self.feature.dependencies}
        return self.feature(self.model.combine(outputs), others)[LOGITS]
