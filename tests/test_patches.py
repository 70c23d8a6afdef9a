"""The patches of a stand-in for Ludwig: all of a group are in place or none, in the order of the table."""

from __future__ import annotations

import importlib
import sys
import types
import warnings

import pytest

from ludwig_losses import _startup, _switch, patches
from ludwig_losses.patches import Group, Patch

SOURCES = {
    "ludwig/__init__.py": "",
    "ludwig/schema/__init__.py": "",
    "ludwig/first.py": "class Trainer:\n    def train(self, data, epochs=1):\n        return [data] * epochs\n",
    "ludwig/second.py": (
        "from ludwig.first import Trainer\n\ndef load(path, shuffle=True):\n    return path, shuffle\n\n"
        "class Config:\n    @staticmethod\n    def parse(text):\n        return text\n"
    ),
    "ludwig/third.py": "from ludwig.second import load\n",
    "wrappers.py": (
        "def train(original, trainer, data, *args, **kwargs):\n    return [*original(trainer, data, *args, **kwargs), 'wrapped']\n\n"
        "def twice(original, trainer, data, *args, **kwargs):\n    return original(trainer, data, *args, **kwargs) * 2\n\n"
        "def load(original, path, **kwargs):\n    return original(path.upper(), **{**kwargs, 'shuffle': False})\n\n"
        "def parse(original, text):\n    return original(text) + '!'\n\n"
        "def other(original, path, batch_size):\n    return original(path)\n\n"
        "def complete(module):\n    module.completed = True\n\n"
        "def fail(module):\n    raise KeyError('no such thing')\n"
    ),
}
TRAIN = Patch("ludwig.first:Trainer.train", "wrappers:train", "", "")
TWICE = Patch("ludwig.first:Trainer.train", "wrappers:twice", "", "")
LOAD = Patch("ludwig.second:load", "wrappers:load", "", "", uses=("shuffle",))
PARSE = Patch("ludwig.second:Config.parse", "wrappers:parse", "", "")


@pytest.fixture
def ludwig(tmp_path, monkeypatch):
    """A Ludwig of a few lines, which a process that knows no other imports anew, with the groups given."""
    for path, source in SOURCES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "ludwig"}
    for name in [*kept, "wrappers", "ludwig_losses.host", "ludwig_losses.host.patch"]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder is not _startup._Finder])
    monkeypatch.delenv(_switch.DISABLE, raising=False)

    def use(*groups: tuple[Patch, ...]) -> types.ModuleType:
        named = tuple(Group(f"group {index}", "a purpose", "some losses", each) for index, each in enumerate(groups))
        monkeypatch.setattr(patches, "GROUPS", named)
        _startup.install()
        patch = importlib.import_module("ludwig_losses.host.patch")
        monkeypatch.setattr(patch, "versions", lambda: "ludwig-losses 1 and Ludwig 2")
        return patch

    yield use
    for name in list(sys.modules):
        if name.partition(".")[0] in ("ludwig", "wrappers") or name in (
            "ludwig_losses.host",
            "ludwig_losses.host.patch",
        ):
            del sys.modules[name]


def module(name: str) -> types.ModuleType:
    return importlib.import_module(f"ludwig.{name}")


def test_patches_wrap_functions_methods_and_static_methods(ludwig):
    patch = ludwig((TRAIN, LOAD, PARSE))
    assert module("first").Trainer().train(1, epochs=2) == [1, 1, "wrapped"]
    assert module("third").load("a") == ("A", False)
    assert module("second").Config.parse("a") == "a!"
    assert [reason for _, reason in patch.states()] == [None]


def test_a_later_patch_of_the_table_wraps_an_earlier_one(ludwig):
    ludwig((TRAIN,), (TWICE,))
    assert module("first").Trainer().train(1) == [1, "wrapped"] * 2
    assert module("first").Trainer.train.__name__ == "train"


def test_a_patch_may_wait_for_another_module_and_keeps_its_place(ludwig):
    ludwig((TRAIN._replace(when="ludwig.second"),), (TWICE,))
    trainer = module("first").Trainer()
    assert trainer.train(1) == [1, 1]
    module("second")
    assert trainer.train(1) == [1, "wrapped"] * 2


def test_a_ludwig_that_is_imported_already_is_patched_where_names_were_copied_to(ludwig):
    third = module("third")
    ludwig((LOAD,))
    assert third.load("a") == ("A", False)


