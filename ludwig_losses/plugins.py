"""Plug-ins: installed packages declare custom losses by an entry point, files are named by an environment variable."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "ludwig_losses"
VARIABLE = "LUDWIG_LOSSES_PLUGINS"

# Plug-in -> why it did not load; an unknown loss may be one of theirs.
failures: dict[str, str] = {}


def load() -> None:
    """Import every plug-in, whose losses register themselves. If one fails, its losses are missing, with a warning."""
    for entry_point in entry_points(group=GROUP):
        _attempt(
            f"{entry_point.value} (entry point {entry_point.name})", entry_point.load, _file_of(entry_point.module)
        )
    entries = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip()]
    located = {entry: _locate(entry) for entry in entries}
    if entries:
        # Processes that this one starts may run in another folder.
        os.environ[VARIABLE] = ",".join(map(str, located.values()))
    for entry, place in located.items():
        if isinstance(place, Path):
            _attempt(f"{entry} ({VARIABLE})", partial(_import_file, place), str(place))
        else:
            _attempt(f"{entry} ({VARIABLE})", partial(_import_module, place), _file_of(place))


def _attempt(plugin: str, import_it: Callable[[], object], file: str | None) -> None:
    try:
        import_it()
    except (Exception, SystemExit) as error:
        message = error.msg if isinstance(error, SyntaxError) else error
        failures[plugin] = f"{type(error).__name__}: {message}{_line(error, file)}{_hint(error)}"
        warnings.warn(
            f"ludwig-losses could not load the plug-in {plugin}. {failures[plugin]}. Ludwig goes on without it.",
            RuntimeWarning,
            stacklevel=2,
        )


def _line(error: BaseException, file: str | None) -> str:
    """The line of the plug-in's file at which it failed."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({file}, line {lines[-1]})" if lines else ""


def _hint(error: BaseException) -> str:
    if isinstance(error, ImportError) and "partially initialized module 'ludwig" in str(error):
        return ". Plug-ins load while Ludwig is being imported: import other parts of Ludwig inside of functions"
    return ""


def _file_of(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (Exception, SystemExit):  # of a package around the module; importing it will say so
        return None
    return spec.origin if spec else None


def _locate(entry: str) -> str | Path:
    """Return the path of a file, also of a module in the current folder, or else the name of a module."""
    path = Path(entry if entry.endswith(".py") else f"{entry}.py").expanduser().resolve()
    installed = None if entry.endswith(".py") else _file_of(entry)
    if entry.endswith(".py") or (path.is_file() and installed in (None, str(path))):
        return path
    return entry


def _import_module(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise ImportError(
            f"there is no module {name!r}, and no file {name}.py in {Path.cwd()}; write the path of a file"
        ) from None


def _import_file(path: Path) -> None:
    """Import a file as a top-level module, so that pickle finds its classes by name; its neighbours can be imported."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    found = getattr(sys.modules.get(path.stem), "__file__", None) or _file_of(path.stem)
    if found is None or Path(found).resolve() != path:
        raise ImportError(f"{path} has the name of another module, {found or 'built into Python'}: rename the file")
    importlib.import_module(path.stem)
