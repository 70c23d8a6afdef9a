"""Which runs a comparison is made of: a configuration with each loss, for each seed."""

from __future__ import annotations

import copy
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import pandas as pd

Loss = dict[str, Any]

# Numbers of other versions are not compared with each other.
PACKAGES = ("ludwig", "ludwig-losses", "torch")
SPLITS = ("test", "validation")
# Of trainings and evaluations whose configuration says nothing.
BATCH_SIZE = 128
RESULT, PREDICTIONS, FAILURE, LOG, MODEL = "result.json", "predictions.npz", "failure.json", "log.txt", "model"
_NOT_IN_KEY = ("loss", "preprocessing", "dataset")
# A table from Python is kept here for the processes that train.
FRAME = "data.pkl"


@dataclass(frozen=True, eq=False)
class Run:
    """One training: everything that its numbers depend on.

    Args:
        loss: how the loss is called in tables.
        config: the configuration with this loss.
        preprocessing: the configuration to prepare the data with, the same for all losses, so that all of them have the
            same rows in each split.
        pairs: whether it keeps rows 2i and 2i + 1 together, and they are partners.
        feature: the output feature.
        dataset: path of the data.
        data: fingerprint of the data.
        seed: for split, shuffling and initial weights.
        split: the held-out rows to measure on, one of :data:`SPLITS`.
        versions: of Ludwig and of this package.
    """

    loss: str
    config: dict[str, Any]
    preprocessing: dict[str, Any]
    pairs: bool
    feature: str
    dataset: str
    data: str
    seed: int
    split: str
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})

    @property
    def key(self) -> str:
        """Identifies the run by its configuration, data and seed; not by paths, nor by the losses beside it."""
        parts = {name: value for name, value in asdict(self).items() if name not in _NOT_IN_KEY}
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The name of the folder of its results."""
        return f"{_slug(self.loss)}-seed{self.seed}-{self.key}"

    @property
    def preparation(self) -> str:
        """Identifies the prepared data, which runs with other losses share."""
        parts = [self.preprocessing, self.data, self.seed]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def plan(
    config: dict[str, Any],
    losses: Mapping[str, Loss],
    seeds: Sequence[int],
    *,
    index: int,
    dataset: str,
    data: str,
    split: str = "test",
    pairing_loss: str | None = None,
    preparing_loss: str | None = None,
) -> list[Run]:
    """Return the runs, all losses of a seed after each other: what is there after an interrupt can be compared.

    Args:
        config: the user's configuration.
        losses: sections by the names they have in tables.
        seeds: one run of each loss for each.
        index: of the output feature.
        dataset: path of the data.
        data: fingerprint of the data.
        split: the rows to measure on.
        pairing_loss: the name of a loss that keeps pairs of rows together, if there is one.
        preparing_loss: the name of the loss to prepare the data for, if it matters.
    """
    configs = {name: with_loss(config, index, loss) for name, loss in losses.items()}
    preparing = configs[pairing_loss or preparing_loss or next(iter(losses))]
    feature = config["output_features"][index]["name"]
    return [
        Run(name, of_loss, preparing, pairing_loss is not None, feature, dataset, data, seed, split)
        for seed in seeds
        for name, of_loss in configs.items()
    ]


def with_loss(config: dict[str, Any], index: int, loss: Loss) -> dict[str, Any]:
    """Return a copy of a configuration in which an output feature has another loss."""
    config = copy.deepcopy(config)
    config["output_features"][index]["loss"] = copy.deepcopy(loss)
    return config


def with_batch_sizes(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration that names its batch sizes.

    Ludwig measures which size is the fastest where none is named, so that a busy machine would change the results.
    """
    trainer = dict(config.get("trainer") or {})
    for key, default in (("batch_size", BATCH_SIZE), ("eval_batch_size", trainer.get("batch_size"))):
        if trainer.get(key) in (None, "auto"):
            trainer[key] = BATCH_SIZE if default in (None, "auto") else default
    return {**config, "trainer": trainer}


def output_index(config: dict[str, Any], name: str | None) -> int:
    """Return the index of the output feature to compare losses of.

    Raises:
        ValueError: there is none with this name, or there are several and no name.
    """
    names = [feature.get("name") for feature in config["output_features"]]
    if name is None and len(names) == 1:
        return 0
    if name not in names:
        problem = "there are several" if name is None else f"got {name!r}"
        raise ValueError(f"--output_feature: {problem}, expected one of {', '.join(map(repr, names))}.")
    return names.index(name)


def named_losses(losses: Iterable[Any] | Mapping[str, Any]) -> dict[str, Loss]:
    """Return loss sections by their names in tables.

    Each is the name of a loss, a section (``{type: poly_loss, epsilon: 2.0}``), or a section with a name of its own
    (``{my poly: {type: poly_loss, epsilon: 2.0}}``); text is read as YAML.

    Raises:
        ValueError: one is none of these, or two have the same name.
    """
    if isinstance(losses, Mapping):
        losses = [{name: loss} for name, loss in losses.items()]
    named: dict[str, Loss] = {}
    for written in losses:
        name, loss = _named(written)
        if name in named:
            raise ValueError(f"--loss: {name} stands twice. Give one of them a name: '{{other name: {{type: ...}}}}'.")
        named[name] = loss
    return named


def _named(written: Any) -> tuple[str, Loss]:
    loss = _parsed(written)
    if isinstance(loss, str):
        return loss, {"type": loss}
    if isinstance(loss, Mapping) and isinstance(loss.get("type"), str):
        return label(loss), dict(loss)
    if isinstance(loss, Mapping) and len(loss) == 1:
        ((name, section),) = loss.items()
        section = {"type": section} if isinstance(section, str) else section
        if isinstance(section, Mapping) and isinstance(section.get("type"), str):
            return str(name), dict(section)
    raise ValueError(
        f"--loss: got {written!r}, expected the name of a loss, a section like '{{type: poly_loss, epsilon: 2.0}}', "
        "or a section with a name like '{my poly: {type: poly_loss, epsilon: 2.0}}'."
    )


def _parsed(written: Any) -> Any:
    if not isinstance(written, str):
        return written
    try:
        return yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise ValueError(f"--loss: {written!r} is not YAML: {' '.join(str(error).split())}.") from None


def label(loss: Mapping[str, Any]) -> str:
    """Return a section as tables call it: ``poly_loss epsilon=2.0``."""
    parts = [f"{key}={json.dumps(value)}" for key, value in loss.items() if key != "type"]
    return " ".join([str(loss["type"]), *parts])


def numbered_seeds(seeds: int | Iterable[int]) -> list[int]:
    """Return the seeds that a number of them, or a list, means.

    Raises:
        ValueError: there is none, or one stands twice.
    """
    found = [*range(seeds)] if isinstance(seeds, int) else [*map(int, seeds)]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"--seeds: got {seeds!r}, expected a number of seeds from 1, or different seeds.")
    return found


def fingerprint(path: str | pathlib.Path) -> str:
    """Return what identifies the content of a file of data.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"--dataset: {path}: there is no such file.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def frame_fingerprint(frame: pd.DataFrame) -> str:
    """Return what identifies the content of a table."""
    import pandas as pd

    digest = hashlib.sha256(repr([*frame.columns, *frame.dtypes.astype(str)]).encode())
    try:
        digest.update(pd.util.hash_pandas_object(frame, index=True).to_numpy().tobytes())
    except TypeError:  # Cells may be arrays or lists.
        digest.update(pd.util.hash_pandas_object(frame.map(repr), index=True).to_numpy().tobytes())
    return digest.hexdigest()


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_")[:60]