def test_copies_are_left_alone_where_the_patch_says_so(ludwig):
    third = module("third")
    ludwig((LOAD._replace(only_here=True),))
    assert third.load("a") == ("a", True) and module("second").load("a") == ("A", False)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (LOAD._replace(target="ludwig.second:load_all"), "Ludwig has no ludwig.second.load_all"),
        (LOAD._replace(target="ludwig.second:Loader.load"), "Ludwig has no ludwig.second.Loader"),
        (LOAD._replace(uses=("shuffle_rows",)), "ludwig.second.load has no parameter shuffle_rows"),
        (LOAD._replace(wrapper="wrappers:other"), "ludwig.second.load has no parameter batch_size in place 2"),
        (LOAD._replace(wrapper="wrappers:missing"), "AttributeError: module 'wrappers' has no attribute 'missing'"),
        (Patch("ludwig.second", "wrappers:fail", "", ""), "KeyError: 'no such thing'"),
    ],
)
def test_one_patch_that_does_not_fit_takes_its_group_out_and_no_other(ludwig, broken, reason):
    patch = ludwig((TRAIN, PARSE, broken), (TWICE,))
    trainer = module("first").Trainer()
    assert trainer.train(1) == [1, "wrapped"] * 2  # Nothing is known of the other module yet.
    with pytest.warns(RuntimeWarning, match="do not fit in one part, 'group 0'") as warned:
        module("second")
    assert reason in str(warned[0].message) and "some losses refuse to train" in str(warned[0].message)
    assert trainer.train(1) == [1, 1] and module("second").Config.parse("a") == "a"
    assert module("second").load("a") == ("a", True)
    assert [found is None or reason in found for _, found in patch.states()] == [True, True]
    assert patch.failures.keys() == {"group 0"}


def test_a_module_that_has_moved_is_noticed(ludwig):
    patch = ludwig((TRAIN, LOAD._replace(target="ludwig.fourth:load")), (PARSE,))
    trainer = module("first").Trainer()
    with pytest.warns(RuntimeWarning, match="Ludwig has no module ludwig.fourth"):
        assert patch.why_not(patches.GROUPS[0]) == "Ludwig has no module ludwig.fourth"
    assert trainer.train(1) == [1] and patch.why_not(patches.GROUPS[1]) is None


def test_an_import_that_went_unnoticed_is_noticed(ludwig):
    patch = ludwig((LOAD,))
    sys.meta_path.remove(_startup._Finder)
    module("second")
    with pytest.warns(RuntimeWarning, match=r"the import of ludwig\.second went unnoticed"):
        assert patch.why_not(patches.GROUPS[0])


def test_a_module_is_completed(ludwig):
    ludwig((Patch("ludwig.second", "wrappers:complete", "", ""),))
    assert module("second").completed


def test_what_is_only_called_is_looked_for_and_left_alone(ludwig):
    patch = ludwig(
        (TRAIN._replace(wrapper=""),), (PARSE, TRAIN._replace(target="ludwig.first:Trainer.fit", wrapper=""))
    )
    with pytest.warns(RuntimeWarning, match="'group 1'.*Ludwig has no ludwig.first.Trainer.fit"):
        assert module("first").Trainer().train(1) == [1]
    assert [reason for _, reason in patch.states()] == [None, "Ludwig has no ludwig.first.Trainer.fit"]
    assert module("second").Config.parse("a") == "a"


NEWER = LOAD._replace(target="ludwig.second:lazy", only_with="ludwig.first:Trainer.train epochs")


@pytest.mark.parametrize(
    ("patched", "reason"),
    [
        (NEWER._replace(only_with="ludwig.lazy:cache"), None),  # Neither is there: an older version.
        (NEWER._replace(only_with="ludwig.first:Trainer.train prefetch"), None),
        (NEWER, "Ludwig has no ludwig.second.lazy"),
        (LOAD._replace(only_with="ludwig.lazy:cache"), "in place"),
    ],
)
def test_a_patch_for_newer_versions_is_left_out_only_where_nothing_of_them_is_there(ludwig, patched, reason):
    patch = ludwig((patched,))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        loaded = module("third").load("a")
    assert loaded == (("A", False) if reason == "in place" else ("a", True))
    assert patch.why_not(patches.GROUPS[0]) == (None if reason == "in place" else reason)


@pytest.mark.parametrize("field", ["why", "obsolete"])
def test_every_patch_of_the_table_says_what_it_is_for(field):
    assert all(getattr(patch, field) for group in patches.GROUPS for patch in group.patches)


def test_groups_have_names_of_their_own():
    names = [group.name for group in patches.GROUPS]
    assert len(set(names)) == len(names)
