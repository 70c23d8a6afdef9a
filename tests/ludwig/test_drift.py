"""A Ludwig in which something that the package wraps has another name: each loss is right there or refuses, and
Ludwig's own are as ever."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import declared
import drift
from ludwig_losses import _switch, patches
from ludwig_losses.host import contract

NOTHING = drift.Case(patches=[], module="", identifier="", trained=[], parsed=[], options={})
TRAINED = [["category", drift.DEFAULT], ["vector", "nt_xent_loss"], ["anomaly", "deep_svdd"], ["category", "corn"]]
PARSED = [list(pair) for pair in declared.PAIRS if list(pair) not in TRAINED and pair[0] != "image"]

# What a loss needs with an option only.
MORE_OPTIONS = {"number quantile_loss": {"calibrate": True}}

# Names that mean more than one thing in Ludwig's source: the table is altered instead.
AMBIGUOUS = {"from_dict", "hyperopt", "len", "to", "train"}
# Ray is not needed where the rest is tested.
TABLE = [(group, patch) for group in patches.GROUPS for patch in group.patches if group.name != "Ray workers"]


def cases_of_groups() -> dict[str, drift.Case]:
    """One target of each group is another one, if possible one that no other group has."""
    found = {"nothing": NOTHING}
    for group in patches.GROUPS:
        targets = [patch.target for patch in group.patches if patch.name and group.name != "Ray workers"]
        for target in sorted(targets, key=lambda target: len(groups_with(target)))[:1]:
            found[_file(group.name)] = dataclasses.replace(NOTHING, patches=[target])
    return found


def groups_with(target: str) -> list[patches.Group]:
    return [group for group in patches.GROUPS if any(patch.target == target for patch in group.patches)]


def all_cases() -> dict[str, drift.Case]:
    """Each target, each module, and each name in the whole source of Ludwig."""
    found = {"nothing": NOTHING}
    for _, patch in TABLE:
        identifier = patch.name.rpartition(".")[2]
        if patch.name:
            found[_file(f"target {patch.target}")] = dataclasses.replace(NOTHING, patches=[patch.target])
        if patch.name and identifier not in AMBIGUOUS:
            found[f"name {identifier}"] = dataclasses.replace(NOTHING, identifier=identifier)
        found[_file(f"module {patch.hook}")] = dataclasses.replace(NOTHING, module=patch.hook)
    return found


def _file(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name)


def run(cases: dict[str, drift.Case], trained: list[list[str]], parsed: list[list[str]], folder: pathlib.Path) -> dict:
    options = {f"{feature} {loss}": declared.options(feature, loss) for feature, loss in [*trained, *parsed]}
    for pair, more in MORE_OPTIONS.items():
        if pair in options:
            options[pair] = {**options[pair], **more}
    complete = {
        name: dataclasses.asdict(dataclasses.replace(case, trained=trained, parsed=parsed, options=options))
        for name, case in cases.items()
    }
    (folder / "cases.json").write_text(json.dumps(complete))
    command = [sys.executable, drift.__file__, str(folder / "cases.json"), str(folder)]
    done = subprocess.run(
        command, env=os.environ | {_switch.DISABLE: "1"}, capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in complete}


def check(found: dict[str, dict], name: str) -> list[str]:
    """Return what went wrong in a case: a default that is not as ever, a loss that is neither right nor refused."""
    problems = []
    for pair, expected in found["nothing"].items():
        seen = found[name][pair]
        if pair == "warnings" or seen == expected:
            continue
        refused = isinstance(seen, str) and seen.startswith("ConfigValidationError")
        if any("'losses'" in text for text in found[name]["warnings"]):
            # Nothing is registered, and that is said: a loss that Ludwig lists itself fails there as without the package.
            refused = isinstance(seen, str) and seen != "parsed"
        if pair.endswith(drift.DEFAULT) or not refused:
            problems.append(f"{name}: {pair}: {seen} for {expected}")
    return problems


def assert_right_or_refused(found: dict[str, dict]) -> None:
    assert found["nothing"]["warnings"] == []
    assert not [pair for pair, seen in found["nothing"].items() if isinstance(seen, str) and seen != "parsed"]
    assert [problem for name in found for problem in check(found, name)] == []


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    return run(cases_of_groups(), TRAINED, PARSED, tmp_path_factory.mktemp("drift"))


def test_every_loss_is_right_or_refused_without_any_of_the_groups(groups):
    assert_right_or_refused(groups)


# Their modules are imported when a training, or a search, begins.
LATE = {"ludwig.trainers.trainer", "ludwig.hyperopt.run"}


@pytest.mark.parametrize("name", sorted(cases_of_groups().keys() - {"nothing"}))
def test_a_group_that_is_off_is_told_once_and_refused_with_its_name(groups, name):
    (target,) = cases_of_groups()[name].patches
    (group,) = [group for group in patches.GROUPS if _file(group.name) == name]
    told = [text for text in groups[name]["warnings"] if f"'{group.name}'" in text]
    assert len(told) == (target.partition(":")[0] not in LATE)
    refused = [seen for seen in groups[name].values() if isinstance(seen, str) and seen != "parsed"]
    parts = "|".join(group.name for group in groups_with(target))
    named = rf"the part '({parts})' that sees to it is switched off: Ludwig has no ludwig\."
    if name == "anomaly":  # Ludwig 0.11 has no such feature type of its own, and says so.
        named += "|'anomaly' is not one of"
    assert all(re.search(named, text) for text in refused)
    # Several ranks, soft labels and images are none of the pairs that are tried.
    needed = group.needed_by and name not in ("ranks", "soft-labels", "masks")
    assert bool(refused) == bool(needed)


def test_what_losses_need_are_groups_of_the_table():
    needed = {group.name for group in patches.GROUPS if group.needed_by}
    assert {*contract.NEEDS, "ranks", "Ray workers"} == needed


@pytest.mark.drift
@pytest.mark.parametrize("kind", ["target", "module", "name"])
def test_every_target_module_and_name(kind, tmp_path):
    """Half an hour: run by `make test-drift`."""
    cases = {name: case for name, case in all_cases().items() if name.startswith((kind, "nothing"))}
    pairs = [list(pair) for pair in declared.PAIRS if pair[0] != "image"]
    assert_right_or_refused(run(cases, [TRAINED[0], *pairs], [], tmp_path))
