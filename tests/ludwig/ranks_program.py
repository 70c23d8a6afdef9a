"""Run by test_ranks.py on each rank: losses, metrics and data under Ludwig's strategies, without a training."""

from __future__ import annotations

import json
import os
import pathlib
from types import SimpleNamespace

import ludwig.schema  # noqa: F401
import numpy as np
import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

SIZES = {2: (6, 4), 3: (5, 0, 4)}


def contrast(pairing: str, sizes: tuple[int, ...]) -> dict:
    """The loss module on this rank's shard: the loss and the averaged gradient, and the loss of an evaluation."""
    from ludwig.modules.loss_modules import create_loss
    from ludwig.schema.features.loss.loss import get_loss_cls

    config = get_loss_cls("vector", "nt_xent_loss").from_dict({"type": "nt_xent_loss", "pairing": pairing})
    rows, target = (values.split(list(sizes))[dist.get_rank()] for values in batch(sum(sizes)))
    model = encoder()
    parallel = DistributedDataParallel(model)  # averages the gradients for as long as it lives
    loss = create_loss(config)(parallel(rows), target)
    loss.backward()
    with torch.no_grad():
        evaluated = create_loss(config)(model(rows), target)
    return {"loss": float(loss), "gradient": model.weight.grad.tolist(), "evaluated": float(evaluated)}


def batch(count: int):
    generator = torch.Generator().manual_seed(count)
    target = torch.randint(3, (count, 1), generator=generator) * torch.tensor([[0.5, 0.0]])
    return torch.randn(count, 6, generator=generator), target


def encoder() -> torch.nn.Linear:
    model = torch.nn.Linear(6, 4, bias=False)
    model.weight.data = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    return model


def open_set_metrics() -> dict:
    """The metrics of a loss, updated with one shard on each rank."""
    from ludwig.modules.loss_modules import create_loss
    from ludwig.schema.features.loss.loss import get_loss_cls

    from ludwig_losses.metrics.reported.open_set import OpenSetMetric

    config = get_loss_cls("category", "entropic_open_set").from_dict({"type": "entropic_open_set"})
    config.background_class = [2]
    metric = OpenSetMetric(create_loss(config))
    generator = torch.Generator().manual_seed(7)
    logits, target = torch.randn(12, 3, generator=generator), torch.arange(12) % 3
    for shard in torch.arange(12).split(4)[dist.get_rank() :: dist.get_world_size()]:
        metric.update(logits[shard], target[shard])
    return {name: float(value) for name, value in metric.compute().items()}


WEIGHTED = {"type": "poly_loss", "class_weights": [0.5, 2.0, 1.0], "ignore_index": [1]}
LOSSES = {
    "weighted": WEIGHTED,
    "sum": {"type": "compound_loss", "terms": [WEIGHTED, {"type": "focal_loss", "normalize": True, "weight": 0.5}]},
}


def evaluated(name: str):
    """A loss with what it is evaluated on: in the first three rows nothing counts."""
    from ludwig.schema.features.loss.loss import get_loss_cls

    config = get_loss_cls("category", LOSSES[name]["type"]).from_dict(LOSSES[name])
    generator = torch.Generator().manual_seed(11)
    return config, torch.randn(10, 3, generator=generator), torch.tensor([1, 1, 1, 0, 0, 2, 1, 0, 2, 2])


def losses() -> dict:
    """The loss of an evaluation: batches of different sizes on two ranks, and a rank without a batch."""
    from ludwig.modules.loss_modules import create_loss

    from ludwig_losses.host.model.metrics import DeclaredLossMetric
    from ludwig_losses.metrics.reported.terms import TermsMetric

    found = {}
    for name in LOSSES:
        config, logits, target = evaluated(name)
        metrics = [DeclaredLossMetric(config), *([TermsMetric(create_loss(config))] if name == "sum" else [])]
        for index, rows in enumerate(torch.arange(10).split([3, 2, 4, 1])):
            for metric in metrics if dist.get_rank() == index % 2 else ():
                metric.update(logits[rows], target[rows])
        loss, *terms = [metric.compute() for metric in metrics]
        found[name] = [float(loss), *(float(value) for term in terms for value in term.values())]
    return found


class Data:
    """What preprocessing returns, as far as ranks compare it."""

    def __init__(self, values: list[int]) -> None:
        self.dataset = {
            "x": np.array(values),
            "path": np.array([f"{dist.get_rank()}/{value}" for value in values], object),
        }

    def __len__(self) -> int:
        return len(self.dataset["x"])


