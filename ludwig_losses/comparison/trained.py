"""A model that was trained before the comparison: whether it may be compared, and what is known of its training."""

from __future__ import annotations

import logging
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ludwig.api import LudwigModel

from ludwig_losses.comparison.baseline import differing_sections, model_path, statistics
from ludwig_losses.comparison.plan import Run
from ludwig_losses.host.data.counts import ROWS, ROWS_OF_CLASSES

# Of metrics that were computed in other batches.
_ROUNDING = 1e-3


def load(run: Run, data: Any, ours: Mapping[str, Any]) -> tuple[LudwigModel, dict[str, Any]]:
    """Return the model of a baseline, and what there is to know of its training.

    Args:
        run: the baseline.
        data: as it was prepared for the other runs of its seed.
        ours: the complete configuration of the comparison with the loss of the baseline.

    Raises:
        ValueError: it has seen other data or another split.
    """
    assert run.baseline is not None
    folder = pathlib.Path(run.baseline)
    model = LudwigModel.load(str(model_path(folder)), logging_level=logging.INFO, backend="local")
    _check_data(folder, model, data)
    kept = statistics(folder)
    _check_split(folder, model, kept, run.feature, {"validation": data[1], "test": data[2]})
    of_feature = {split: kept.get(split, {}).get(run.feature, {}) for split in ("training", "validation")}
    epochs = max((len(values) for values in of_feature["training"].values()), default=0)
    details = {"epochs": epochs, "seconds": 0.0, "curves": of_feature}
    return model, {**details, "differs": differing_sections(ours, run.config, run.feature)}


def _check_data(folder: pathlib.Path, model: LudwigModel, data: Any) -> None:
    """Raise a ValueError unless Ludwig has found the same in each column."""
    for feature in (*model.config_obj.input_features, *model.config_obj.output_features):
        if feature.proc_column not in data[0].dataset:
            raise ValueError(f"--baseline: {folder}: it prepares the column {feature.column!r} in another way.")
        found, kept = data[3].get(feature.name), model.training_set_metadata.get(feature.name)
        if not _same(_counted_as(kept, found), _counted_as(found, kept)):
            raise ValueError(f"--baseline: {folder}: it has seen other data in the column {feature.column!r}.")


def _counted_as(other: Any, one: Any) -> Any:
    """Return metadata of a feature, without counted rows where another preparation has none: they are counted for some
    losses only."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return one
    return {key: value for key, value in one.items() if key in other or key not in (ROWS, ROWS_OF_CLASSES)}


def _check_split(
    folder: pathlib.Path, model: LudwigModel, kept: Mapping[str, Any], feature: str, splits: Mapping[str, Any]
) -> None:
    """Raise a ValueError unless one evaluation in its training has found what the rows of this comparison give."""
    agreeing: list[set[int]] = []
    for split, rows in splits.items():
        recorded = kept.get(split, {}).get(feature, {})
        if rows is None or not len(rows) or not recorded:
            continue
        found, *_ = model.evaluate(dataset=rows, skip_save_eval_stats=True, skip_save_predictions=True)
        agreeing.append(_agreeing(recorded, found[feature]))
    if not agreeing or not set.intersection(*agreeing):
        raise ValueError(
            f"--baseline: {folder}: on the {' and '.join(splits)} rows of this comparison the model has other metrics "
            f"than in its training: data or split are not the same, so that the comparison would be unfair."
        )


def _agreeing(recorded: Mapping[str, Sequence[float]], found: Mapping[str, Any]) -> set[int]:
    """Return the evaluations with the same loss, or else the same other metrics: batches may change the mean of a loss,
    calibration after training changes other metrics."""
    numbers = {name: float(value) for name, value in found.items() if _is_number(value) and name in recorded}

    def agree(names: Sequence[str], index: int) -> bool:
        return bool(names) and all(_close(float(recorded[name][index]), numbers[name]) for name in names)

    others = [name for name in numbers if name != "loss"]
    loss = [name for name in numbers if name == "loss"]
    count = min((len(recorded[name]) for name in numbers), default=0)
    return {index for index in range(count) if agree(loss, index) or agree(others, index)}


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING / 10)


def _same(one: Any, other: Any) -> bool:
    """Whether two pieces of metadata say the same, of which one was written as JSON."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        one, other = ({str(key): value for key, value in of.items()} for of in (one, other))
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if hasattr(one, "tolist"):
        one = one.tolist()
    if hasattr(other, "tolist"):
        other = other.tolist()
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6) or (math.isnan(one) and math.isnan(other))
    return one == other or str(one) == str(other)
