"""Losses from elsewhere: the tutorial to the letter, installed packages, and mistakes that stay alone."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import commands

TUTORIAL = (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "own_loss.md").read_text()
LOSS, DATA = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
(CONFIG,) = re.findall(r"```yaml\n(.*?)```", TUTORIAL, re.DOTALL)
(COMMANDS,) = re.findall(r"```bash\n(.*?)```", TUTORIAL, re.DOTALL)
(ENTRY_POINT,) = re.findall(r"```toml\n\[project\.entry-points\.(.*?)```", TUTORIAL, re.DOTALL)
FILE = "z_loss.py"


def run(*command: str, cwd: pathlib.Path, **environment: str) -> str:
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_the_tutorial_trains(tmp_path):
    assert FILE in TUTORIAL and len(LOSS.splitlines()) < 40
    (tmp_path / FILE).write_text(LOSS)
    (tmp_path / "config.yaml").write_text(CONFIG)
    run(sys.executable, "-c", DATA, cwd=tmp_path)
    output = run("bash", "-ec", COMMANDS, cwd=tmp_path)
    assert "z_loss, for category features" in output and "z: 0.01" in output

    (model,) = tmp_path.glob("results/*/model")
    losses = json.loads((model.parent / "training_statistics.json").read_text())["training"]["cultivar"]["loss"]
    assert len(losses) == 5 and losses[-1] < losses[0]
    arguments = (str(tmp_path / FILE), "--model_path", str(model), "--dataset", "wine.csv")
    commands.run(import_and_evaluate, *arguments, folder=tmp_path, log="evaluate.txt")
    statistics = json.loads(next(tmp_path.glob("**/test_statistics.json")).read_text())
    assert 0 < statistics["cultivar"]["loss"] < 2


def import_and_evaluate(file: str, *arguments: str) -> None:
    """Evaluate as in a notebook: Ludwig is imported, and then the file with the loss, without a variable."""
    import ludwig.evaluate

    sys.path.insert(0, str(pathlib.Path(file).parent))
    importlib.import_module(pathlib.Path(file).stem)
    ludwig.evaluate.cli([*arguments])


MISTAKES = {
    "no_schema": (
        LOSS.replace("register_loss(ZLossConfig,", "register_loss(None,"),
        "ZLoss ({file}): register_loss needs a schema",
    ),
    "no_name": (
        LOSS.replace('    type: str = loss_type("z_loss")\n', ""),
        "ZLossConfig has no name",
    ),
    "duplicate_of_ours": (
        LOSS.replace('"z_loss"', '"focal"'),
        "the name 'focal' is taken by FocalLoss",
    ),
    "duplicate_of_ludwigs": (
        LOSS.replace('"z_loss"', '"softmax_cross_entropy"'),
        "Ludwig has a loss or metric named 'softmax_cross_entropy' itself",
    ),
    "no_module": (LOSS.replace("(ClassificationLoss):", "(torch.nn.Module):"), "is a subclass of ludwig_losses.Loss"),
    "no_feature": (LOSS.replace('["category"]', '["categorical"]'), "features = ['categorical']; the output feature"),
    "no_annotation": (LOSS.replace("    z: float = field(", "    z = field("), "({file}, line 11)"),
    "no_syntax": (
        LOSS.replace("return self.mean", "retrun self.mean"),
        "SyntaxError: invalid syntax ({file}, line 28)",
    ),
    "early": ("from ludwig.api import LudwigModel\n" + LOSS, "import other parts of Ludwig inside of functions"),
    "bad_default": (
        LOSS.replace("default=0.01", "default=7"),
        "the default of a parameter is 7, expected a number in (0, 1] ({file}, line 16)",
    ),
    "bad_import": (LOSS.replace("import torch\n", "import torhc\n", 1), "No module named 'torhc' ({file}, line 1)"),
    "leaves": (LOSS + "\nraise SystemExit(1)\n", f"SystemExit: 1 ({{file}}, line {len(LOSS.splitlines()) + 2})"),
    "taken/json": (LOSS, "has the name of another module"),
}


@pytest.fixture(scope="module")
def after_mistakes(tmp_path_factory) -> tuple[pathlib.Path, dict]:
    """What a process knows that was told to load a plug-in for each mistake, and then a good one."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "taken").mkdir()
    (folder / "leaving").mkdir()
    (folder / "leaving" / "__init__.py").write_text("raise SystemExit(3)\n")
    for name, (text, _) in MISTAKES.items():
        (folder / f"{name}.py").write_text(text.replace('"z_loss"', f'"{name}_loss"'))
    (folder / "good.py").write_text(LOSS)
    vector = LOSS.replace('"z_loss"', '"vector_loss"')
    vector = vector.replace("self.mean(z_loss(preds, target, self.z), target)", "preds[:, 0]")
    (folder / "vector.py").write_text(vector)
    plain = LOSS.replace("ClassificationLoss", "Loss").replace('["category"]', '["category", "set"]')
    plain = plain.replace("self.mean(", "torch.mean(").replace("self.z), target)", "self.z))")
    (folder / "plain.py").write_text(plain.replace('"z_loss"', '"plain_loss"'))
    installed = install(LOSS.replace('"z_loss"', '"installed_loss"'), folder / "installed")
    program = """
import json, pickle, subprocess, sys, torch, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from ludwig_losses.host.registry import catalogue
from ludwig_losses import plugins
from ludwig.config_validation.validation import get_schema
import ludwig.schema
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.schema.model_types.base import ModelConfig
get_schema()

def error_of(function):
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def parse(loss):
    output = {"name": "y", "type": "category", "loss": loss}
    config = {"input_features": [{"name": "x", "type": "number"}], "output_features": [output]}
    return ModelConfig.from_dict(config).output_features[0].loss

def call_vector():
    create_loss(get_loss_cls("category", "vector_loss").from_dict({"type": "vector_loss"}))(torch.zeros(2, 3), torch.zeros(2))

def train_plain():
    import pandas as pd
    from ludwig.api import LudwigModel
    both = {"type": "compound_loss", "terms": [{"type": "plain_loss"}, {"type": "z_loss", "z": 1}]}
    outputs = [{"name": "category", "type": "category", "loss": {"type": "plain_loss"}}]
    outputs.append({"name": "both", "type": "category", "loss": both})
    config = {"input_features": [{"name": "x", "type": "number"}], "output_features": outputs, "trainer": {"epochs": 1}}
    data = pd.DataFrame({"x": range(100), "category": ["a", "b"] * 50, "both": ["a", "b"] * 50})
    model = LudwigModel(config)
    stats = model.train(data, skip_save_model=True, skip_save_progress=True, skip_save_log=True).train_stats
    plain = get_loss_cls("set", "plain_loss").from_dict({"type": "plain_loss"})
    return [len(stats.training["category"]["loss"]), plain.class_weights, sorted(stats.training["both"])]

elsewhere = "import json, ludwig_losses.host.registry as registry; print(json.dumps([*registry.catalogue()]))"
print(json.dumps({
    "failures": plugins.failures,
    "warnings": [str(w.message) for w in caught if "ludwig-losses" in str(w.message)],
    "catalogue": list(catalogue()),
    "good": error_of(lambda: parse({"type": "z_loss", "z": 1})),
    "typo": error_of(lambda: parse({"type": "z_loss", "q": 1})),
    "term": error_of(lambda: parse({"type": "compound_loss", "terms": [{"type": "plain_loss", "z": 0}]})),
    "failed": error_of(lambda: parse({"type": "bad_import_loss"})),
    "built-in": error_of(lambda: parse({"type": "focal_loss"})),
    "vector": error_of(call_vector),
    "plain": train_plain(),
    "pickled": pickle.loads(pickle.dumps(create_loss(parse({"type": "installed_loss"})))).z,
    "elsewhere": json.loads(
        subprocess.check_output([sys.executable, "-W", "ignore", "-c", elsewhere], cwd="/", text=True).splitlines()[-1]
    ),
}))
"""
    entries = [
        *(str(folder / f"{name}.py") for name in MISTAKES),
        "missing",
        "leaving.losses",
        "good",
        "vector",
        "plain",
    ]
    variables = {
        "PYTHONPATH": f"{installed}{os.pathsep}{os.environ['PYTHONPATH']}",
        "LUDWIG_LOSSES_PLUGINS": ",".join(entries),
    }
    output = run(sys.executable, "-W", "ignore", "-c", program, cwd=folder, **variables)
    return folder, json.loads(output.splitlines()[-1])


