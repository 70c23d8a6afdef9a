"""Embeddings trained by contrast: what they are measured by, and the memory of past ones."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.distributed import init_dist_strategy
from ludwig.modules.loss_modules import create_loss
from ludwig.modules.metric_modules import get_improved_fn
from ludwig.schema.features.loss.loss import get_loss_cls

import matrix
import oracles
from ludwig_losses.metrics.reported.contrastive import ContrastiveMetric


@pytest.fixture(autouse=True)
def strategy():
    """Ludwig's metrics ask for one when they compute."""
    init_dist_strategy("local")


def config(**options):
    return get_loss_cls("vector", "nt_xent_loss").from_dict({"type": "nt_xent_loss", **options})


def batch(rows: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings, more alike in pairs, and as their targets one of three vectors."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(3, (rows,), generator=generator)
    centres = torch.randn(rows, 4, generator=generator).repeat_interleave(2, dim=0)[:rows]
    return centres + torch.randn(rows, 4, generator=generator), torch.eye(3)[kinds]


def measured(batches, **options) -> dict[str, float]:
    metric = ContrastiveMetric(create_loss(config(**options)))
    for preds, target in batches:
        metric.update(preds, target)
    return {name: value.item() for name, value in metric.compute().items()}


def by_definition(batches, is_pair) -> dict[str, float]:
    """The three metrics by a loop over the rows of each batch."""
    distances, potentials, hits = [], [], []
    for preds, target in batches:
        unit = [row / row.norm() for row in preds.double()]
        pairs = {
            (i, j): (unit[i] - unit[j]).square().sum().item() for i, j in itertools.permutations(range(len(unit)), 2)
        }
        distances += [distance for (i, j), distance in pairs.items() if is_pair(i, j, target)]
        potentials += [np.exp(-2 * distance) for distance in pairs.values()]
        for i in range(len(unit)):
            others = {j: pairs[i, j] for j in range(len(unit)) if j != i}
            if any(is_pair(i, j, target) for j in others):
                hits.append(is_pair(i, min(others, key=others.get), target))
    return {
        "alignment": np.mean(distances),
        "uniformity": np.log(np.mean(potentials)),
        "pair_accuracy": np.mean(hits),
    }


@pytest.mark.parametrize("chunk", [1, 30, 2**22])
@pytest.mark.parametrize("pairing", ["consecutive", "target"])
def test_metrics_are_those_of_their_definition(pairing, chunk, monkeypatch):
    monkeypatch.setattr("ludwig_losses.metrics.functional.contrastive._CHUNK", chunk)
    batches = [batch(40), batch(7, seed=1), batch(1, seed=2), batch(0)]
    rules = {"consecutive": lambda i, j, _: i // 2 == j // 2, "target": lambda i, j, y: bool((y[i] == y[j]).all())}
    expected = by_definition(batches, rules[pairing])
    assert measured(batches, pairing=pairing) == pytest.approx(expected, rel=1e-5)
    assert 0 < expected["pair_accuracy"] < 1


def test_perfect_and_collapsed_embeddings():
    axes = torch.cat([torch.eye(4), -torch.eye(4)]).repeat_interleave(2, dim=0)
    perfect = measured([(axes, axes)])
    assert perfect["alignment"] == 0 and perfect["pair_accuracy"] == 1
    collapsed = measured([(torch.ones(16, 4), axes)])
    assert collapsed["alignment"] == pytest.approx(0, abs=1e-6) and collapsed["uniformity"] == pytest.approx(
        0, abs=1e-6
    )
    assert collapsed["pair_accuracy"] < 0.2 and perfect["uniformity"] < -2


def test_what_there_are_no_pairs_for_is_left_out():
    assert measured([]) == {}
    assert measured([batch(1)]) == {}
    apart = (torch.randn(3, 4), torch.eye(3))
    assert measured([apart], pairing="target").keys() == {"uniformity"}


def test_which_way_is_better():
    assert get_improved_fn("alignment")(0.1, 0.2) and get_improved_fn("uniformity")(-3, -2)
    assert get_improved_fn("pair_accuracy")(0.9, 0.8)


@pytest.mark.parametrize("pairing", ["consecutive", "target"])
def test_the_memory_holds_the_last_rows_of_training_batches(pairing):
    loss = create_loss(config(memory_bank=20, pairing=pairing, temperature=0.5))
    past, past_targets = torch.zeros(0, 4), torch.zeros(0, 3)
    for seed in range(4):
        preds, target = batch(12, seed)
        labels = (target @ torch.arange(3.0), past_targets @ torch.arange(3.0)) if pairing == "target" else (None, None)
        expected = oracles.nt_xent_loss(
            preds.double(), labels[0], temperature=0.5, memory=past, memory_labels=labels[1]
        )
        assert loss(preds.requires_grad_(), target).item() == pytest.approx(expected.item(), rel=1e-5)
        past = torch.cat([past, preds.detach()])[-20:]
        past_targets = torch.cat([past_targets, target])[-20:]
    assert len(loss.memory.embeddings) == 20 and not loss.memory.embeddings.requires_grad
    torch.testing.assert_close(loss.memory.embeddings, past / past.norm(dim=1, keepdim=True))
    assert loss.state_dict() == {}


def test_evaluation_neither_reads_nor_writes_the_memory():
    loss, plain = create_loss(config(memory_bank=20)), create_loss(config())
    preds, target = batch()
    loss(preds.clone().requires_grad_(), target)
    before = loss.memory.embeddings
    assert loss(preds, target) == plain(preds, target)
    loss.eval()
    assert loss(preds.clone().requires_grad_(), target) == plain(preds, target)
    assert loss.memory.embeddings is before


def test_a_batch_that_overflowed_is_not_remembered():
    loss = create_loss(config(memory_bank=20))
    preds, target = batch()
    broken = preds.clone()
    broken[3] = torch.inf
    loss(broken.requires_grad_(), target)
    assert (loss.memory.embeddings[3] == 0).all() and loss.memory.embeddings.isfinite().all()
    assert loss(preds.requires_grad_(), target).isfinite()


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0.5}, {"pairing": "consecutive"}, {"average": "anchors"}, {"memory_bank": 5}, {"weight": 2.0}],
    ids=str,
)
def test_every_option_changes_the_loss(options):
    def value(**changed):
        chosen = config(**{"pairing": "target", **changed})
        loss = create_loss(chosen)
        for seed in range(2):
            preds, target = batch(seed=seed)
            last = loss(preds.requires_grad_(), target).item()
        return chosen.weight * last

    assert value() != pytest.approx(value(**options), rel=1e-3)
    assert value() == pytest.approx(value(chunk_size=2), rel=1e-6)  # costs memory only


