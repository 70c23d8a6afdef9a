"""One run: train a configuration through Ludwig, predict the held-out rows, measure."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ludwig.api import LudwigModel
from ludwig.callbacks import Callback

from ludwig_losses.comparison import trained
from ludwig_losses.comparison.calibration import calibrated
from ludwig_losses.comparison.memory import Peak
from ludwig_losses.comparison.outcome import LOGITS, Outcome, measure
from ludwig_losses.comparison.plan import (
    MODEL,
    VALIDATION,
    Run,
    column_names,
    fingerprint_of,
    load,
    output_index,
    with_loss,
)
from ludwig_losses.comparison.resampling import ROWS, identities
from ludwig_losses.host.data.rows import rows_of
from ludwig_losses.host.model.held_out import batches, describe_output, describe_roles
from ludwig_losses.host.model.temperature import temperature
from ludwig_losses.parameters import Feature

_CLASSIFIED = ("binary", "category")


class Trainings:
    """Trains runs, and prepares the data anew only where a run needs other data than the one before."""

    def __init__(self) -> None:
        self.preparation: str | None = None
        self.data: Any = None
        self.trained_on = ""
        self.measured_on: dict[str, np.ndarray] = {}
        self.untrained: dict[str, LudwigModel] = {}

    def train(self, run: Run, folder: pathlib.Path, *, keep_model: bool) -> tuple[Outcome, dict[str, Any]]:
        """Return what the model says, and what else there is to know of its training.

        Raises:
            ValueError: the split has no rows to measure on.
        """
        data = self.prepare(run, folder)
        held_out, choosing = _rows(data, run.split, "measure on"), _validation_rows(run, data)
        model, details = self._loaded(run, data, folder) if run.baseline else self._fitted(run, data, folder)
        described = describe_output(model, run.feature, data[3])
        outcome = self._measure(run, model, held_out, described)
        on_validation = {} if choosing is None else self._validation(run, model, choosing, described, outcome)
        if keep_model:
            model.save(str(folder / MODEL))
        outcome.metrics |= details.pop("costs")
        if run.split not in self.measured_on:
            self.measured_on[run.split] = identities(held_out.dataset)
        outcome.arrays[ROWS] = self.measured_on[run.split]
        outcome.arrays.pop(LOGITS, None)
        details["rows"] = {"training": len(data[0]), "held_out": outcome.rows}
        details["trained_on"] = self.trained_on
        details["roles"] = describe_roles(model, run.feature, described)
        return outcome, {**details, **on_validation}

    def _fitted(self, run: Run, data: Any, folder: pathlib.Path) -> tuple[LudwigModel, dict[str, Any]]:
        """Return a trained model, and what there is to know of its training."""
        model = self._model(run.config, folder)
        watch = Stopwatch()
        model.callbacks.append(watch)
        with Peak() as peak:
            statistics = model.train(
                training_set=_reordered(data[0], run) if run.reordered else data[0],
                validation_set=data[1],
                # Evaluated once, after training; Ludwig would evaluate it after each epoch.
                test_set=data[2] if _needs_test_rows(run.config) else None,
                training_set_metadata=copy.deepcopy(data[3]),
                output_directory=str(folder / "training"),
                random_seed=run.seed,
                skip_save_progress=True,
                skip_save_log=True,
                skip_save_processed_input=True,
            ).train_stats
        shutil.rmtree(folder / "training")
        costs = {"seconds_per_epoch": float(np.median(watch.epochs))} if watch.epochs else {}
        details: dict[str, Any] = {"epochs": len(watch.epochs), "seconds": sum(watch.epochs)}
        details["costs"] = {**costs, "peak_memory_mb": peak.megabytes}
        details["limits"] = {name: getattr(model.config_obj.trainer, name, None) for name in ("epochs", "early_stop")}
        return model, {**details, "curves": _curves(statistics, run.feature)}

    def _loaded(self, run: Run, data: Any, folder: pathlib.Path) -> tuple[LudwigModel, dict[str, Any]]:
        """Return a model that was there before, and what there is to know of its training."""
        model, details = trained.load(run, data, self._model(with_loss_of_baseline(run), folder).config)
        return model, {**details, "costs": {}}

    def prepare(self, run: Run, folder: pathlib.Path) -> Any:
        """Return the data of a run as Ludwig prepares it: training, validation and test rows, and the metadata.

        Raises:
            ValueError: a column is missing, or the data is not what it was when the comparison began.
        """
        if run.preparation != self.preparation:
            self.preparation = self.data = None
            self.measured_on = {}
            dataset = load(run.dataset)
            _check(dataset, run)
            self.data = self._preprocessed(run, dataset, folder)
            _check(dataset, run)  # Ludwig has read the file by now.
            rows = np.sort(identities(self.data[0].dataset))
            self.trained_on = hashlib.sha256(rows.tobytes()).hexdigest()
            self.preparation = run.preparation
        return self.data

    def _preprocessed(self, run: Run, dataset: Any, folder: pathlib.Path) -> Any:
        try:
            return self._model(run.preprocessing, folder).preprocess(
                dataset=dataset,
                random_seed=run.seed,
                skip_save_processed_input=True,
                output_directory=str(folder),
            )
        except (KeyError, RuntimeError) as error:
            # Older Ludwigs raise a RuntimeError from whatever is wrong with the data.
            missing = error if isinstance(error, KeyError) else error.__cause__
            if isinstance(missing, KeyError) and missing.args[0] in column_names(run.preprocessing):
                raise ValueError(f"the data has no column {missing.args[0]!r}.") from error
            raise

    def _model(self, config: dict[str, Any], folder: pathlib.Path) -> LudwigModel:
        """Return the model of a configuration, which Ludwig takes seconds to check, before any training."""
        key = json.dumps(config, sort_keys=True, default=str)
        if key not in self.untrained:
            # Ludwig locks the folder of its cache with a file: by default that of the data, which may be read-only. In
            # the common temporary folder the file would be that of the first user of the machine.
            backend = {"type": "local", "cache_dir": str(folder.parent)}
            self.untrained[key] = LudwigModel(copy.deepcopy(config), logging_level=logging.INFO, backend=backend)
        return copy.deepcopy(self.untrained[key])

    def _validation(
        self, run: Run, model: LudwigModel, rows: Any, described: Feature, outcome: Outcome
    ) -> dict[str, Any]:
        """Measure the validation rows, and keep their predictions beside those of the held-out rows."""
        found = self._measure(run, model, rows, described)
        details: dict[str, Any] = {"validation": found.metrics, "validation_truth": found.truth}
        if LOGITS in found.arrays:
            details["calibration"] = calibrated(outcome.arrays, found.arrays, temperature)
            del found.arrays[LOGITS]
        outcome.arrays |= {f"{VALIDATION}{name}": array for name, array in found.arrays.items()}
        return details

    def _measure(self, run: Run, model: LudwigModel, held_out: Any, described: Feature) -> Outcome:
        feature = next(feature for feature in run.preprocessing["output_features"] if feature["name"] == run.feature)
        return measure(feature["type"], batches(model, held_out, run.feature), described, run.pairs)


def with_loss_of_baseline(run: Run) -> dict[str, Any]:
    """Return the configuration of the comparison with the loss of a baseline: some defaults, as the metric that chooses
    the best epoch, follow from the loss."""
    (loss,) = (feature["loss"] for feature in run.config["output_features"] if feature["name"] == run.feature)
    return with_loss(run.preprocessing, output_index(run.preprocessing, run.feature), loss)


class Stopwatch(Callback):
    """Takes the time of each epoch, with the evaluation at its end."""

    def __init__(self) -> None:
        self.epochs: list[float] = []

    def on_epoch_start(self, trainer: Any, progress_tracker: Any, save_path: str) -> None:
        self.begin = time.perf_counter()

    def on_epoch_end(self, trainer: Any, progress_tracker: Any, save_path: str) -> None:
        self.epochs.append(time.perf_counter() - self.begin)


def _rows(data: Any, split: str, purpose: str) -> Any:
    found = data[{"validation": 1, "test": 2}[split]]
    if found is None or not len(found):
        raise ValueError(f"the split leaves no {split} rows to {purpose}.")
    return found


def _validation_rows(run: Run, data: Any) -> Any:
    """Return the validation rows to choose on: settings, and the threshold and the calibration of classes where there
    are such rows and they are not the ones to measure on."""
    if run.validated:
        return _rows(data, "validation", "choose settings on")
    feature = next(feature for feature in run.config["output_features"] if feature["name"] == run.feature)
    wanted = feature["type"] in _CLASSIFIED and run.split == "test"
    return data[1] if wanted and data[1] is not None and len(data[1]) else None


def _needs_test_rows(config: Mapping[str, Any]) -> bool:
    """Whether training itself depends on metrics of the test rows."""
    trainer = config.get("trainer") or {}
    schedule = trainer.get("learning_rate_scheduler") or {}
    return "test" in (trainer.get("increase_batch_size_eval_split"), schedule.get("reduce_eval_split"))


def _check(dataset: Any, run: Run) -> None:
    if fingerprint_of(dataset) != run.data:
        raise ValueError(f"{run.dataset} was changed during the comparison. Call it again for the data as it is now.")


def _reordered(dataset: Any, run: Run) -> Any:
    """Return the rows of a data set in another order, partners still together."""
    together = 2 if run.pairs else 1
    order = np.random.default_rng(run.seed).permutation(len(dataset) // together)
    rows = (order[:, None] * together + np.arange(together)).ravel()
    return rows_of(dataset, rows)


def _curves(statistics: Any, feature: str) -> dict[str, dict[str, list[float]]]:
    """Return the metrics of the training and of the validation rows after each evaluation."""
    splits = {"training": statistics.training, "validation": statistics.validation}
    return {
        split: {name: [float(value) for value in values] for name, values in of_split[feature].items()}
        for split, of_split in splits.items()
        if of_split and feature in of_split
    }
