"""Tests against the installed Ludwig, of whichever generation it is."""

import os
import pathlib
import runpy

import pytest

START = pathlib.Path(__file__).with_name("start")

# Tests run beside each other on few cores, and never ask a model hub for anything.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# This process, and every one that is started from here, imports Ludwig in less time.
runpy.run_path(str(START / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join([str(START), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture(scope="session", autouse=True)
def check_each_schema_once():
    # Not at the top: the process that gives tests to the others does not need Ludwig.
    from ludwig_losses.host.validation.schemas import each_checked_once

    with each_checked_once():
        yield


@pytest.fixture(scope="session", autouse=True)
def narrow_unets(check_each_schema_once):
    """Trainings in this process do not write 31 million weights several times; those of the command line do."""
    import matrix

    runpy.run_path(str(matrix.NARROW_UNETS))
