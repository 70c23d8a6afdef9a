"""Tests against the installed Ludwig, of whichever generation it is."""

import os
import pathlib
import runpy

import pytest

# Tests run beside each other on few cores, and never ask a model hub for anything.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Every process that is started from here imports Ludwig in less time.
start = str(pathlib.Path(__file__).with_name("start"))
os.environ["PYTHONPATH"] = os.pathsep.join([start, *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture(scope="session", autouse=True)
def check_each_schema_once():
    # Not at the top: the process that gives tests to the others does not need Ludwig.
    from ludwig_losses.host.config.schemas import each_checked_once

    with each_checked_once():
        yield


@pytest.fixture(scope="session", autouse=True)
def narrow_unets(check_each_schema_once):
    """Trainings in this process do not write 31 million weights several times; test_cli.py has one that does."""
    import matrix

    runpy.run_path(str(matrix.NARROW_UNETS))
