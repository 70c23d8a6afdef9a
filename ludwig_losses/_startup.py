"""Activation: the patches of ``patches.py`` are put in place when Ludwig itself imports the modules they complete.

Ludwig has no plug-in mechanism. The start-up file of the installed package calls :func:`install` in every Python
process, so this module is imported by processes that never use Ludwig: it needs nothing beyond what the interpreter
has loaded already. (wrapt has import hooks, too; it would be imported by all of these processes.)
"""

import sys

from ludwig_losses._switch import DISABLE, is_disabled

TYPE_CHECKING = False  # for type checkers, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_LUDWIG = "ludwig."


class _Finder:
    """Finds nothing itself: it lets the other finders find a hooked module and adds the hook to its execution."""

    @staticmethod
    def find_spec(
        name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if not name.startswith(_LUDWIG) or not _is_hooked(name):
            return None
        for finder in sys.meta_path:
            spec = None if finder is _Finder else finder.find_spec(name, path, target)
            if spec is not None:
                loader: Any = spec.loader
                loader.exec_module = _then_hook(name, loader.exec_module)
                return spec
        return None


def _then_hook(name: str, execute: "Callable[[ModuleType], None]") -> "Callable[[ModuleType], None]":
    def exec_module(module: "ModuleType") -> None:
        execute(module)
        _complete(name)

    return exec_module


def install() -> None:
    """Hook into Ludwig, whether it is imported later or has been imported already. Calling it again does nothing."""
    if is_disabled() or _Finder in sys.meta_path:
        return
    sys.meta_path.insert(0, _Finder)
    for name, module in list(sys.modules.items()):
        if name.startswith(_LUDWIG) and not getattr(module.__spec__, "_initializing", False) and _is_hooked(name):
            _complete(name)


def _is_hooked(name: str) -> bool:
    from ludwig_losses import patches  # only where Ludwig is imported

    return patches.hooked(name)


def _complete(name: str) -> None:
    """Put the patches in place that wait for a module; what fails costs the package, with a warning, never Ludwig."""
    try:
        from ludwig_losses.host import patch

        patch.install(name)
    except Exception as error:
        import warnings

        warnings.warn(
            f"ludwig-losses could not complete {name}: {type(error).__name__}: {error}. Ludwig goes on without it; "
            f"{DISABLE}=1 silences this.",
            RuntimeWarning,
            stacklevel=2,
        )
