"""A model that ``ludwig train`` has left in its results folder, as one row of a comparison."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ludwig_losses.comparison.plan import Run

_DESCRIPTION, _STATISTICS, _MODEL, _CONFIG = (
    "description.json",
    "training_statistics.json",
    "model",
    "model_hyperparameters.json",
)
# Beside the model, and no part of it.
_OTHER_FOLDERS = ("training_checkpoints", "logs")
# Splits that are the same whatever the seed is.
_WITHOUT_SEED = ("fixed", "datetime", "hash")


@dataclass(frozen=True)
class Baseline:
    """A trained model.

    Args:
        folder: the results folder of the training.
        config: with all defaults, as it was before the training: Ludwig adds to the one beside the model.
        seed: of the training.
        weights: what identifies the model.
    """

    folder: pathlib.Path
    config: dict[str, Any]
    seed: int
    weights: str

    @classmethod
    def read(cls, path: str | pathlib.Path) -> Baseline:
        """Read what ``ludwig train`` has left.

        Raises:
            ValueError: something of it is missing.
        """
        folder = pathlib.Path(path).absolute()
        folder = folder.parent if folder.name == _MODEL else folder
        for name in (_DESCRIPTION, _STATISTICS, f"{_MODEL}/{_CONFIG}"):
            if not (folder / name).is_file():
                raise ValueError(
                    f"--baseline: {path}: there is no {name}. Expected the results folder of `ludwig train`, as "
                    f"results/experiment_run."
                )
        description = _json(folder / _DESCRIPTION)
        if not isinstance(description.get("random_seed"), int):
            raise ValueError(f"--baseline: {path}: {_DESCRIPTION} does not say its random_seed.")
        return cls(folder, description["config"], description["random_seed"], _fingerprint(folder / _MODEL))

    def run(self, runs: Sequence[Run]) -> Run:
        """Return the evaluation of the model beside the runs of the seed that has its split.

        Raises:
            ValueError: no seed has its split, or it has no such output feature.
        """
        first = runs[0]
        ours, theirs = (_feature(of, first.feature) for of in (first.config, self.config))
        if theirs is None or ours is None or theirs["type"] != ours["type"]:
            raise ValueError(
                f"--baseline: {self.folder}: the model has no output feature {first.feature!r} of this type."
            )
        seeds = [*dict.fromkeys(run.seed for run in runs)]
        by_seed = _split_type(first.config) not in _WITHOUT_SEED
        if by_seed and self.seed not in seeds:
            raise ValueError(
                f"--baseline: {self.folder}: it was trained with the seed {self.seed}, and each seed splits the rows "
                f"anew: it has learned from rows to measure on. Have that seed, too: --seeds {self.seed} "
                f"{' '.join(map(str, seeds[1:]))}".rstrip()
                + "."
            )
        seed = self.seed if self.seed in seeds else seeds[0]
        beside = next(run for run in runs if run.seed == seed)
        name = f"{self.folder.name} (as trained)"
        return replace(beside, loss=name, config=self.config, baseline=str(self.folder), weights=self.weights)


def statistics(folder: pathlib.Path) -> dict[str, Any]:
    """Return the metrics that a training has kept of each split, feature and evaluation."""
    return _json(folder / _STATISTICS)


def model_path(folder: pathlib.Path) -> pathlib.Path:
    """Return where a training has left its model."""
    return folder / _MODEL


def differing_sections(config: Mapping[str, Any], other: Mapping[str, Any], feature: str) -> list[str]:
    """Return which parts of two complete configurations differ, beside the loss of an output feature."""
    found = [
        section
        for section in ("input_features", "combiner", "output_features", "preprocessing")
        if _without_loss(config.get(section), feature) != _without_loss(other.get(section), feature)
    ]
    ours, theirs = config.get("trainer") or {}, other.get("trainer") or {}
    # How many rows are evaluated at once changes nothing.
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if key != "eval_batch_size"]
    return found + [f"trainer.{key}" for key in keys if _plain(ours.get(key)) != _plain(theirs.get(key))]


def _without_loss(section: Any, feature: str) -> Any:
    section = _plain(section)
    if not isinstance(section, list):
        return section
    return [{key: of[key] for key in of if key != "loss" or of.get("name") != feature} for of in section]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    return json.loads(json.dumps(value, default=str))


def _json(path: pathlib.Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _feature(config: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((feature for feature in config["output_features"] if feature.get("name") == name), None)


def _split_type(config: Mapping[str, Any]) -> str:
    return ((config.get("preprocessing") or {}).get("split") or {}).get("type", "random")


def _fingerprint(model: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in model.rglob("*") if path.is_file()):
        name = path.relative_to(model)
        if name.parts[0] not in _OTHER_FOLDERS:
            digest.update(str(name).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
