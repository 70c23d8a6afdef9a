"""Files that are written whole or not at all, and a folder that one comparison at a time writes to."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from filelock import FileLock, Timeout

_LOCK, _HOLDER = ".lock", ".holder.json"


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A context with the path of a file beside another one, which it replaces if all goes well.

    Raises:
        OSError: it could not be written, as on a full disk; with the path.
    """
    # The ending stays: it tells libraries the format.
    part = path.with_name(f".part-{path.name}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Write text, whole or not at all."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """A context in which no other comparison writes to a folder; the lock ends with the process, however it ends.

    Raises:
        ValueError: another comparison holds it.
    """
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"--output_directory: {folder}: another comparison{_holder(folder)} is writing to it. Wait until it is "
            f"done, or take another folder."
        ) from None
    try:
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        holder = {"process": os.getpid(), "machine": socket.gethostname(), "since": now}
        write_text(folder / _HOLDER, json.dumps(holder))
        yield
    finally:
        (folder / _HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: pathlib.Path) -> str:
    try:
        found = json.loads((folder / _HOLDER).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # It has just begun, or has just ended.
        return ""
    return f" (process {found['process']} on {found['machine']}, since {found['since']})"