def install(loss: str, folder: pathlib.Path) -> pathlib.Path:
    """Write a loss as a package whose entry point is the one of the tutorial."""
    metadata = folder / "my_losses-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / FILE).write_text(loss)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-losses\nVersion: 1.0\n")
    group, _, entry = ENTRY_POINT.partition("]\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n" + entry.replace('"', ""))
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_names_the_file_and_what_is_wrong(mistake, after_mistakes):
    folder, known = after_mistakes
    file = str(folder / f"{mistake}.py")
    ((plugin, reason),) = [(p, r) for p, r in known["failures"].items() if p.startswith(file)]
    assert "LUDWIG_LOSSES_PLUGINS" in plugin and file in reason
    assert MISTAKES[mistake][1].format(file=file) in reason
    assert [text for text in known["warnings"] if file in text and reason in text]


def test_an_installed_package_needs_no_variable(after_mistakes):
    _, known = after_mistakes
    assert "installed_loss" in known["catalogue"] and known["pickled"] == 0.01


def test_processes_that_are_started_elsewhere_know_the_losses(after_mistakes):
    _, known = after_mistakes
    assert known["elsewhere"] == known["catalogue"] and "z_loss" in known["catalogue"]


def test_mistakes_break_no_other_loss(after_mistakes):
    _, known = after_mistakes
    assert known["good"] is None and known["built-in"] is None
    assert {"z_loss", "vector_loss", "focal_loss"} < {*known["catalogue"]}
    assert not {f"{mistake}_loss" for mistake in MISTAKES if mistake != "leaves"} & {*known["catalogue"]}


