"""Keeping rows 2i and 2i + 1 of the data together, from the file to the batch, for losses that compare them.

Without this, Ludwig's random split, its row-wise shuffling and (0.11) the shuffle of cached data leave a batch with
next to no pair.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import pandas as pd
from ludwig.constants import SPLIT
from ludwig.data.sampler import DistributedSampler

from ludwig_losses.host.registry import load_config

logger = logging.getLogger(__name__)

# Whether the data being preprocessed, or being batched, consists of pairs.
_in_pairs: ContextVar[bool] = ContextVar("ludwig_losses_in_pairs", default=False)
# Whether it comes in separate files for training, validation and test, each with its own pairs.
_presplit: ContextVar[bool] = ContextVar("ludwig_losses_presplit", default=False)


def keeps_pairs(features: Any) -> bool:
    """Whether one of some feature dictionaries has a loss that compares consecutive rows."""
    losses = (feature.get("loss") for feature in features)
    return any((config := load_config(loss)) is not None and config.keeps_pairs for loss in losses if loss)


@contextlib.contextmanager
def _setting(variable: ContextVar[bool], value: bool) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _config_dict(config: Any) -> dict[str, Any]:
    return config if isinstance(config, dict) else config.to_dict()


def calculate_checksum(calculate: Callable, original_dataset, config: dict[str, Any]) -> str:
    """Give data split by pairs a checksum of its own; a loss is otherwise no part of the key of the cache."""
    checksum = calculate(original_dataset, config)
    return f"{checksum}-pairs" if keeps_pairs(config.get("output_features", [])) else checksum


def preprocess_for_training(preprocess: Callable, config, dataset=None, training_set=None, **kwargs):
    """Preprocess with :func:`build_dataset`, :func:`split_dataset` and :func:`load_hdf5` knowing about pairs."""
    pairs = keeps_pairs(_config_dict(config)["output_features"])
    with _setting(_in_pairs, pairs), _setting(_presplit, dataset is None):
        return preprocess(config, dataset=dataset, training_set=training_set, **kwargs)


def preprocess_for_prediction(preprocess: Callable, config, *args, **kwargs):
    """Preprocess data for evaluation with the same functions knowing about pairs."""
    with _setting(_in_pairs, keeps_pairs(_config_dict(config)["output_features"])):
        return preprocess(config, *args, **kwargs)


def load_hdf5(load: Callable, *args, **kwargs):
    """Load cached data in its order: Ludwig 0.11 shuffles the rows of training data here, once and for all."""
    if _in_pairs.get():
        kwargs["shuffle_training"] = False
    return load(*args, **kwargs)


def build_dataset(build: Callable, config, dataset_df, *args, **kwargs):
    """Build the dataset; where Ludwig drops a row for a missing value, drop its partner too."""
    dataset, metadata = build(config, dataset_df, *args, **kwargs)
    if not _in_pairs.get() or len(dataset) == len(dataset_df):
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


def split_dataset(split: Callable, df, preprocessing_parameters: dict[str, Any], *args, **kwargs):
    """Split pairs instead of rows: the splitter sees the first row of each pair, and the second one follows.

    Raises:
        ValueError: a split column separates the rows of a pair.
    """
    if not _in_pairs.get() or _presplit.get():
        return split(df, preprocessing_parameters, *args, **kwargs)
    column = preprocessing_parameters.get(SPLIT, {}).get("column", SPLIT)
    if preprocessing_parameters.get(SPLIT, {}).get("type") == "fixed":
        _check_split_column(df[column].to_numpy(), column)
    firsts = df.iloc[::2].set_axis(range(0, len(df), 2))
    parts = split(firsts, preprocessing_parameters, *args, **kwargs)
    return [part if part is None else _with_seconds(df, part) for part in parts]


def _with_seconds(df: pd.DataFrame, firsts: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of both halves of some pairs, in the order and with the columns of the split."""
    positions = np.sort(firsts.index.to_numpy())
    positions = np.stack([positions, positions + 1], axis=1).ravel()
    return df.iloc[positions[positions < len(df)]][list(firsts.columns)]


def _check_split_column(values: np.ndarray, column: str) -> None:
    paired = values[: len(values) // 2 * 2].reshape(-1, 2)
    torn = np.flatnonzero(paired[:, 0] != paired[:, 1])
    if len(torn):
        first = 2 * torn[0]
        raise ValueError(
            f"Rows {first + 1} and {first + 2} of the data are a pair, but the split column '{column}' puts them into "
            f"the splits {values[first]} and {values[first + 1]} ({len(torn)} pairs are torn). Give both rows of each "
            "pair the same split, or pair rows by equal targets with loss.pairing: target."
        )


def sampler(original: type[DistributedSampler], dataset_size: int, **kwargs) -> DistributedSampler:
    """Return the sampler for the data being batched."""
    return (PairSampler if _in_pairs.get() else original)(dataset_size, **kwargs)


class PairSampler(DistributedSampler):
    """Yields row indices in pairs 2i, 2i + 1; shuffles and distributes pairs; a last single row comes last."""

    def __init__(self, dataset_size: int, **kwargs) -> None:
        super().__init__(dataset_size, **kwargs)
        pairs = -(-(dataset_size // 2) // self.num_replicas)
        # Replicas must take the same number of steps, so a single row has no place among several of them.
        self.num_samples = dataset_size if self.num_replicas == 1 else 2 * pairs
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        pairs = np.arange(self.dataset_size // 2)
        if self.shuffle:
            pairs = np.random.RandomState(self.random_seed + self.epoch).permutation(pairs)
        missing = -len(pairs) % self.num_replicas
        mine = np.concatenate([pairs, pairs[:missing]])[self.rank :: self.num_replicas]
        rows = np.stack([2 * mine, 2 * mine + 1], axis=1).ravel().tolist()
        if self.num_replicas == 1 and self.dataset_size % 2:
            rows.append(self.dataset_size - 1)
        return iter(rows)


@contextlib.contextmanager
def initialize_batcher(initialize: Callable, dataset, batch_size: int = 128, **kwargs):
    """Batch whole pairs.

    Raises:
        ValueError: the batch size is odd.
    """
    if not keeps_pairs(dataset.features.values()):
        with initialize(dataset, batch_size=batch_size, **kwargs) as batcher:
            yield batcher
        return
    _check_even(batch_size)
    with _setting(_in_pairs, True):
        context = initialize(dataset, batch_size=batch_size, **kwargs)
        batcher = context.__enter__()
    set_epoch = batcher.set_epoch

    def set_even_epoch(epoch: int, batch_size: int) -> None:
        _check_even(batch_size)
        set_epoch(epoch, batch_size)

    batcher.set_epoch = set_even_epoch
    with contextlib.ExitStack() as stack:
        stack.push(context)
        yield batcher


def _check_even(batch_size: int) -> None:
    if batch_size % 2:
        raise ValueError(
            f"Consecutive pairs of rows need an even batch size; got {batch_size}. Choose another one (trainer."
            "batch_size, or --batch_size on the command line), or pair rows by equal targets with loss.pairing: target."
        )
