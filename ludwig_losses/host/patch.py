"""Putting the patches of :mod:`ludwig_losses.patches` in place, all of a group or none, and saying which are.

Nothing of Ludwig is imported here: the module that is being completed may be the first one.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from types import ModuleType
from typing import Any

from ludwig_losses import patches
from ludwig_losses._switch import DISABLE
from ludwig_losses.patches import Group, Patch

# Group -> why it is not in place.
failures: dict[str, str] = {}
# The patches in place. The targets themselves do not tell: other packages may wrap them later.
_in_place: set[Patch] = set()

_WRAPPERS = "_ludwig_losses_wrappers"


class Drift(Exception):
    """Ludwig is not what a patch was written for; the message says what is missing."""


def install(module: str) -> None:
    """Put the patches in place that wait for a module of Ludwig, which has just been imported.

    A group with a patch that does not fit is switched off as a whole, with a warning.
    """
    groups = dict.fromkeys(group for group, _ in patches.patches_of(module))
    for group in groups:
        if group.name in failures:
            continue
        mine = [patch for patch in group.patches if patch.hook == module]
        try:
            for put_in_place in [_resolve(patch) for patch in mine]:
                put_in_place()
            _in_place.update(mine)
        except Drift as drift:
            _switch_off(group, str(drift))
        except Exception as error:  # Ludwig's internals may raise anything in code written for another version.
            _switch_off(group, f"{type(error).__name__}: {error}", error)


def why_not(group: Group, *, import_modules: bool = False) -> str | None:
    """Return why a group is not in place, or ``None`` if it is, as far as Ludwig has been imported.

    Args:
        import_modules: import what has not been imported yet, to know for sure.
    """
    for patch in group.patches:
        if group.name in failures:
            break
        if not _is_imported(patch.hook) and _is_missing(patch.hook):
            _switch_off(group, f"Ludwig has no module {patch.hook}")
        elif not _is_imported(patch.hook) and import_modules:
            try:
                importlib.import_module(patch.hook)
            except ImportError as error:  # of an optional library
                return f"{patch.hook} cannot be imported: {error}"
        if _is_imported(patch.hook) and group.name not in failures and patch not in _in_place:
            _switch_off(group, f"the import of {patch.hook} went unnoticed")
    return failures.get(group.name)


def states(*, import_modules: bool = True) -> Iterator[tuple[Group, str | None]]:
    """Yield every group with why it is not in place, or ``None``."""
    for group in patches.GROUPS:
        yield group, why_not(group, import_modules=import_modules)


def versions() -> str:
    """Return the two versions that have to fit."""
    return f"ludwig-losses {version('ludwig-losses')} and Ludwig {version('ludwig')}"


def _is_imported(module: str) -> bool:
    """Whether the import of a module has finished."""
    return module in sys.modules and not getattr(sys.modules[module].__spec__, "_initializing", False)


def _is_missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:  # a package around it
        return True


def _resolve(patch: Patch) -> Callable[[], None]:
    """Return what puts a patch in place.

    Raises:
        Drift: there is no such target, or it does not take what the wrapper relies on.
    """
    module = importlib.import_module(patch.module)
    if not patch.name:
        return functools.partial(_load(patch.wrapper), module)
    if not _has_a_reason(patch):
        return lambda: None
    owner, name = _owner_of(patch, module)
    if not patch.wrapper:
        return lambda: None
    wrapper = _load(patch.wrapper)
    _check_signature(patch, _target(owner, name), wrapper, isinstance(owner, type))
    return functools.partial(_wrap, patch, owner, name, wrapper)


def _has_a_reason(patch: Patch) -> bool:
    """Whether this Ludwig has what a patch is for."""
    if not patch.only_with or _is_there(patch.target):
        return True
    return _is_there(patch.only_with)


def _is_there(what: str) -> bool:
    """Whether Ludwig has ``module:name``, or a parameter of it behind a space."""
    path, _, parameter = what.partition(" ")
    module, _, names = path.partition(":")
    if _is_missing(module):
        return False
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name, None)
    return found is not None and (not parameter or parameter in inspect.signature(found).parameters)


def _load(path: str) -> Callable:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _owner_of(patch: Patch, module: ModuleType) -> tuple[Any, str]:
    """Return the module or class that has the target of a patch, and its name there.

    Raises:
        Drift: it has none.
    """
    owner: Any = module
    path = patch.name.split(".")
    for index, name in enumerate(path):
        if not hasattr(owner, name) and not (patch.only_here and owner is module and hasattr(builtins, name)):
            raise Drift(f"Ludwig has no {patch.module}.{'.'.join(path[: index + 1])}")
        if index < len(path) - 1:
            owner = getattr(owner, name)
    return owner, path[-1]


def _target(owner: Any, name: str) -> Any:
    """Return what has a name in a module or class, or the built-in function that a module means by it."""
    return getattr(owner, name) if hasattr(owner, name) else getattr(builtins, name)


def _check_signature(patch: Patch, target: Callable, wrapper: Callable, is_method: bool) -> None:
    """Refuse a target that does not take, by position or by name, what the wrapper takes of it.

    A wrapper gets the original first, and that of a method its object second.

    Raises:
        Drift: naming the parameter.
    """
    try:
        taken = inspect.signature(target).parameters
    except ValueError:  # a built-in function without a signature
        return
    names = [name for name, parameter in taken.items() if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    own = list(inspect.signature(wrapper).parameters.values())[1:]
    first = 1 if is_method and next(iter(taken), "") == "self" else 0
    positional = [parameter.name for parameter in own if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    for index, name in enumerate(positional[first:], start=first):
        if names[index : index + 1] != [name]:
            raise Drift(f"{patch.module}.{patch.name} has no parameter {name} in place {index + 1}")
    keywords = [parameter.name for parameter in own if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    for name in (*keywords, *patch.uses):
        if name not in names:
            raise Drift(f"{patch.module}.{patch.name} has no parameter {name}")


def _wrap(patch: Patch, owner: Any, name: str, wrapper: Callable) -> None:
    """Put a wrapper around ``owner.name``, also where Ludwig has copied it to.

    A Ludwig that was imported before this package holds copies of a function in the modules that import it by name.
    """
    wrappers = wrappers_of(owner, name)
    if wrappers is None:
        original = _target(owner, name)
        wrappers = []
        replaced = replacement(original, wrappers)
        static = isinstance(owner, type) and isinstance(inspect.getattr_static(owner, name), staticmethod)
        setattr(owner, name, staticmethod(replaced) if static else replaced)
        if isinstance(owner, ModuleType) and not patch.only_here:
            _replace_copies(name, original, replaced)
    wrappers.append((patch, wrapper))
    wrappers.sort(key=lambda entry: patches.order(entry[0]))


def replacement(original: Any, wrappers: list[tuple[Patch, Callable]]) -> Callable:
    """Return a function that calls the original inside of its wrappers, of which the last one is the outermost."""

    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        call = original
        for _, wrapper in wrappers:
            call = functools.partial(wrapper, call)
        return call(*args, **kwargs)

    setattr(replaced, _WRAPPERS, wrappers)
    return replaced


def _replace_copies(name: str, original: Any, replaced: Callable) -> None:
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("ludwig.") and vars(module).get(name) is original:
            setattr(module, name, replaced)


def wrappers_of(owner: Any, name: str) -> list[tuple[Patch, Callable]] | None:
    """Return the wrappers around ``owner.name``, or ``None`` if it is Ludwig's own; inherited ones are the parent's."""
    found = vars(owner).get(name)
    return getattr(getattr(found, "__func__", found), _WRAPPERS, None)


def _switch_off(group: Group, reason: str, error: Exception | None = None) -> None:
    """Take the patches of a group out again, and say once what does not work any more."""
    failures[group.name] = reason
    for patch in group.patches:
        if patch.name and patch.module in sys.modules and patch.hook in sys.modules:
            _take_out(patch)
    lost = f"{group.needed_by} refuse to train, evaluate and predict" if group.needed_by else "nothing needs it"
    place = "".join(traceback.format_tb(error.__traceback__)[-2:]) if error else ""
    warnings.warn(
        f"ludwig-losses: {versions()} do not fit in one part, '{group.name}', which is switched off: {reason}. "
        f"Without it, {lost}. Everything else works. {DISABLE}=1 silences this.\n{place}",
        RuntimeWarning,
        stacklevel=2,
    )


def _take_out(patch: Patch) -> None:
    try:
        owner, name = _owner_of(patch, sys.modules[patch.module])
    except Drift:
        return
    wrappers = wrappers_of(owner, name)
    if wrappers is not None:
        wrappers[:] = [entry for entry in wrappers if entry[0] is not patch]
