"""Which runs a comparison is made of: a configuration with each loss, for each seed."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import operator
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from ludwig_losses.metrics.catalogue import METRICS, metric
from ludwig_losses.parameters import shown

if TYPE_CHECKING:
    import pandas as pd

Loss = dict[str, Any]

# Numbers of other versions are not compared with each other.
PACKAGES = ("ludwig", "ludwig-losses", "torch")
SPLITS = ("test", "validation")
# Of trainings and evaluations whose configuration says nothing.
BATCH_SIZE = 128
RESULT, PREDICTIONS, FAILURE, LOG, MODEL = "result.json", "predictions.npz", "failure.json", "log.txt", "model"
# Begins the names of the arrays that are kept of the validation rows.
VALIDATION = "validation_"
_NOT_IN_KEY = ("loss", "preprocessing", "dataset", "baseline")
# A table from Python is kept in such a file for the processes that train.
FRAME = "data-{}.pkl"
_IS_FRAME = re.compile(r"data-[0-9a-f]{64}\.pkl")
# As NumPy's generators take them.
MOST_SEED = 2**32 - 1


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
        reordered: whether it trains on its rows in another order than the other runs of its seed.
        validated: whether the validation rows are measured, too, to choose among settings.
        baseline: the results folder of a model that is there already and is only evaluated.
        weights: what identifies that model.
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
    reordered: bool = False
    validated: bool = False
    baseline: str | None = None
    weights: str | None = None
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})

    @property
    def key(self) -> str:
        """Identifies the run by its configuration, data and seed; not by paths, nor by the losses beside it."""
        parts = {name: value for name, value in asdict(self).items() if name not in _NOT_IN_KEY}
        if not self.validated:  # As in the keys of comparisons in which nothing is chosen.
            del parts["validated"]
        if self.weights is None:  # As in the keys of what is trained.
            del parts["weights"]
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
    noise: bool = False,
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
        noise: whether to train with the first loss a second time, on its rows in another order.
    """
    configs = {name: with_loss(config, index, loss) for name, loss in losses.items()}
    preparing = configs[pairing_loss or preparing_loss or next(iter(losses))]
    feature = config["output_features"][index]["name"]
    trained = [(name, of_loss, False) for name, of_loss in configs.items()]
    if noise:
        first, of_loss, _ = trained[0]
        trained.append((f"{first}, rows in another order", of_loss, True))
    return [
        Run(name, of_loss, preparing, pairing_loss is not None, feature, dataset, data, seed, split, reordered)
        for seed in seeds
        for name, of_loss, reordered in trained
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


def features_of(config: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the input or output features of a configuration.

    Raises:
        ValueError: it has none.
    """
    features = config.get(key)
    if not isinstance(features, list) or not features or not all(isinstance(part, Mapping) for part in features):
        raise ValueError(f"config: {key}: got {features!r}, expected a list of features.")
    return features


def output_index(config: dict[str, Any], name: str | None) -> int:
    """Return the index of the output feature to compare losses of.

    Raises:
        ValueError: there is none with this name, there are several and no name, or the configuration has none.
    """
    names = [feature.get("name") for feature in features_of(config, "output_features")]
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
        ValueError: one is none of these, two have the same name, or there is none.
    """
    is_one = isinstance(losses, Mapping) and isinstance(losses.get("type"), str)
    if is_one or isinstance(losses, str) or not isinstance(losses, Iterable):
        raise ValueError(f"--loss: got {losses!r}, expected a list of losses: [{losses!r}].")
    if isinstance(losses, Mapping):
        losses = [{name: loss} for name, loss in losses.items()]
    named: dict[str, Loss] = {}
    for written in losses:
        name, loss = _named(written)
        if name in named:
            raise ValueError(f"--loss: {name} stands twice. Give one of them a name: '{{other name: {{type: ...}}}}'.")
        named[name] = loss
    if not named:
        raise ValueError("--loss: got no loss, expected at least one; None takes all that fit the feature.")
    return named


def _named(written: Any) -> tuple[str, Loss]:
    loss = parsed("--loss", written)
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


def parsed(option: str, written: Any) -> Any:
    """Return what a user has written for an option, as YAML if it is text.

    Raises:
        ValueError: the text is not YAML.
    """
    if not isinstance(written, str):
        return written
    try:
        return yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise ValueError(f"{option}: {written!r} is not YAML: {' '.join(str(error).split())}.") from None


def label(loss: Mapping[str, Any]) -> str:
    """Return a section as tables call it: ``poly_loss epsilon=2.0``."""
    parts = [f"{key}={json.dumps(value)}" for key, value in loss.items() if key != "type"]
    return " ".join([str(loss["type"]), *parts])


def column_names(config: Mapping[str, Any]) -> list[str]:
    """Return the columns of the data that a configuration names for its features."""
    features = [*(config.get("input_features") or ()), *config["output_features"]]
    return [str(feature.get("column") or feature.get("name")) for feature in features]


def check_columns(config: Mapping[str, Any], columns: Iterable[Any]) -> None:
    """Raise a ValueError for the columns that the data does not have, or has several times."""
    there = [*map(str, columns)]
    twice = [name for name in column_names(config) if there.count(name) > 1]
    if twice:
        raise ValueError(f"--dataset: the column {twice[0]!r} stands there {there.count(twice[0])} times.")
    missing = [name for name in column_names(config) if name not in there]
    if missing:
        shown = ", ".join(map(repr, there[:20])) + (", ..." if len(there) > 20 else "")
        raise ValueError(f"--dataset: there is no column {', '.join(map(repr, missing))}; there are {shown}.")


def numbered_seeds(seeds: int | Iterable[int]) -> list[int]:
    """Return the seeds that a number of them, or a list, means.

    Raises:
        ValueError: there is none, one stands twice, or is none that NumPy takes.
    """
    try:
        found = [*range(_whole(seeds))] if isinstance(seeds, (int, Integral)) else [*map(_whole, seeds)]
    except TypeError:
        raise ValueError(f"--seeds: got {seeds!r}, expected a number of seeds, or a list of whole numbers.") from None
    wrong = [seed for seed in found if not 0 <= seed <= MOST_SEED]
    if wrong:
        raise ValueError(f"--seeds: got {wrong[0]}, expected numbers from 0 to {MOST_SEED}.")
    if not found or len(set(found)) < len(found):
        raise ValueError(f"--seeds: got {seeds!r}, expected a number of seeds from 1, or different seeds.")
    return found


def _whole(number: Any) -> int:
    """Return a whole number; True and False, which Python and NumPy take for 1 and 0, are none."""
    if isinstance(number, (bool, np.bool_)):
        raise TypeError
    return operator.index(number)


def checked_margins(margins: Mapping[str, float]) -> dict[str, float]:
    """Return margins as they are.

    Raises:
        ValueError: there is no such metric, a comparison does not measure it, or the margin is no positive number.
    """
    for name, margin in margins.items():
        try:
            is_compared = metric(name).is_compared
        except KeyError:
            near = difflib.get_close_matches(name, METRICS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"--margin: there is no metric {name!r}.{hint}") from None
        if not is_compared:
            raise ValueError(f"--margin: {name} is not compared: ludwig train and evaluate have it.")
        if not (isinstance(margin, (int, float)) and 0 < margin < float("inf")):
            raise ValueError(f"--margin: {name}: got {margin!r}, expected a positive number.")
    return dict(margins)


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
    # pandas takes 1 and "1" in a column of objects for equal, and leaves out the middle of long arrays.
    exact = frame.apply(lambda column: column.map(_digest_of) if column.dtype == object else column)
    digest.update(pd.util.hash_pandas_object(exact, index=True).to_numpy().tobytes())
    return digest.hexdigest()


def _digest_of(cell: Any) -> str:
    """Return what identifies a cell, which may be an array or a list of them."""
    if isinstance(cell, (list, tuple)):
        return repr([type(cell).__name__, *map(_digest_of, cell)])
    array = np.asarray(cell) if isinstance(cell, np.ndarray) else None
    if array is None or array.dtype == object:
        return f"{type(cell).__name__} {cell if array is None else [*map(_digest_of, array.ravel())]!r}"
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"


def fingerprint_of(data: str | pathlib.Path | pd.DataFrame) -> str:
    """Return what identifies data, a table or the path of a file.

    Raises:
        ValueError: it is neither.
        FileNotFoundError: there is no such file.
    """
    if not (isinstance(data, (str, pathlib.Path)) or (hasattr(data, "columns") and hasattr(data, "iloc"))):
        raise ValueError(f"--dataset: got {shown(data)}, expected the path of a file, or a table of pandas.")
    if not isinstance(data, (str, pathlib.Path)) and not len(data):
        raise ValueError("--dataset: the table has no rows.")
    return fingerprint(data) if isinstance(data, (str, pathlib.Path)) else frame_fingerprint(data)


def load(dataset: str) -> Any:
    """Return what Ludwig reads: a path, or the table that is kept there."""
    import pandas as pd

    return pd.read_pickle(dataset) if _IS_FRAME.fullmatch(pathlib.Path(dataset).name) else dataset


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_")[:60]
