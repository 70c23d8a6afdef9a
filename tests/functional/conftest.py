from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from ludwig_losses.functional._compiler import that_ends


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The tensors are small: threads cost more than they bring, and the workers of xdist would fight over them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="session")
def compiling_ends() -> Iterator[None]:
    """As where the package compiles; see the function."""
    with that_ends():
        yield
