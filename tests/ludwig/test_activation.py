"""The losses are there in every process, however the package was installed, and only then."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import sysconfig
import venv

import pytest

import ludwig_losses

CHECKOUT = pathlib.Path(ludwig_losses.__file__).parents[1]

# What a process has before it imports anything.
HOOKED = "import sys; print(*(finder.__module__ for finder in sys.meta_path[:1]))"
# What a process knows after importing nothing but Ludwig.
PROBE = """
import sys, warnings
warnings.simplefilter("error", RuntimeWarning)
from ludwig.schema.model_types.base import ModelConfig
feature = {"name": "y", "type": "category", "loss": {"type": "focal_loss", "gamma": 3}}
config = {"input_features": [{"name": "x", "type": "number"}], "output_features": [feature]}
print("GAMMA", ModelConfig.from_dict(config).output_features[0].loss.gamma, "ludwig_losses" in sys.modules)
"""


def python(executable: pathlib.Path, program: str) -> str:
    environment = {"PATH": "", "HOME": str(pathlib.Path.home())}
    done = subprocess.run(
        [str(executable), "-c", program], capture_output=True, text=True, env=environment, cwd="/", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def empty(tmp_path) -> pathlib.Path:
    """A Python with everything that this one has installed, but without this package's start-up files."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "parent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return environment / "bin" / "python"


def pip(*arguments: str | pathlib.Path, into: pathlib.Path | None = None) -> None:
    target = ["--python", str(into)] if into else []
    done = subprocess.run(
        [sys.executable, "-m", "pip", *target, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("way", ["wheel", "editable"])
def test_every_way_of_installing_activates_and_uninstalling_does_not(way, empty):
    assert "ludwig_losses" not in python(empty, HOOKED)
    # pip makes a wheel of a directory. The parent's copy would count as installed already.
    source = ["--editable", CHECKOUT] if way == "editable" else [CHECKOUT]
    pip("install", "--no-deps", "--force-reinstall", "--ignore-installed", *source, into=empty)
    assert python(empty, HOOKED).split() == ["ludwig_losses._startup"]
    if way == "wheel":  # What follows from the hook is the same.
        assert "GAMMA 3.0 True" in python(empty, PROBE)
        site = next(empty.parents[1].glob("lib/python*/site-packages"))
        assert (site / "ludwig_losses.start").read_text().strip() == "ludwig_losses._startup:install"
    pip("uninstall", "--yes", "ludwig-losses", into=empty)
    assert not list(empty.parents[1].glob("lib/python*/site-packages/*ludwig_losses*"))
    assert "ludwig_losses" not in python(empty, HOOKED)


LATE = """
import logging, sys
import ludwig.api, ludwig.experiment
import ludwig_losses
import numpy as np, pandas as pd
generator = np.random.default_rng(0)
vectors = [" ".join(map("{:.3f}".format, row)) for row in generator.normal(size=(80, 3))]
frame = pd.DataFrame({"x": vectors, "v": [f"{row // 2} 1" for row in range(80)], "c": ["a", "b"] * 40})
from ludwig_losses.losses.nt_xent import NTXentLoss
forward, torn = NTXentLoss.forward, []
def spy(self, preds, target):
    torn.append(bool((target[0::2][: len(target) // 2, 0] != target[1::2, 0]).any()))
    return forward(self, preds, target)
NTXentLoss.forward = spy
model = ludwig.api.LudwigModel({
    "input_features": [{"name": "x", "type": "vector"}],
    "output_features": [
        {"name": "v", "type": "vector", "loss": {"type": "nt_xent_loss"}},
        {"name": "c", "type": "category", "loss": {"type": "sparsemax_loss", "class_weights": {"a": 1, "b": 9}}},
    ],
    "trainer": {"epochs": 1, "batch_size": 16, "eval_batch_size": 16},
}, logging_level=logging.ERROR)
model.train(frame, output_directory=sys.argv[1], skip_save_processed_input=True)
features = model.model.output_features
names = model.training_set_metadata["c"]["idx2str"]
weights = features.get("c").train_loss_function.class_weights.tolist()
print("TORN", any(torn), len(torn) > 3, dict(zip(names, weights)), type(features.get("c").prediction_module.calibration_module).__name__)
"""


def test_a_ludwig_that_is_imported_already_is_completed_everywhere(empty, tmp_path):
    environment = {"PATH": "", "HOME": str(pathlib.Path.home()), "PYTHONPATH": str(CHECKOUT)}
    command = [str(empty), "-c", LATE, str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert "TORN False True {'a': 1.0, 'b': 9.0} EntmaxProbabilities" in done.stdout, done.stdout + done.stderr[-3000:]
