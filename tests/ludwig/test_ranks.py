"""Several ranks under Ludwig's strategies: what is gathered, what is not, and what all of them agree on."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from types import SimpleNamespace

import ludwig.schema  # noqa: F401
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.constants import FALLBACK_BATCH_SIZE
from ludwig.distributed import init_dist_strategy
from ludwig.error import ConfigValidationError
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.schema.trainer import ECDTrainerConfig

import commands
import declared
import ranks_program as program
from ludwig_losses import distributed
from ludwig_losses.functional import nt_xent_loss
from ludwig_losses.functional.nt_xent import consecutive_pairs
from ludwig_losses.host import patch
from ludwig_losses.host.data.samplers import EvaluationSampler
from ludwig_losses.host.model.metrics import DeclaredLossMetric
from ludwig_losses.host.ranks.agreement import ranks, stop_all_ranks
from ludwig_losses.host.ranks.torchrun import DataParallelBackend
from ludwig_losses.metrics.reported.open_set import OpenSetMetric

PAIRINGS = ["consecutive", "target"]


@pytest.fixture(scope="module", params=[2, 3])
def results(request, tmp_path_factory) -> list[dict]:
    """What each rank has found, and the order of preprocessing."""
    folder = tmp_path_factory.mktemp("ranks")
    commands.fork_ranks(request.param, program.main, str(folder), folder=folder)
    found = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(request.param)]
    return [{**result, "order": (folder / "order.txt").read_text()} for result in found]


def by_hand(pairing: str, sizes: tuple[int, ...], rank: int | None = None) -> tuple[float, torch.Tensor]:
    """Loss and gradient of one process with the whole batch, or with the shard of one rank."""
    rows, target = program.batch(sum(sizes))
    if pairing == "target":
        labels = torch.unique(target, dim=0, return_inverse=True)[1]
    else:
        labels = torch.cat([1000 * rank + consecutive_pairs(size) for rank, size in enumerate(sizes)])
    if rank is not None:
        rows, labels = rows.split(list(sizes))[rank], labels.split(list(sizes))[rank]
    model = program.encoder()
    loss = nt_xent_loss(model(rows), labels)
    loss.backward()
    return float(loss), model.weight.grad


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_a_data_parallel_strategy_compares_the_rows_of_all_ranks(results, pairing):
    loss, gradient = by_hand(pairing, program.SIZES[len(results)])
    for rank in results:
        found = rank["together"][pairing]
        assert found["loss"] == pytest.approx(loss, rel=1e-6)
        assert (torch.tensor(found["gradient"]) - gradient).abs().max() < 1e-5


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_ranks_without_such_a_strategy_are_never_mixed(results, pairing):
    sizes = program.SIZES[len(results)]
    losses = [by_hand(pairing, sizes, rank)[0] for rank in range(len(results))]
    assert [rank["alone"][pairing]["loss"] for rank in results] == pytest.approx(losses, rel=1e-6)
    assert len({*losses}) == len(losses)


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("strategy", ["alone", "together"])
def test_evaluation_waits_for_no_other_rank(results, strategy, pairing):
    sizes = program.SIZES[len(results)]
    losses = [by_hand(pairing, sizes, rank)[0] for rank in range(len(results))]
    assert [rank[strategy][pairing]["evaluated"] for rank in results] == pytest.approx(losses, rel=1e-6)


def test_metrics_are_those_of_all_ranks(results):
    init_dist_strategy("local")
    config = get_loss_cls("category", "entropic_open_set").from_dict({"type": "entropic_open_set"})
    config.background_class = [2]
    metric = OpenSetMetric(create_loss(config))
    metric.update(torch.randn(12, 3, generator=torch.Generator().manual_seed(7)), torch.arange(12) % 3)
    expected = {name: float(value) for name, value in metric.compute().items()}
    assert set(expected) == {"open_set_auroc", "oscr", "closed_set_accuracy"}
    assert [rank["metrics"] for rank in results] == [pytest.approx(expected)] * len(results)


def test_the_loss_of_an_evaluation_is_that_of_the_rows_of_all_ranks(results):
    expected = {}
    for name in program.LOSSES:
        config, logits, target = program.evaluated(name)
        loss = create_loss(config)
        terms = [float(term(logits, target)) for term in getattr(loss, "terms", ())]
        expected[name] = pytest.approx([float(loss(logits, target)), *terms], rel=1e-6)
    assert [rank["losses"] for rank in results] == [expected] * len(results)


def test_the_first_rank_preprocesses_first_and_other_data_is_refused(results):
    order = results[0]["order"]
    assert order[0] == order[len(results)] == "0" and len(order) == 2 * len(results)
    for rank in results:
        assert rank["preprocessing"]["equal"] == 3
        others = list(range(1, len(results)))
        assert f"training data of rank(s) {others} differs from that of rank 0" in rank["preprocessing"]["shuffled"]


def test_the_first_rank_decides(results):
    assert [(rank["returned"], rank["synchronised"]) for rank in results] == [("from rank 0", 1.0)] * len(results)


def test_an_evaluation_has_the_buffers_of_the_first_rank(results):
    """Centre, radius and threshold of anomaly features and the statistics of a batch norm are buffers."""
    expected = {"mean": [7.0, 7.0], "count": [7], "seen": [True], "kept": [7.0]}
    assert [rank["buffers"] for rank in results] == [expected] * len(results)


def test_gradients_are_averaged_in_the_step_that_uses_them(results):
    count = len(results)
    mean = (count + 1) / 2
    for number, rank in enumerate(results):
        assert rank["accumulated"] == pytest.approx([number + 1, 2 * mean])


def test_ranks_agree_on_what_they_decide_by(results):
    agreed = {"recorded": [{"y": {"loss": 0.0}}], "shuffled": False, "stops": True}
    assert [rank["agreement"] for rank in results] == [agreed] * len(results)


def test_batch_sizes_are_not_measured_on_several_ranks():
    """Ranks would find different sizes the fastest, and wait for each other forever."""
    backend = DataParallelBackend()
    backend.strategy = SimpleNamespace(size=lambda: 2)
    config = ECDTrainerConfig.from_dict({"batch_size": "auto", "eval_batch_size": "auto"})
    tuned = []
    trainer = SimpleNamespace(tune_batch_size=lambda *args, **kwargs: tuned.append(kwargs) or 1)
    model = SimpleNamespace(config_obj=SimpleNamespace(trainer=config), backend=backend)
    tune = getattr(LudwigModel, "_tune_batch_size", None) or LudwigModel._tune_batch_size_and_grad_accum
    tune(model, trainer, None, random_seed=1)
    assert not tuned
    assert trainer.batch_size == trainer.eval_batch_size == FALLBACK_BATCH_SIZE


def test_only_the_local_backend_works_under_torchrun(results):
    for rank in results:
        found = list(rank["backends"].values())
        assert found[:2] == ["DataParallelBackend"] * 2 and len(found) == 4
        assert all("backend: ray does not work under torchrun" in text and "Remove it" in text for text in found[2:])


@pytest.mark.parametrize("rows_together", [1, 2])
@pytest.mark.parametrize("rows", [6, 7, 23, 24])
def test_every_row_is_evaluated_once(rows, rows_together):
    replicas = [SimpleNamespace(rank=lambda rank=rank: rank, size=lambda: 3) for rank in range(3)]
    shards = [EvaluationSampler(rows, rows_together=rows_together, shuffle=False, distributed=one) for one in replicas]
    assert sorted(row for shard in shards for row in shard) == list(range(rows))
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]
    if rows_together == 2:
        assert all(row // 2 * 2 in shard for shard in map(list, shards) for row in shard)


def test_too_little_to_share_goes_to_every_rank():
    replica = SimpleNamespace(rank=lambda: 2, size=lambda: 3)
    assert list(EvaluationSampler(2, shuffle=False, distributed=replica)) == [0, 1]
    assert list(EvaluationSampler(4, rows_together=2, shuffle=False, distributed=replica)) == [0, 1, 2, 3]


def test_all_ranks_stop_where_the_first_one_does():
    told = SimpleNamespace(size=lambda: 2, broadcast_object=lambda found: True)
    alone = SimpleNamespace(size=lambda: 1, broadcast_object=lambda found: True)
    assert stop_all_ranks(lambda trainer, model: None, SimpleNamespace(distributed=told), None) is True
    assert stop_all_ranks(lambda trainer, model: False, SimpleNamespace(distributed=alone), None) is False


def test_one_process_is_one_rank():
    assert ranks() == 1


def test_the_command_says_how_it_is_started(capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    for arguments, expected in (
        ([], "got nothing. Write `torchrun --nproc-per-node 2"),
        (["evaluate"], "got 'evaluate'"),
        (["train"], "Start this with torchrun: `torchrun --nproc-per-node 2 -m ludwig_losses.distributed train"),
    ):
        assert distributed.main(arguments) == 2 and expected in capsys.readouterr().err
    with pytest.raises(RuntimeError, match=r"RANK, .*not set: start this with `torchrun"):
        DataParallelBackend().initialize()


def test_what_travels_arrives_in_a_process_that_has_imported_nothing(tmp_path):
    things = []
    for feature, name in [*declared.PAIRS, *declared.ALIAS_PAIRS]:
        config = get_loss_cls(feature, name).from_dict({"type": name})
        things += [config, create_loss(config), DeclaredLossMetric(config=config)]
    things.append(
        OpenSetMetric(
            create_loss(get_loss_cls("category", "entropic_open_set").from_dict({"type": "entropic_open_set"}))
        )
    )
    (tmp_path / "things.pickle").write_bytes(pickle.dumps(things))
    program = "import pickle; print(*(type(thing).__name__ for thing in pickle.load(open('things.pickle', 'rb'))))"
    command = [sys.executable, "-W", "error:ludwig-losses:RuntimeWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-len(things) :] == [type(thing).__name__ for thing in things]


def test_a_ray_backend_is_refused_where_the_parts_for_it_are_not_in_place(monkeypatch):
    model = LudwigModel(
        {
            "input_features": [{"name": "x", "type": "number"}],
            "output_features": [{"name": "y", "type": "binary", "loss": {"type": "focal_loss"}}],
        },
        backend="local",
    )
    monkeypatch.setattr(model, "backend", SimpleNamespace(BACKEND_TYPE="ray"))
    monkeypatch.setattr(patch, "failures", dict.fromkeys(("ranks", "Ray workers"), "Ludwig has no such function"))
    with pytest.raises(ConfigValidationError, match=r"focal_loss with backend: ray needs .*'ranks'.* is switched off"):
        model.train(dataset=pd.DataFrame())
