"""Makes Ludwig's U-Net a sixteenth as wide: 120,000 weights instead of 31 million, which train in seconds.

Ludwig has no setting for its width. This file is a plug-in: it takes effect where its path is in
``LUDWIG_LOSSES_PLUGINS``. The configuration is the same without it, and trains for minutes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ludwig.modules.convolutional_modules import UNetDownStack, UNetUpStack
from torch import nn

NARROWEST = 64  # What has fewer channels are colours or classes.
FACTOR = 16


def then_narrow(build: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(build)
    def build_narrow(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        narrow(self)

    return build_narrow


def narrow(module: nn.Module) -> None:
    """Replace the layers in a module by narrower ones of the same kind."""
    for shape in ("_input_shape", "_output_shape"):
        if hasattr(module, shape):
            channels, *size = getattr(module, shape)
            setattr(module, shape, (width(channels), *size))
    for name, child in module.named_children():
        layer = narrower(child)
        if layer is None:
            narrow(child)
        else:
            setattr(module, name, layer)


def narrower(layer: nn.Module) -> nn.Module | None:
    if isinstance(layer, nn.BatchNorm2d):
        return nn.BatchNorm2d(width(layer.num_features))
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        channels = width(layer.in_channels), width(layer.out_channels)
        return type(layer)(*channels, layer.kernel_size, stride=layer.stride, padding=layer.padding)
    return None


def width(channels: int) -> int:
    return channels // FACTOR if channels >= NARROWEST else channels


for stack in (UNetDownStack, UNetUpStack):
    stack.__init__ = then_narrow(stack.__init__)
