"""Losses that ``torch.compile`` fuses, where the user asks for it: few kernels instead of many operators."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ludwig_losses._switch import COMPILE
from ludwig_losses.functional._compiler import that_ends

# Compiling takes seconds, so further shapes run uncompiled. A training run has four: whole and last batches, for
# training and for evaluation.
MOST_SHAPES = 16


class Compiled:
    """Calls a loss compiled, once per shape of its batches, and uncompiled where that fails.

    torch compiles anew for every module, and gives up after a few times. Here the shapes are counted instead, for each
    loss. A copy is empty, since what is compiled cannot be pickled.
    """

    def __init__(self) -> None:
        self._function: Callable[[Tensor, Tensor], Tensor] | None = None
        self._known: set[tuple] = set()
        self._failed = False

    def __reduce__(self) -> tuple[type[Compiled], tuple]:
        return Compiled, ()

    def __call__(self, loss: nn.Module, preds: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch."""
        if self._failed or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return nn.Module.__call__(loss, preds, target)
        try:
            return self._compiled(loss, preds, target)
        except Exception as error:
            # Raises what is wrong with the batch itself, in the loss's own words.
            value = nn.Module.__call__(loss, preds, target)
            self._failed = True
            _warn(f"{type(loss).__name__} is not compiled ({_reason(error)})")
            return value

    def _compiled(self, loss: nn.Module, preds: Tensor, target: Tensor) -> Tensor:
        key = _shape(preds), _shape(target), torch.is_grad_enabled(), torch.is_autocast_enabled(preds.device.type)
        if key not in self._known:
            if len(self._known) == MOST_SHAPES:
                _warn(f"{type(loss).__name__} is compiled for {MOST_SHAPES} shapes of batches, and not for this one")
                return nn.Module.__call__(loss, preds, target)
            self._try(loss, preds, target)
            self._known.add(key)
        assert self._function is not None
        return self._function(preds, target)

    def _try(self, loss: nn.Module, preds: Tensor, target: Tensor) -> None:
        """Compile both directions for a new shape: a backward pass that cannot be compiled would end a training run."""
        if self._function is None:
            self._function = torch.compile(loss.forward, fullgraph=True, dynamic=False)
        leaf = preds.detach().requires_grad_(preds.requires_grad)
        with _without_limit(), that_ends():
            value = self._function(leaf, target)
            if value.requires_grad and leaf.requires_grad:
                torch.autograd.grad(value, leaf)


def _shape(x: Tensor) -> tuple:
    """Return what torch compiles anew for."""
    return x.shape, x.stride(), x.dtype, x.device, x.requires_grad


def _without_limit() -> Any:
    """Return a context in which torch compiles a function as often as it is asked to."""
    from torch._dynamo import config

    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    return config.patch({limit: 2**16, f"accumulated_{limit}": 2**20})


def _reason(error: Exception) -> str:
    """Return the first line of an error's message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


_told: set[str] = set()


def _warn(message: str) -> None:
    """Warn once in a process, also where several features have the same loss."""
    if message not in _told:
        _told.add(message)
        warnings.warn(
            f"ludwig-losses: {message}; it goes on uncompiled. Without {COMPILE} this warning disappears.",
            RuntimeWarning,
            stacklevel=2,
        )
