"""Ludwig's own JSON schema, which jsonschema checks anew for each configuration: seconds, where many are parsed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ludwig.config_validation import validation


@contextlib.contextmanager
def each_checked_once() -> Iterator[None]:
    """Within this, a schema that was found valid is not checked again; configurations are, each against its schema."""
    validator = validation.get_validator()
    check = validator.check_schema
    checked: list[Any] = []  # Keep references: ids of freed objects are reused.

    def check_schema(schema: Any, *args: Any, **kwargs: Any) -> None:
        if not any(schema is other for other in checked):
            check(schema, *args, **kwargs)
            checked.append(schema)

    validator.check_schema = check_schema
    try:
        yield
    finally:
        validator.check_schema = check