def test_a_loss_of_your_own_is_checked_as_strictly(after_mistakes):
    _, known = after_mistakes
    assert (
        "unknown parameter 'q'" in known["typo"]
        and "has the parameters: z, class_weights, effective_number_beta, weight" in known["typo"]
    )


def test_an_unknown_loss_tells_why_a_plugin_did_not_load(after_mistakes):
    _, known = after_mistakes
    assert "unknown loss 'bad_import_loss'" in known["failed"] and "No module named 'torhc'" in known["failed"]


def test_a_missing_plugin_says_where_it_was_looked_for(after_mistakes):
    folder, known = after_mistakes
    (reason,) = [reason for plugin, reason in known["failures"].items() if plugin.startswith("missing ")]
    assert "no module 'missing', and no file missing.py in" in reason and str(folder) in reason


def test_a_package_that_leaves_python_breaks_no_other_loss(after_mistakes):
    _, known = after_mistakes
    assert known["failures"]["leaving.losses (LUDWIG_LOSSES_PLUGINS)"] == "SystemExit: 3"


def test_a_loss_that_is_no_number_names_its_class_and_file(after_mistakes):
    folder, known = after_mistakes
    assert known["vector"].startswith("TypeError: ZLoss (")
    assert str(folder / "vector.py") in known["vector"] and "got shape (2,)" in known["vector"]


def test_a_loss_without_class_weights_trains_on_any_feature(after_mistakes):
    _, known = after_mistakes
    assert known["plain"][:2] == [1, None]


def test_a_loss_of_your_own_may_be_a_term(after_mistakes):
    _, known = after_mistakes
    assert {"loss_plain_loss", "loss_z_loss"} < {*known["plain"][2]}
    assert "loss.terms[0].z (output feature 'y'): got 0, expected a number in (0, 1]" in known["term"]
