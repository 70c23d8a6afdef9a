"""Keeping rows 2i and 2i + 1 of the data together, from the file to the batch, for losses that compare them.

Without this, Ludwig's random split, its row-wise shuffling and (0.11) the shuffle of cached data leave almost no
pair in one batch.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import pandas as pd
from ludwig.constants import SPLIT
from ludwig.data.sampler import DistributedSampler
from ludwig.utils.data_utils import load_yaml

from ludwig_losses.declare.schema import BaseLossConfig
from ludwig_losses.host.data import samplers as sharding
from ludwig_losses.host.registry import declaration_of, load_config

logger = logging.getLogger(__name__)

# The loss that compares rows of the data being preprocessed or batched, if there is one.
_paired: ContextVar[BaseLossConfig | None] = ContextVar("ludwig_losses_paired", default=None)
# Whether the data comes in separate files for training, validation and test, each with its own pairs.
_presplit: ContextVar[bool] = ContextVar("ludwig_losses_presplit", default=False)


def paired_loss(features: Any) -> BaseLossConfig | None:
    """Return the loss among some feature dictionaries that compares consecutive rows, or ``None``."""
    losses = (load_config(loss) for feature in features if isinstance(loss := feature.get("loss"), dict))
    return next((loss for loss in losses if loss is not None and loss.keeps_pairs), None)


@contextlib.contextmanager
def _setting(variable: ContextVar, value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _config_dict(config: Any) -> dict[str, Any]:
    return config if isinstance(config, dict) else config.to_dict()


def add_pairs_to_checksum(calculate: Callable, original_dataset: Any, config: dict[str, Any]) -> str:
    """Give data split by pairs a checksum of its own; the loss is no part of the key of Ludwig's cache."""
    checksum = calculate(original_dataset, config)
    return checksum if paired_loss(config.get("output_features", [])) is None else f"{checksum}-pairs"


def preprocess_pairs(
    preprocess: Callable, config: Any, dataset: Any = None, training_set: Any = None, **kwargs: Any
) -> Any:
    """Preprocess with :func:`drop_whole_pairs`, :func:`split_pairs` and :func:`load_in_order` knowing about pairs.

    Raises:
        ValueError: the backend splits and shuffles rows of its own accord.
    """
    loss = paired_loss(_config_dict(config)["output_features"])
    if loss is not None and getattr(getattr(kwargs.get("backend"), "df_engine", None), "partitioned", False):
        raise ValueError(
            f"{loss.type} with consecutive pairs needs backend: local; this one always shuffles rows. Use that, or "
            f"{loss.instead_of_pairs}."
        )
    with _setting(_paired, loss), _setting(_presplit, dataset is None):
        return preprocess(config, dataset=dataset, training_set=training_set, **kwargs)


def preprocess_pairs_for_evaluation(preprocess: Callable, config: Any, *args: Any, **kwargs: Any) -> Any:
    """Preprocess data for evaluation with the same functions knowing about pairs."""
    with _setting(_paired, paired_loss(_config_dict(config)["output_features"])), _setting(_presplit, False):
        return preprocess(config, *args, **kwargs)


def load_in_order(load: Callable, *args: Any, **kwargs: Any) -> Any:
    """Load cached data in its order: Ludwig 0.11 shuffles the rows of training data here, once."""
    if _paired.get() is not None:
        kwargs["shuffle_training"] = False
    return load(*args, **kwargs)


def drop_whole_pairs(
    build: Callable, config: Any, dataset_df: pd.DataFrame, features: Any, *args: Any, **kwargs: Any
) -> Any:
    """Build the dataset; where Ludwig drops a row for a missing value, drop its partner too if there is a loss to take.

    Raises:
        ValueError: rows were dropped from data whose index does not tell which.
    """
    dataset, metadata = build(config, dataset_df, features, *args, **kwargs)
    if _paired.get() is None or paired_loss(features) is None or len(dataset) == len(dataset_df):
        return dataset, metadata
    if not dataset_df.index.is_unique:
        raise ValueError(
            "Rows with missing values were dropped from data with a repeated index, so it cannot be told which pairs "
            "they belonged to. Reset the index of the data, or fill in the missing values."
        )
    pair = pd.Series(_pair_numbers(dataset_df), index=dataset_df.index)
    size_before, size_now = pair.value_counts(), pair[dataset.index].value_counts()
    torn = size_now.index[size_now < size_before[size_now.index]]
    if len(torn):
        logger.warning(f"Dropped {len(torn)} rows whose partner in a pair was dropped for a missing value.")
    return dataset[~pair[dataset.index].isin(torn).to_numpy()], metadata


