"""Data-parallel steps on 2 and 3 ranks against one process with the whole batch."""

from __future__ import annotations

import pathlib

import pytest
import torch
from torch import Tensor

from functional import gather_program as program
from ludwig_losses.functional import nt_xent_loss
from ludwig_losses.functional.nt_xent import consecutive_pairs
from ranks import on_ranks

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request, tmp_path_factory) -> list[dict]:
    """What each rank has computed."""
    folder = tmp_path_factory.mktemp("ranks")
    on_ranks(request.param, pathlib.Path(program.__file__), folder)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(request.param)]


def whole(sizes: tuple[int, ...], dtype: torch.dtype, pairing: str) -> list[Tensor]:
    """One process with the whole batch; single rows of a shard have no partner."""
    model = program.encoder(dtype)
    rows, labels = program.batch(sizes, dtype)
    if pairing == "consecutive":
        labels = torch.cat([1000 * rank + consecutive_pairs(size) for rank, size in enumerate(sizes)])
    return program.result(nt_xent_loss(model(rows), labels, temperature=0.3), model)


def difference(got: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("pairing", ["consecutive", "target"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_loss_and_gradients_are_those_of_the_whole_batch(ranks, pairing, dtype):
    for sizes in program.SHARDS[len(ranks)]:
        expected = whole(sizes, dtype, pairing)
        assert expected[0] > 0.01 and expected[1].abs().max() > 1e-3
        for rank in ranks:
            assert difference(rank[sizes, dtype, pairing, True], expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("pairing", ["consecutive", "target"])
def test_a_gather_without_gradient_would_give_a_fraction_of_them(ranks, pairing):
    for sizes in program.SHARDS[len(ranks)]:
        loss, *gradients = whole(sizes, torch.float64, pairing)
        fraction = [loss, *(gradient / len(ranks) for gradient in gradients)]
        for rank in ranks:
            assert difference(rank[sizes, torch.float64, pairing, False], fraction) < 1e-12


def test_shards_of_even_size_are_the_pairs_of_the_whole_batch(ranks):
    for sizes in program.SHARDS[len(ranks)]:
        if all(size % 2 == 0 for size in sizes):
            loss = nt_xent_loss(program.encoder(torch.float64)(program.batch(sizes, torch.float64)[0]), temperature=0.3)
            assert abs(loss - ranks[0][sizes, torch.float64, "consecutive", True][0]) < 1e-12


def on_images(name: str, parts: int) -> list[list[Tensor]]:
    """The results of one process for each of some equal parts of the images."""
    results = []
    pictures, masks = program.images(parts * 2)
    for part in torch.arange(len(masks)).chunk(parts):
        model = program.encoder(torch.float64, width=3)
        results.append(
            program.result(program.own_loss(name, program.pixelwise(model, pictures[part]), masks[part]), model)
        )
    return results


@pytest.mark.parametrize("name", program.OWN_LOSSES)
def test_what_is_not_gathered_is_the_average_over_the_ranks(ranks, name):
    parts = on_images(name, len(ranks))
    gradients = [torch.stack(gradient).mean(0) for gradient in zip(*(part[1:] for part in parts), strict=True)]
    for rank, part in zip(ranks, parts, strict=True):
        assert difference(rank[name], [part[0], *gradients]) < 1e-12


@pytest.mark.parametrize(
    ("name", "is_global"), [("focal", True), ("dice", True), ("lovasz", False), ("weighted", False)]
)
def test_means_over_equal_shards_are_global_and_batch_level_losses_are_not(ranks, name, is_global):
    pictures, masks = program.images(2 * len(ranks))
    model = program.encoder(torch.float64, width=3)
    expected = program.result(program.own_loss(name, program.pixelwise(model, pictures), masks), model)
    error = difference(ranks[0][name][1:], expected[1:])
    assert error < 1e-12 if is_global else error > 1e-4
