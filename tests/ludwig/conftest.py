"""Tests against the installed Ludwig, of whichever generation it is."""

import os

import pytest

from ludwig_losses.host.validation.schemas import each_checked_once

# Tests run beside each other on few cores, and never ask a model hub for anything.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def check_each_schema_once():
    with each_checked_once():
        yield