def _pair_numbers(df: pd.DataFrame) -> np.ndarray:
    """Number the pairs of consecutive rows: of all data, or of each file where there are several."""
    if not _presplit.get():
        return np.arange(len(df)) // 2
    split = df[SPLIT]
    position = df.groupby(split).cumcount()
    return (split.astype(int) * len(df) + position // 2).to_numpy()


def split_pairs(
    split: Callable, df: pd.DataFrame, global_preprocessing_parameters: dict[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """Split pairs instead of rows: the splitter sees the first row of each pair, and the second one follows.

    Raises:
        ValueError: a split column separates the rows of a pair.
    """
    loss = _paired.get()
    if loss is None or _presplit.get():
        return split(df, global_preprocessing_parameters, *args, **kwargs)
    section = global_preprocessing_parameters.get(SPLIT, {})
    column = section.get("column", SPLIT)
    if section.get("type") == "fixed":
        _check_split_column(df[column].to_numpy(), column, loss)
    firsts = df.iloc[::2].set_axis(range((len(df) + 1) // 2))
    parts = split(firsts, global_preprocessing_parameters, *args, **kwargs)
    return [
        part if part is None else df.iloc[_rows_of(part.index.to_numpy(), len(df))][list(part.columns)]
        for part in parts
    ]


def _check_split_column(values: np.ndarray, column: str, loss: BaseLossConfig) -> None:
    paired = values[: len(values) // 2 * 2].reshape(-1, 2)
    torn = np.flatnonzero(paired[:, 0] != paired[:, 1])
    if len(torn):
        first = 2 * torn[0]
        raise ValueError(
            f"Rows {first + 1} and {first + 2} of the data are a pair, but the split column '{column}' puts them into "
            f"the splits {values[first]} and {values[first + 1]} ({len(torn)} pairs are torn). Give both rows of each "
            f"pair the same split, or {loss.instead_of_pairs}."
        )


def fold_pairs(generate: Callable, data_df: pd.DataFrame, *args: Any, **kwargs: Any) -> Any:
    """Fold pairs instead of rows."""
    if _paired.get() is None:
        return generate(data_df, *args, **kwargs)
    folds = generate(data_df.iloc[::2], *args, **kwargs)
    return ((_rows_of(train, len(data_df)), _rows_of(test, len(data_df)), number) for train, test, number in folds)


def cross_validate_pairs(validate: Callable, num_folds: int, config: Any, *args: Any, **kwargs: Any) -> Any:
    """Cross-validate with :func:`fold_pairs` knowing about pairs."""
    loaded = load_yaml(config) if isinstance(config, str) else config
    with _setting(_paired, paired_loss(loaded["output_features"])):
        return validate(num_folds, config, *args, **kwargs)


def _rows_of(pairs: np.ndarray, rows: int) -> np.ndarray:
    """Return the row numbers of some pairs, in order."""
    both = np.stack([2 * np.sort(pairs), 2 * np.sort(pairs) + 1], axis=1).ravel()
    return both[both < rows]


def refuse_torn_pairs(original: Callable, trainer: Any, training_set: Any, *args: Any, **kwargs: Any) -> Any:
    """Train on data that was preprocessed for pairs, if the loss of the model compares rows.

    Raises:
        ValueError: the data was preprocessed for another loss, so its pairs are separated.
    """
    losses = [feature.loss for feature in trainer.model.output_features.values()]
    compares = [loss for loss in losses if declaration_of(type(loss)) is not None and loss.keeps_pairs]
    if compares and paired_loss(training_set.features.values()) is None:
        raise ValueError(
            f"The data was preprocessed for another loss, which tears apart the pairs of rows that "
            f"{compares[0].type} compares. Preprocess it with this configuration, or {compares[0].instead_of_pairs}."
        )
    return original(trainer, training_set, *args, **kwargs)


def pair_sampler(original: type[DistributedSampler], dataset_size: int, **kwargs: Any) -> DistributedSampler:
    """Return the sampler for the data being batched."""
    if _paired.get() is None:
        return sharding.sampler(original, 1, dataset_size, **kwargs)
    return sharding.sampler(PairSampler, 2, dataset_size, **kwargs)


class PairSampler(DistributedSampler):
    """Yields row indices in pairs 2i, 2i + 1; shuffles and distributes pairs; a last single row comes last."""

    def __init__(self, dataset_size: int, **kwargs: Any) -> None:
        super().__init__(dataset_size, **kwargs)
        pairs = -(-(dataset_size // 2) // self.num_replicas)
        # Replicas must take the same number of steps, so several of them drop a last single row.
        self.num_samples = dataset_size if self.num_replicas == 1 else 2 * pairs
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        pairs = np.arange(self.dataset_size // 2)
        if self.shuffle:
            pairs = np.random.RandomState(self.random_seed + self.epoch).permutation(pairs)
        # Some pairs are repeated, so that all replicas take the same number of steps.
        mine = np.resize(pairs, self.num_samples // 2 * self.num_replicas)[self.rank :: self.num_replicas]
        rows = np.stack([2 * mine, 2 * mine + 1], axis=1).ravel().tolist()
        if self.num_replicas == 1 and self.dataset_size % 2:
            rows.append(self.dataset_size - 1)
        return iter(rows)


@contextlib.contextmanager
def batch_pairs(initialize: Callable, dataset: Any, batch_size: int = 128, **kwargs: Any) -> Iterator[Any]:
    """Batch whole pairs. One row at a time, which Ludwig's search for a fast batch size may choose, becomes one pair.

    Raises:
        ValueError: the batch size is odd, and not 1.
    """
    loss = paired_loss(dataset.features.values())
    if loss is not None and batch_size == 1:
        batch_size = 2
    if loss is not None and batch_size % 2:
        raise ValueError(
            f"{loss.type} with consecutive pairs needs an even batch size; got {batch_size}. Choose another one "
            f"(trainer.batch_size, or --batch_size on the command line), or {loss.instead_of_pairs}."
        )
    with contextlib.ExitStack() as stack:
        with _setting(_paired, loss):
            batcher = stack.enter_context(initialize(dataset, batch_size=batch_size, **kwargs))
        if loss is not None:
            batcher.set_epoch = functools.partial(_set_even_epoch, batcher.set_epoch)
        yield batcher


def _set_even_epoch(set_epoch: Callable, epoch: int, batch_size: int) -> None:
    """Begin an epoch; a batch size that Ludwig has increased to an odd one on a plateau is one smaller."""
    set_epoch(epoch, max(batch_size - batch_size % 2, 2))
