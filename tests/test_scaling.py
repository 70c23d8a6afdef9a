"""What docs/scaling.md says a gather costs is what it moves and keeps, with the other ranks played by this process."""

from __future__ import annotations

import importlib.util
import pathlib
import re

import pytest
import torch
from torch import distributed as dist

from ludwig_losses.functional._gather import gather_consecutive_pairs, gather_rows

CHECKOUT = pathlib.Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("scaling", CHECKOUT / "benchmarks" / "scaling.py")
scaling = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scaling)


@pytest.fixture
def echo(monkeypatch):
    """A process group in which all ranks send what this one does; it counts the bytes that this one receives."""
    counted = []

    def group(ranks: int) -> list[int]:
        def all_gather(outputs, tensor):
            for output in outputs:
                output.copy_(tensor)
            counted.append((ranks - 1) * tensor.nbytes)

        monkeypatch.setattr(dist, "get_world_size", lambda: ranks)
        monkeypatch.setattr(dist, "get_rank", lambda: ranks - 1)
        monkeypatch.setattr(dist, "all_gather", all_gather)
        return counted

    return group


@pytest.mark.parametrize("batch", scaling.BATCHES)
@pytest.mark.parametrize("ranks", scaling.RANKS)
def test_a_gather_moves_and_keeps_what_the_table_says(ranks, batch, echo):
    counted = echo(ranks)
    rows = torch.randn(batch // ranks, scaling.WIDTH, requires_grad=True)
    gathered, labels = gather_rows(rows), gather_consecutive_pairs(len(rows))
    assert sum(counted) == scaling.received(ranks, batch)
    assert gathered.nbytes == scaling.gathered(batch) and len(labels) == batch
    gathered.sum().backward()
    assert sum(counted) == scaling.received(ranks, batch)  # nothing moves on the way back
    assert torch.equal(rows.grad, torch.full_like(rows, ranks))


@pytest.mark.parametrize("name", ["gather", "similarity", "workers", "image"])
def test_the_tables_of_the_page_are_the_computed_ones(name):
    page = (CHECKOUT / "docs" / "scaling.md").read_text()
    (table,) = re.findall(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.DOTALL)
    assert table == getattr(scaling, f"{name}_table")(), "run `python benchmarks/scaling.py`"
