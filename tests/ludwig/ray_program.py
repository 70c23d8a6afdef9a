"""Run by test_distributed.py with a Ray of its own: trainings on two workers and alone, or a search with two trials.

The first argument says which, the second one is the folder with what the test has written and will read.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
import torch
import yaml
from ludwig.callbacks import Callback
from ray.cluster_utils import Cluster

MEMORY = 200 * 2**20
WORKERS = {"type": "ray", "trainer": {"num_workers": 2, "use_gpu": False}}


class Witness(Callback):
    """Keeps what each worker has after its last step, before the best weights are loaded; may kill one before."""

    def __init__(self, folder: pathlib.Path, *, kills: bool = False) -> None:
        self.folder, self.kills = folder, kills

    def on_trainer_train_setup(self, trainer: Any, *args: Any) -> None:
        trainer.train_step = self.watch(trainer.train_step, trainer.distributed)

    def watch(self, train_step: Callable, strategy: Any) -> Callable:
        self.steps = 0

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.steps += 1
            if self.kills and self.steps == 3 and strategy.rank() == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return train_step(*args, **kwargs)

        return watched

    def on_trainer_train_teardown(self, trainer: Any, progress_tracker: Any, *args: Any) -> None:
        strategy, weights = trainer.distributed, trainer.dist_model.state_dict()
        seen = {
            "parameters": {name.removeprefix("module."): value.clone() for name, value in weights.items()},
            "metrics": {
                name: [entry[-1] for entry in entries]
                for name, entries in progress_tracker.validation_metrics[trainer.validation_field].items()
            },
            "steps": self.steps,
            "directory": os.getcwd(),
        }
        torch.save(seen, self.folder / f"rank{strategy.rank()}of{strategy.size()}.pt")


def train(folder: pathlib.Path, what: str, backend: Any, **options: Any) -> str:
    """Train what the test has written down, and return where the model is."""
    from ludwig.api import LudwigModel

    print(f"{time.monotonic():.0f}: {what}, {backend}", flush=True)
    config = yaml.safe_load((folder / f"{what}.yaml").read_text())
    if backend == "local":  # One process takes the batch of two workers.
        config["trainer"]["batch_size"] *= 2
    model = LudwigModel(config, backend=backend, callbacks=[Witness(folder / what, **options)], logging_level=30)
    trained = model.train(dataset=str(folder / f"{what}.csv"), output_directory=str(folder / what / "results"))
    return os.path.join(trained.output_directory, "model")


def evaluate(folder: pathlib.Path, what: str, model: str, backend: Any) -> None:
    """Evaluate a trained model, and predict with it; write down both."""
    from ludwig.api import LudwigModel

    where = "local" if backend == "local" else "ray"
    print(f"{time.monotonic():.0f}: evaluate {what}, {where}", flush=True)
    loaded = LudwigModel.load(model, backend=backend, logging_level=30)
    metrics, predicted, _ = loaded.evaluate(
        str(folder / f"{what}.csv"), collect_predictions=True, skip_save_eval_stats=True, skip_save_predictions=True
    )
    predicted = predicted if backend == "local" else predicted.compute()
    probabilities = [[*map(float, row)] for row in predicted["c_probabilities"]]
    seen = {"metrics": {name: float(metrics["c"][name]) for name in ("accuracy", "roc_auc")}, "rows": probabilities}
    (folder / f"{where}.json").write_text(json.dumps(seen))


def refusal(folder: pathlib.Path, what: str, trainer: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Train in vain, and return with which error and after how long."""
    start = time.monotonic()
    try:
        train(folder, what, {**WORKERS, "trainer": {**WORKERS["trainer"], **trainer}}, **options)
    except Exception as error:
        return {"message": f"{type(error).__name__}: {error}", "seconds": time.monotonic() - start}
    raise AssertionError(f"{trainer} trained")


@contextlib.contextmanager
def two_nodes(folder: pathlib.Path) -> Iterator[None]:
    """Run a cluster of two nodes with one processor each, which a worker occupies, and a directory of their own."""
    cluster = Cluster()
    try:
        for name in ("first", "second"):
            (folder / name).mkdir()
            with contextlib.chdir(folder / name):
                cluster.add_node(num_cpus=1, object_store_memory=MEMORY, include_dashboard=False)
        cluster.connect()
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def shares() -> dict[str, list[list[int]]]:
    """Return what two workers get of some numbers."""
    from ludwig_losses.host.ranks.ray_shards import share_out

    return {
        f"{rows} rows, equal: {equal}": [
            [row["id"] for row in part.take_all()]
            for part in share_out(ray.data.range(rows, override_num_blocks=1), 2, equal=equal)
        ]
        for rows, equal in ((7, True), (7, False), (1, True))
    }


def workers(folder: pathlib.Path) -> None:
    """Train on two nodes, and train in vain there; train alone for comparison."""
    with two_nodes(folder):
        (folder / "shares.json").write_text(json.dumps(shares()))
        model = train(folder, "rows", {**WORKERS, "trainer": {**WORKERS["trainer"], "strategy": "ddp"}})
        evaluate(folder, "rows", model, WORKERS)
        train(folder, "images", WORKERS)
        refused = {
            "many": refusal(folder, "uneven", {"num_workers": 9}),
            "large": refusal(folder, "uneven", {"resources_per_worker": {"CPU": 2}}),
            "strategy": refusal(folder, "uneven", {"strategy": {"type": "fsdp"}}),
            "consecutive": refusal(folder, "consecutive", {}),
            "killed": refusal(folder, "uneven", {}, kills=True),
        }
        (folder / "refused.json").write_text(json.dumps(refused))
    evaluate(folder, "rows", model, "local")
    train(folder, "rows", "local")
    train(folder, "images", "local")


def search(folder: pathlib.Path) -> None:
    """Run `ludwig hyperopt`."""
    import ludwig.hyperopt_cli

    files = ["--config", str(folder / "config.yaml"), "--dataset", str(folder / "data.csv")]
    output = ["--output_directory", str(folder / "results"), "--hyperopt_log_verbosity", "1"]
    ray.init(address="local", num_cpus=4, object_store_memory=MEMORY, include_dashboard=False)
    ludwig.hyperopt_cli.cli([*files, *output, "--backend", "local"])
    ray.shutdown()


if __name__ == "__main__":
    {"workers": workers, "search": search}[sys.argv[1]](pathlib.Path(sys.argv[2]))
