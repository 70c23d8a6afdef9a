"""What becomes of losses on a Ludwig that has changed: the program of test_drift.py.

``python drift.py CASES FOLDER`` imports all that Ludwig needs, and for each case a fork imports Ludwig anew, which is
another one there. ``CASES`` is a JSON file: name of a case -> its :class:`Case` as a dictionary. What each pair of a feature
type and a loss did is written to ``FOLDER/NAME.json``: numbers, or the text of an error.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import logging
import os
import pathlib
import re
import sys
import traceback
import warnings
from dataclasses import dataclass
from types import CodeType
from typing import Any

SUFFIX = "_in_another_ludwig"
# Ludwig's own: every case has to train it as ever.
DEFAULT = "default"


@dataclass
class Case:
    """A Ludwig that has changed.

    Args:
        patches: targets of the table that the package looks for under another name, as if Ludwig had renamed them.
        module: a module that it looks for under another name.
        identifier: a name that is another one in all of Ludwig's source.
        trained: pairs of a feature type and a loss that are trained if their configuration is not refused.
        parsed: pairs whose configuration is read only.
        options: parameters of the loss of a pair, by ``"FEATURE LOSS"``.
    """

    patches: list[str]
    module: str
    identifier: str
    trained: list[list[str]]
    parsed: list[list[str]]
    options: dict[str, dict[str, Any]]


def alter_table(case: Case) -> None:
    """Let the package look for targets, or a module, that are not there."""
    from ludwig_losses import patches

    def altered(patch: patches.Patch) -> patches.Patch:
        if patch.target in case.patches:
            return patch._replace(target=patch.target + SUFFIX)
        if patch.hook != case.module:
            return patch
        if patch.when:
            return patch._replace(when=patch.when + SUFFIX)
        return patch._replace(target=patch.target.replace(patch.module, patch.module + SUFFIX, 1))

    patches.GROUPS = tuple(
        group._replace(patches=tuple(altered(patch) for patch in group.patches)) for group in patches.GROUPS
    )


class Renamed(importlib.machinery.SourceFileLoader):
    """Loads a module of Ludwig in whose source a name is another one."""

    identifier = ""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        return self.source_to_code(re.sub(rf"\b{self.identifier}\b", self.identifier + SUFFIX, source), self.path)


class Renaming(importlib.abc.MetaPathFinder):
    """Finds the modules of Ludwig that use a name."""

    def __init__(self, identifier: str) -> None:
        self.loader = type("Loader", (Renamed,), {"identifier": identifier})
        self.pattern = re.compile(rf"\b{identifier}\b")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != "ludwig":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None or not self.pattern.search(pathlib.Path(spec.origin).read_text()):
            return None
        spec.loader = self.loader(name, spec.origin)
        return spec


def try_everything(case: Case, folder: pathlib.Path) -> dict[str, Any]:
    """Return what each pair did: the numbers of its training, "parsed", or the text of the error."""
    from ludwig_losses import _startup, _switch

    alter_table(case)
    if case.identifier:
        sys.meta_path.insert(0, Renaming(case.identifier))
    os.environ.pop(_switch.DISABLE, None)
    _startup.install()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RuntimeWarning)
        import ludwig.api
        from ludwig.config_validation.validation import get_validator

    get_validator().check_schema = lambda *_, **__: None  # Whether the JSON schema is one takes a second to find out.
    found: dict[str, Any] = {"warnings": [str(each.message) for each in warned if "ludwig-losses" in str(each.message)]}
    warnings.simplefilter("ignore")
    import matrix

    for feature, loss in [*case.trained, *case.parsed]:
        place = folder / f"{feature}-{loss}"
        place.mkdir(parents=True)
        section = {} if loss == DEFAULT else {"loss": {"type": loss, **case.options[f"{feature} {loss}"]}}
        try:
            config, data = matrix.write(feature, section.get("loss", {}), place)
            if not section:
                del config["output_features"][0]["loss"]
            model = ludwig.api.LudwigModel(config, logging_level=logging.CRITICAL)
            found[f"{feature} {loss}"] = _numbers(model, data, place) if [feature, loss] in case.trained else "parsed"
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            found[f"{feature} {loss}"] = f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
    return found


def _numbers(model: Any, data: pathlib.Path, folder: pathlib.Path) -> list[float]:
    """The losses of a training, and of the trained model on all rows."""
    statistics = model.train(str(data), output_directory=str(folder), skip_save_processed_input=True).train_stats
    evaluated, _, _ = model.evaluate(str(data))
    return [*map(float, statistics.training["y"]["loss"]), float(evaluated["y"]["loss"])]


def main(cases: str, folder: str) -> None:
    import ludwig.api  # noqa: F401  All that Ludwig imports stays, when Ludwig itself is forgotten.

    sys.path.append(str(pathlib.Path(__file__).parents[1]))  # the oracles, of which the matrix asks
    import matrix  # noqa: F401

    for name in [name for name in sys.modules if name.partition(".")[0] in ("ludwig", "ludwig_losses")]:
        del sys.modules[name]
    for name, case in json.loads(pathlib.Path(cases).read_text()).items():
        child = os.fork()
        if child == 0:
            found = try_everything(Case(**case), pathlib.Path(folder, name))
            pathlib.Path(folder, f"{name}.json").write_text(json.dumps(found))
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
