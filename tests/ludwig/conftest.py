"""Tests against the installed Ludwig, of whichever generation it is."""

import os
import sys

import pytest

# Tests run beside each other on few cores, and never ask a model hub for anything.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def check_each_schema_once():
    """Ludwig lets jsonschema check its whole JSON schema anew each time that it parses a configuration: 1.3 s."""
    validation = sys.modules.get("ludwig.config_validation.validation")
    if validation is None:
        return
    validator = validation.get_validator()
    check, checked = validator.check_schema, []

    def check_schema(schema, *args, **kwargs):
        if not any(schema is other for other in checked):
            check(schema, *args, **kwargs)
            checked.append(schema)

    validator.check_schema = check_schema
