"""The shards of the data for several workers of Ray.

Ray's own shards differ in length, and Ray needs a processor to make them while the workers occupy all of them.
"""

from __future__ import annotations

from typing import Any

import ray.train
from ray.data import DataIterator, Dataset

# What Ludwig calls the data to train on.
TRAINING = "train"


def shards(datasets: dict[str, Dataset], workers: int) -> ray.train.DataConfig:
    """Return consecutive parts of each data set, which is read here, before the workers start.

    Parts to train on are equally long, so that workers take the same number of steps; to that end, some of the first
    rows occur twice, fewer than there are workers. Each row of the other data sets goes to one worker.
    """
    parts = {name: share_out(data, workers, equal=name == TRAINING) for name, data in datasets.items()}

    # Defined in here it travels by value, and the process that Ray sends it to need not import Ludwig.
    class Shards(ray.train.DataConfig):
        def configure(
            self, datasets: dict[str, Dataset], world_size: int, *args: Any, **kwargs: Any
        ) -> list[dict[str, DataIterator]]:
            return [{name: part[rank].iterator() for name, part in parts.items()} for rank in range(world_size)]

    return Shards()


def share_out(data: Dataset, workers: int, *, equal: bool) -> list[Dataset]:
    """Return consecutive parts of a data set; if there are fewer rows than workers, every worker gets all rows.

    Args:
        equal: repeat some rows to make the parts equally long, instead of one row longer or shorter than the others.
    """
    data = data.materialize()
    rows = data.count()
    if rows < workers:
        return [data] * workers
    if equal and rows % workers:
        data = data.union(data.limit(-rows % workers)).materialize()
        rows += -rows % workers
    return data.split_at_indices([rows * rank // workers for rank in range(1, workers)])
