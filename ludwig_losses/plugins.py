"""Losses from elsewhere: installed packages announce theirs by an entry point, a file by an environment variable."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "ludwig_losses"
VARIABLE = "LUDWIG_LOSSES_PLUGINS"

# Plug-in -> why it did not load; an unknown loss may be one of theirs.
failures: dict[str, str] = {}


def load() -> None:
    """Import every plug-in, whose losses register themselves. One that fails costs its losses, with a warning."""
    for entry_point in entry_points(group=GROUP):
        _attempt(f"{entry_point.value} (entry point {entry_point.name})", entry_point.load)
    entries = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip()]
    if entries:
        # Processes that this one starts may run in another folder.
        os.environ[VARIABLE] = ",".join(map(_locate, entries))
    for entry in entries:
        _attempt(f"{entry} ({VARIABLE})", lambda entry=entry: _import(_locate(entry)))


def _attempt(plugin: str, import_it: Callable[[], object]) -> None:
    try:
        import_it()
    except (Exception, SystemExit) as error:
        failures[plugin] = f"{type(error).__name__}: {error}{_place(error)}"
        warnings.warn(
            f"ludwig-losses could not load the plug-in {plugin}. {failures[plugin]}. Ludwig goes on without it.",
            RuntimeWarning,
            stacklevel=2,
        )


def _place(error: BaseException) -> str:
    """The line of a plug-in at which it failed."""
    here = Path(__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and here not in Path(frame.filename).parents
    ]
    frames = [frame for frame in frames if not frame.filename.endswith("importlib/__init__.py")]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _locate(entry: str) -> str:
    """Return the absolute path of a file, also of a module in the current folder, or else the name of a module."""
    path = Path(entry if entry.endswith(".py") else f"{entry}.py")
    return str(path.absolute()) if entry.endswith(".py") or path.is_file() else entry


def _import(entry: str) -> None:
    if not entry.endswith(".py"):
        try:
            importlib.import_module(entry)
        except ModuleNotFoundError as error:
            if error.name != entry:
                raise
            raise ImportError(
                f"there is no module {entry!r}, and no file {entry}.py in {Path.cwd()}; write the path of the file"
            ) from None
        return
    path = Path(entry)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    _import_file(path)


def _import_file(path: Path) -> None:
    """Import a file as a top-level module, so that pickle finds its classes by name."""
    name = path.stem
    known = sys.modules.get(name)
    spec = importlib.util.find_spec(name) if known is None else known.__spec__
    origin = getattr(known, "__file__", None) or (spec and spec.origin)
    if origin is not None and Path(origin) != path:
        raise ImportError(f"{path} has the name of another module, {origin}: rename the file")
    if known is None:
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
