"""One model under Ray: the workers of Ludwig's Ray backend train together; by itself, each would train its own model.

Ray connects the workers before Ludwig's function starts on each, but Ludwig uses its strategy "local". Here several
workers use the strategy of torchrun, with shards of the data that suit it. A single worker is unchanged.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import ludwig.distributed
import ray
import ray.train

from ludwig_losses.host.ranks.ray_shards import shards
from ludwig_losses.host.ranks.strategy import DataParallelStrategy

LOCAL = "local"
# Allowed values of backend.trainer.strategy, which Ludwig documents and never reads: all mean the same here.
STRATEGIES = (None, "ddp", {"type": "ddp"})


class WorkerStrategy(DataParallelStrategy):
    """Equal models on all workers, each of which returns what it has trained, as Ludwig's worker expects."""

    def return_first(self, fn: Callable) -> Callable:
        return fn


def preprocess_if_there_is_room(preprocess: Callable, config: Any, *args: Any, **kwargs: Any) -> Any:
    """Preprocess, if the cluster has room for the workers, which only start when this is done."""
    backend: Any = kwargs.get("backend")
    if getattr(backend, "BACKEND_TYPE", None) == "ray":
        check_workers(backend._distributed_kwargs)
    return preprocess(config, *args, **kwargs)


def run_train_remote(
    run: Callable, train_loop: Callable, trainer_kwargs: dict[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """Start the workers that train or evaluate a model, if there is room for them."""
    check_workers(trainer_kwargs)
    return run(train_loop, trainer_kwargs, *args, **kwargs)


def check_workers(trainer_kwargs: dict[str, Any]) -> None:
    """Check what was written for several workers in ``backend.trainer``.

    Raises:
        ValueError: the workers do not fit on the cluster, so that Ray would wait forever, or ``strategy`` is one that
            no Ludwig has here.
    """
    from ludwig.backend.ray import get_trainer_kwargs

    resolved = get_trainer_kwargs(**trainer_kwargs)
    workers, strategy = resolved["num_workers"], resolved.get("strategy")
    if workers == 1:
        return
    if strategy not in STRATEGIES:
        raise ValueError(
            f"backend.trainer.strategy: got {strategy!r}, with which Ludwig cannot train under Ray. Write ddp, "
            f"or remove it: {workers} workers then train one model, of which each holds all weights."
        )
    each = dict(resolved["resources_per_worker"])
    if resolved["use_gpu"]:
        each.setdefault("GPU", 1)
    check_room(workers, each, [node["Resources"] for node in ray.nodes() if node["Alive"]])


def check_room(workers: int, each: dict[str, float], nodes: list[dict[str, float]]) -> None:
    """Raise ``ValueError`` if the nodes of a cluster cannot run so many workers at a time."""
    room = sum(
        min((node.get(kind, 0) // amount for kind, amount in each.items() if amount), default=math.inf)
        for node in nodes
    )
    if room >= workers:
        return
    needs = " and ".join(f"{amount:g} {kind}" for kind, amount in each.items() if amount)
    has = " and ".join(
        f"{sum(node.get(kind, 0) for node in nodes):g} {kind}" for kind, amount in each.items() if amount
    )
    remedy = f"num_workers: {room:g}" if room else "less into backend.trainer.resources_per_worker"
    raise ValueError(
        f"backend.trainer.num_workers: got {workers}, but the Ray cluster has room for {room:g} workers with {needs} "
        f"each ({has} on {len(nodes)} machines). Write {remedy}, or start Ray with more (ray start --num-cpus, "
        f"ray.init(num_cpus=...), or further machines)."
    )


def create_trainer(create: Callable, *args: Any, scaling_config: Any, datasets: Any = None, **kwargs: Any) -> Any:
    """Create Ray's trainer; several workers get shards of the data that let them train together."""
    workers = scaling_config.num_workers
    if workers > 1:
        kwargs["dataset_config"] = shards(datasets, workers)
    return create(*args, scaling_config=scaling_config, datasets=datasets, **kwargs)


def train_on_worker(train: Callable, *args: Any, executable_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """Train on a worker, together with the other ones if there are any."""
    if ray.train.get_context().get_world_size() > 1:
        executable_kwargs = {**(executable_kwargs or {}), "distributed": WorkerStrategy()}
    with _together():
        return train(*args, executable_kwargs=executable_kwargs, **kwargs)


def evaluate_on_worker(evaluate: Callable, *args: Any, **kwargs: Any) -> Any:
    """Evaluate on a worker; metrics are those of all workers."""
    with _together():
        return evaluate(*args, **kwargs)


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """Replace Ludwig's strategy "local" by that of several ranks, and its report by that of one of several ranks."""
    if ray.train.get_context().get_world_size() == 1:
        yield
        return
    report, strategies = ray.train.report, ludwig.distributed.STRATEGIES
    local = strategies[LOCAL]
    strategies[LOCAL] = lambda: WorkerStrategy
    ray.train.report = _report_of_first(report)
    try:
        yield
    finally:
        strategies[LOCAL] = local
        ray.train.report = report


def _report_of_first(report: Callable) -> Callable:
    """Return a report that hands back the first worker's model only: Ray would merge files of the same name.

    Ludwig 0.11 also reports each step of a progress bar, for which Ray makes the workers wait for each other. Those
    that have one more batch to evaluate would wait forever.
    """

    def report_of_first(metrics: dict[str, Any], checkpoint: Any = None, **kwargs: Any) -> None:
        if "progress_bar" not in metrics:
            first = ray.train.get_context().get_world_rank() == 0
            report(metrics, checkpoint=checkpoint if first else None, **kwargs)

    return report_of_first