def preprocessing(folder: str) -> dict:
    """Whether ranks with equal and with different data get past preprocessing, and in which order they do it."""
    from ludwig_losses.host.ranks.agreement import preprocess_first_rank_first

    def attempt(values: list[int]) -> str | int:
        def preprocess(config):
            with open(f"{folder}/order.txt", "a") as file:
                file.write(f"{dist.get_rank()}")
            return (Data(values),)

        try:
            return len(preprocess_first_rank_first(preprocess, {})[0])
        except ValueError as error:
            return str(error)

    return {"equal": attempt([1, 2, 3]), "shuffled": attempt([1, 2, 3] if dist.get_rank() == 0 else [2, 1, 3])}


def backends() -> dict:
    """What Ludwig makes of the names of backends once the command has chosen its own."""
    from ludwig.backend import initialize_backend

    from ludwig_losses.host.ranks import torchrun

    torchrun.use_data_parallel_backend()
    found = {str(name): type(initialize_backend(name)).__name__ for name in (None, "local")}
    for name in ("ray", {"type": "ray", "trainer": {"num_workers": 2}}):
        try:
            initialize_backend(name)
        except ValueError as error:
            found[str(name)] = str(error)
    return found


class Counting(torch.nn.Linear):
    """A model with buffers of several types, which forward passes in training change."""

    def __init__(self) -> None:
        super().__init__(1, 1, bias=False)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("seen", torch.tensor(False))
        self.register_buffer("kept", torch.zeros(1), persistent=False)


def prepared(strategy) -> tuple[torch.nn.Module, Counting]:
    """A model, as Ludwig trains it on this rank and as it was before."""
    from ludwig.schema.trainer import ECDTrainerConfig

    model = Counting()
    parallel, _ = strategy.prepare(model, ECDTrainerConfig.from_dict({}), 0.1)
    return parallel, model


def buffers(strategy) -> dict[str, list]:
    """The buffers of the first rank, which differ from those of the others, as an evaluation finds them."""
    parallel, model = prepared(strategy)
    for buffer in model.buffers():
        buffer.fill_(dist.get_rank() == 0 and 7)
    evaluated = strategy.to_device(parallel)
    assert evaluated is model
    return {name: buffer.view(-1).tolist() for name, buffer in evaluated.named_buffers()}


def accumulated(strategy) -> list[float]:
    """The gradient after a step that only accumulates, and after the one that uses both."""
    parallel, model = prepared(strategy)
    found = []
    for should_step in (False, True):
        with strategy.prepare_model_update(parallel, should_step):
            parallel(torch.full((1, 1), dist.get_rank() + 1.0)).sum().backward()
        found.append(model.weight.grad.item())
    return found


def agreement(backend) -> dict:
    """What a rank records of the metrics that it has found, whether cached data is shuffled, and when it stops."""
    from ludwig_losses.host.ranks import agreement as distributed

    recorded = []
    results = {"y": {"loss": float(dist.get_rank())}}
    distributed.record_metrics_of_first_rank(
        lambda model, name, found: recorded.append(found), None, "validation", results
    )
    shuffled = distributed.load_in_equal_order(lambda shuffle_training=True: shuffle_training, shuffle_training=True)
    trainer = SimpleNamespace(distributed=backend.strategy)
    stops = distributed.stop_all_ranks(lambda trainer, model: dist.get_rank() == 0, trainer, None)
    return {"recorded": recorded, "shuffled": shuffled, "stops": stops}


def main(folder: str) -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    from ludwig.distributed import init_dist_strategy

    from ludwig_losses.host.ranks.torchrun import DataParallelBackend

    pairings, sizes = ("consecutive", "target"), SIZES[world]
    init_dist_strategy("local")
    results = {"alone": {pairing: contrast(pairing, sizes) for pairing in pairings}}
    backend = DataParallelBackend()
    backend.initialize()
    results["together"] = {pairing: contrast(pairing, sizes) for pairing in pairings}
    results["metrics"] = open_set_metrics()
    results["losses"] = losses()
    results["preprocessing"] = preprocessing(folder)
    results["returned"] = backend.broadcast_return(lambda: f"from rank {rank}")
    model = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(model.weight, float(rank + 1))
    backend.sync_model(model)
    results["synchronised"] = float(model.weight.detach())
    results["buffers"] = buffers(backend.strategy)
    results["accumulated"] = accumulated(backend.strategy)
    results["agreement"] = agreement(backend)
    results["backends"] = backends()
    pathlib.Path(folder, f"rank{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()
