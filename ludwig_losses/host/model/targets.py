"""A look at the targets of a model before it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


def before_training(look: Callable[[Any, Mapping[str, Any]], None]) -> Callable[..., Any]:
    """Return a wrapper of Ludwig's ``Trainer.train`` that first hands the trainer, and its data sets by split, to a
    function."""

    def train(
        original: Callable,
        trainer: Any,
        training_set: Any,
        validation_set: Any = None,
        test_set: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        look(trainer, {"training": training_set, "validation": validation_set, "test": test_set})
        return original(trainer, training_set, validation_set, test_set, *args, **kwargs)

    train.__name__, train.__doc__ = look.__name__, look.__doc__
    return train


def targets_by_split(sets: Mapping[str, Any], feature: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each split with its targets of an output feature; none under Ray, whose workers see batches only."""
    for split, data in sets.items():
        rows = getattr(data, "dataset", None)
        if isinstance(rows, dict):
            yield split, np.asarray(rows[feature.proc_column])