OPTIONS = [
    {"pairing": "target", "average": "anchors", "memory_bank": 50, "chunk_size": 8},
    {"memory_bank": 50, "temperature": 0.2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["target", "consecutive"])
def test_training_reports_the_metrics_and_may_choose_the_model_by_them(options, tmp_path):
    made, path = matrix.write("vector", {"type": "nt_xent_loss", **options}, tmp_path)
    made["trainer"]["validation_metric"] = "pair_accuracy"
    data = pd.read_csv(path)
    if options.get("pairing"):
        data["y"] = np.repeat(data["y"][::8].to_numpy(), 8)
    model = LudwigModel(made, logging_level=logging.ERROR)
    result = model.train(data, output_directory=str(tmp_path), skip_save_processed_input=True)
    for split in (result.train_stats.training["y"], result.train_stats.validation["y"]):
        assert np.isfinite([split[name] for name in ContrastiveMetric.NAMES]).all()
    assert result.train_stats.training["y"]["loss"][-1] < result.train_stats.training["y"]["loss"][0]
    loss = model.model.output_features.get("y").train_loss_function
    assert len(loss.memory.embeddings) == 50
    before = loss.memory.embeddings
    evaluated = model.evaluate(data)[0]["y"]
    assert evaluated.keys() >= {*ContrastiveMetric.NAMES}, evaluated
    assert 0 <= evaluated["pair_accuracy"] <= 1 and evaluated["uniformity"] < 0 < evaluated["alignment"]
    assert loss.memory.embeddings is before


def test_a_metric_without_pairs_in_the_data_cannot_choose_the_model(tmp_path):
    made, path = matrix.write("vector", {"type": "nt_xent_loss", "pairing": "target"}, tmp_path)
    made["trainer"]["validation_metric"] = "alignment"
    model = LudwigModel(made, logging_level=logging.ERROR)
    with pytest.raises(ValueError, match=r"alignment is not available: .* needs rows with the same target"):
        model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)


TERMS = [{"type": "nt_xent_loss", "temperature": "learned", "pairing": "consecutive"}, {"type": "mean_squared_error"}]


@pytest.mark.parametrize("loss", [TERMS[0], {"type": "compound_loss", "terms": TERMS}], ids=["alone", "term"])
def test_a_learned_temperature_is_trained_saved_resumed_and_reloaded(loss, tmp_path):
    made, path = matrix.write("vector", loss, tmp_path)
    model = LudwigModel(made, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    temperature = temperature_of(model)
    assert temperature != pytest.approx(0.07, rel=0.01)
    assert trained_names(model) == {"output_features.module_dict.y__ludwig.train_loss_function" + suffix(loss)}
    evaluated = model.evaluate(str(path))[0]["y"]["loss"]
    reloaded = LudwigModel.load(result.output_directory + "/model", logging_level=logging.ERROR)
    assert temperature_of(reloaded) == temperature
    assert reloaded.evaluate(str(path))[0]["y"]["loss"] == pytest.approx(evaluated, rel=1e-5)
    fixed = create_loss(config(temperature=temperature))
    preds, target = batch()
    metric = model.model.output_features.get("y").eval_loss_metric.loss_function
    assert first_term(metric)(preds, target).item() == pytest.approx(fixed(preds, target).item(), rel=1e-5)
    made["trainer"]["epochs"] = 3
    resumed = LudwigModel(made, logging_level=logging.ERROR)
    resumed.train(str(path), model_resume_path=result.output_directory, skip_save_processed_input=True)
    assert temperature_of(resumed) != temperature and 0.01 < temperature_of(resumed) < 1
    assert abs(np.log(temperature_of(resumed) / temperature)) < abs(np.log(temperature / 0.07))


def first_term(loss):
    return loss.terms[0] if hasattr(loss, "terms") else loss


def suffix(loss) -> str:
    return (".terms.0" if "terms" in loss else "") + ".learned.position"


def temperature_of(model: LudwigModel) -> float:
    return first_term(model.model.output_features.get("y").train_loss_function).temperature.item()


def trained_names(model: LudwigModel) -> set[str]:
    """The parameters of losses and metrics: each once."""
    return {name for name in model.model.state_dict() if "learned" in name}


@pytest.mark.parametrize("position", [-1e4, 0.0, 1e4])
def test_a_learned_temperature_stays_in_range(position: float):
    loss = create_loss(config(temperature="learned"))
    assert loss.temperature.item() == pytest.approx(0.07)
    with torch.no_grad():
        loss.learned.position.fill_(position)
    preds, target = batch()
    value = loss(preds.requires_grad_(), target)
    value.backward()
    assert 0.0099 < loss.temperature.item() < 1.0001
    assert value.isfinite() and preds.grad.isfinite().all() and loss.learned.position.grad.isfinite()
