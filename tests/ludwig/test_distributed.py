"""Beyond one process: torchrun, Ray and hyperparameter search, for `make test-distributed`."""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml

import commands
import matrix
import train_program
from ranks import launch

pytestmark = pytest.mark.distributed

SIZES = {0: 160, 1: 42, 2: 38}


def frame(sizes: dict[int, int]) -> pd.DataFrame:
    """Two views of each example in consecutive rows; the vector to learn starts with the number of the pair."""
    generator = np.random.default_rng(0)
    rows = sum(sizes.values())
    number = np.arange(rows) // 2
    kind = number % 3
    views = generator.normal(size=(rows, 4)) + 2 * np.eye(4)[kind]
    return pd.DataFrame(
        {
            "x": [" ".join(f"{value:.4f}" for value in row) for row in views],
            "v": [f"{pair} 0 1" for pair in number],
            "c": np.array(["red", "green", "other"])[kind],
            "q": views[:, 0] + generator.normal(size=rows),
            "split": np.repeat(list(sizes), list(sizes.values())),
        }
    )


def config(vector: dict, category: dict, **trainer) -> dict:
    return {
        "input_features": [{"name": "x", "type": "vector"}],
        "output_features": [
            {"name": "v", "type": "vector", "loss": {"type": "nt_xent_loss", "temperature": 0.3, **vector}},
            {"name": "c", "type": "category", "loss": category},
        ],
        "preprocessing": {"split": {"type": "fixed"}},
        "trainer": {
            "epochs": 3,
            "learning_rate": 0.05,
            "learning_rate_scaling": "constant",
            "optimizer": {"type": "sgd"},
            "eval_batch_size": 64,
            "validation_field": "c",
            "validation_metric": "accuracy",
            **trainer,
        },
    }


def train(ranks: int, configuration: dict, folder: pathlib.Path, *, forked: bool = True) -> list[dict]:
    """Train on some ranks, and return what each of them ended up with.

    Ranks are forked (see :mod:`commands`), or started from nothing, by torchrun itself.
    """
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))
    arguments = [str(folder), "--config", "config.yaml", "--dataset", "data.csv", "--output_directory", f"on{ranks}"]
    if not forked:
        launch(
            "torchrun", "--standalone", "--nproc-per-node", str(ranks), train_program.__file__, *arguments, cwd=folder
        )
    elif ranks == 1:
        commands.run(train_program.main, *arguments, folder=folder, log="alone.txt")
    else:
        commands.fork_ranks(ranks, train_program.main, *arguments, folder=folder)
    return [torch.load(folder / f"rank{rank}of{ranks}.pt", weights_only=False) for rank in range(ranks)]


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def test_two_ranks_train_the_model_of_one_process_with_the_whole_batch(tmp_path):
    frame(SIZES).to_csv(tmp_path / "data.csv", index=False)
    losses = {"pairing": "consecutive"}, {"type": "focal_loss", "alpha": {"red": 0.2, "green": 0.5, "other": 1.0}}

    def configuration(batch_size: int) -> dict:
        made = config(*losses, batch_size=batch_size)
        # Of a column that is not in the data. Its centre, radius and threshold are parameters, too.
        made["output_features"].append({"name": "a", "type": "anomaly", "loss": {"type": "deep_svdd"}})
        # Its offsets are found by some of the validation rows of all ranks, and are parameters, too.
        quantiles = {"type": "quantile_loss", "calibrate": True, "calibration_share": 0.5}
        made["output_features"].append({"name": "q", "type": "number", "loss": quantiles})
        return made

    first, second = train(2, configuration(batch_size=16), tmp_path, forked=False)
    assert difference(first["parameters"], second["parameters"]) == 0

    # Every rank has half of the rows, in whole pairs, and no row is on both.
    for ours, theirs in zip(first["rows"], second["rows"], strict=True):
        assert ours[::2] == ours[1::2] and len(ours) == 16 and {*ours}.isdisjoint(theirs)
    assert sum(map(len, first["rows"])) == 3 * SIZES[0] // 2

    (alone,) = train(1, configuration(batch_size=32), tmp_path)
    assert len(alone["rows"]) == len(first["rows"]) == 15
    assert difference(first["parameters"], alone["parameters"]) < 1e-5
    assert any(name.endswith("decoder_obj.center") for name in alone["parameters"])
    assert [float(value.abs().min()) > 0 for name, value in alone["parameters"].items() if "offsets" in name] == [True]
    measured = [("c", "accuracy"), ("c", "loss"), ("v", "mean_squared_error"), ("a", "loss")]
    measured += [("q", "loss"), ("q", "pinball_loss"), ("q", "interval_width")]
    for split in ("validation", "test"):
        for feature, metric in measured:
            together = first["metrics"][split][feature][metric]
            assert together == second["metrics"][split][feature][metric]
            assert together == pytest.approx(alone["metrics"][split][feature][metric], rel=1e-6, abs=1e-5)

    # One rank writes.
    (folder,) = (tmp_path / "on2").iterdir()
    statistics = json.loads((folder / "training_statistics.json").read_text())
    assert statistics["validation"]["c"]["accuracy"] == first["metrics"]["validation"]["c"]["accuracy"]


def test_uneven_shards_and_metrics_of_all_ranks(tmp_path):
    sizes = {0: 77, 1: 31, 2: 45}
    frame(sizes).to_csv(tmp_path / "data.csv", index=False)
    configuration = config(
        {"pairing": "target"}, {"type": "entropic_open_set", "background_class": "other"}, batch_size=16
    )
    # Of a column that is not in the data. What either rank leaves out differs, the cutoff that is kept does not.
    loss = {"type": "deep_svdd", "contamination": 0.1}
    configuration["output_features"].append({"name": "a", "type": "anomaly", "loss": loss})
    first, second = train(2, configuration, tmp_path)
    assert difference(first["parameters"], second["parameters"]) == 0
    (cutoff,) = (value for name, value in first["parameters"].items() if name.endswith("decoder_obj.cutoff"))
    assert 0 < cutoff < 1e3
    assert len(first["rows"]) == len(second["rows"]) == 9

    (model,) = (tmp_path / "on2").glob("*/model")
    evaluate = ("evaluate", "--model_path", str(model), "--dataset", "data.csv", "--split", "test")
    output = ("--output_directory", "evaluated")
    commands.run(commands.ludwig, *evaluate, *output, folder=tmp_path, log="evaluate.txt")
    alone = json.loads((tmp_path / "evaluated" / "test_statistics.json").read_text())["c"]
    best = int(np.argmax(first["metrics"]["validation"]["c"]["accuracy"]))
    for metric in ("accuracy", "open_set_auroc", "oscr", "closed_set_accuracy"):
        assert first["metrics"]["test"]["c"][metric][best] == pytest.approx(alone[metric], abs=1e-6)


OWN_LOSS = '''
from ludwig_losses import ClassificationLoss, ClassificationLossConfig, loss_type, register_loss
from torch.nn.functional import cross_entropy


class OwnConfig(ClassificationLossConfig):
    """A loss from elsewhere."""

    type: str = loss_type("own_loss")


@register_loss(OwnConfig, features=["category"])
class Own(ClassificationLoss):
    def forward(self, preds, target):
        return self.mean(cross_entropy(preds.float(), target.long(), reduction="none"), target)
'''


@pytest.fixture
def with_ray(tmp_path):
    """Run the program with a Ray that leaves nothing behind: no process, and no file in the home directory."""
    (tmp_path / "own_loss.py").write_text(OWN_LOSS)
    home = tmp_path / "home"
    home.mkdir()
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="ray") as temporary:
        variables = {
            "HOME": str(home),
            "RAY_TMPDIR": temporary,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_CHDIR_TO_TRIAL_DIR": "0",  # Workers stay in the directory of their node.
            "RAY_worker_niceness": "0",  # Not last in line where other tests run beside it.
            "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "300000000",
            "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",  # Ray starts 32 processes for each file that it reads.
            "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # Thousands of lines.
            # Processes that have imported Ludwig wait for the next task.
            "RAY_idle_worker_killing_time_threshold_ms": "600000",
            "RAY_num_workers_soft_limit": "6",
            "LUDWIG_LOSSES_PLUGINS": f"{tmp_path / 'own_loss.py'},{matrix.NARROW_UNETS}",
        }

        def run(*arguments: str) -> str:
            program = pathlib.Path(__file__).with_name("ray_program.py")
            command = (sys.executable, "-W", "ignore", str(program), *arguments)
            return launch(*command, cwd=tmp_path, limit=1800, **variables)

        yield run
        left = [
            process
            for process in psutil.process_iter(["cmdline"])
            if temporary in " ".join(process.info["cmdline"] or [])
        ]
        _, alive = psutil.wait_procs(left, timeout=20)
        for process in alive:
            process.kill()
        assert not alive


def witnessed(folder: pathlib.Path, rank: int, ranks: int) -> dict:
    """Return what a worker ended up with."""
    return torch.load(folder / f"rank{rank}of{ranks}.pt", weights_only=False)


def write_trainings(folder: pathlib.Path) -> None:
    """Write what the program trains: configurations and data, by name."""
    losses = {"pairing": "target"}, {"type": "focal_loss", "alpha": {"red": 0.2, "green": 0.5, "other": 1.0}}
    # All rows to train on are one batch, so that it does not matter which worker has which.
    rows = frame({0: 120, 1: 31, 2: 45})
    # As frequent classes would have numbers that differ from one backend to the other.
    rows["c"] = np.array(["red", "red", "red", "green", "green", "other"])[np.arange(len(rows)) // 2 % 6]
    together = config(*losses, batch_size=60, eval_batch_size=8)
    together["output_features"] += [
        {"name": "d", "type": "category", "loss": {"type": "own_loss"}},
        {"name": "a", "type": "anomaly", "loss": {"type": "deep_svdd"}, "decoder": {"bias": False}},
    ]
    images, pictures = matrix.write("image", {"type": "focal_loss"}, folder)
    images["preprocessing"] = {"split": {"type": "fixed"}}
    images["trainer"] = {
        **together["trainer"],
        "batch_size": 8,
        "eval_batch_size": 2,
        "validation_field": "y",
        "validation_metric": "mean_iou",
    }
    trainings = {
        "rows": (together, rows.assign(d=rows["c"], a=0.0)),
        "images": (images, pd.read_csv(pictures).assign(split=[0] * 16 + [1] * 4 + [2] * 4)),
        "uneven": (config({"pairing": "target"}, {"type": "poly_loss"}, batch_size=16), frame({0: 77, 1: 31})),
        "consecutive": (config({}, {"type": "poly_loss"}, batch_size=16), frame({0: 77, 1: 31})),
    }
    for name, (configuration, data) in trainings.items():
        (folder / name).mkdir()
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(configuration))
        data.to_csv(folder / f"{name}.csv", index=False)


def test_workers_of_ray_train_one_model(with_ray, tmp_path):
    write_trainings(tmp_path)
    with_ray("workers", str(tmp_path))
    assert json.loads((tmp_path / "shares.json").read_text()) == {
        "7 rows, equal: True": [[0, 1, 2, 3], [4, 5, 6, 0]],
        "7 rows, equal: False": [[0, 1, 2], [3, 4, 5, 6]],
        "1 rows, equal: True": [[0], [0]],
    }
    for what in ("rows", "images"):
        first, second, alone = (witnessed(tmp_path / what, *which) for which in ((0, 2), (1, 2), (0, 1)))
        assert first["steps"] == second["steps"] == alone["steps"] == 3
        assert difference(first["parameters"], second["parameters"]) == 0
        assert difference(first["parameters"], alone["parameters"]) < 1e-5
        # Of all rows of the validation data, which the workers cannot share equally; losses are averages over batches.
        assert first["metrics"] == second["metrics"]
        for name in first["metrics"].keys() - {"loss"}:
            assert first["metrics"][name] == pytest.approx(alone["metrics"][name], abs=1e-5)
        assert {first["directory"], second["directory"]} == {str(tmp_path / node) for node in ("first", "second")}

    under_ray, alone = (json.loads((tmp_path / f"{where}.json").read_text()) for where in ("ray", "local"))
    assert under_ray["metrics"] == pytest.approx(alone["metrics"], abs=1e-6)
    assert len(under_ray["rows"]) == len(alone["rows"]) == 196
    # Ray may return the rows in another order. Rounded, they sort alike.
    rows, expected = (sorted([round(p, 4) for p in row] for row in seen["rows"]) for seen in (under_ray, alone))
    np.testing.assert_allclose(rows, expected, atol=2e-4)

    refused = json.loads((tmp_path / "refused.json").read_text())
    for name, expected in REFUSALS.items():
        assert expected in refused[name]["message"], name
    assert not [*(tmp_path / "uneven").rglob("training_statistics.json")]


REFUSALS = {
    "many": "backend.trainer.num_workers: got 9, but the Ray cluster has room for 2 workers with 1 CPU each (2 CPU on 2 "
    "machines). Write num_workers: 2, or start Ray with more",
    "large": "got 2, but the Ray cluster has room for 0 workers with 2 CPU each (2 CPU on 2 machines). Write less into "
    "backend.trainer.resources_per_worker, or",
    "strategy": "backend.trainer.strategy: got {'type': 'fsdp'}, with which Ludwig cannot train under Ray",
    "consecutive": "nt_xent_loss with consecutive pairs needs backend: local",
    "killed": "WorkerGroupError",
}


def test_trials_of_a_search_know_every_loss_and_what_cannot_be_compared_is_said(with_ray, tmp_path):
    data = frame({0: 120, 1: 40, 2: 40})
    data.assign(d=data["c"]).to_csv(tmp_path / "data.csv", index=False)
    configuration = config({}, {"type": "focal_loss", "gamma": 1.0}, batch_size=32, epochs=1)
    configuration["output_features"] = [
        configuration["output_features"][1],
        {"name": "d", "type": "category", "loss": {"type": "focal_loss"}},
    ]
    configuration["hyperopt"] = {
        "parameters": {
            "c.loss.type": {"space": "grid_search", "values": ["focal_loss", "own_loss"]},
            "d.loss.gamma": {"space": "uniform", "lower": 1, "upper": 3},
        },
        "executor": {"type": "ray", "num_samples": 1, "cpu_resources_per_trial": 1},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration))
    output = with_ray("search", str(tmp_path))
    assert "compares values on different scales, because the search varies c.loss.type, d.loss.gamma" in output
    (statistics,) = tmp_path.glob("results/**/hyperopt_statistics.json")
    trials = json.loads(statistics.read_text())["hyperopt_results"]
    tried = sorted(str(trial["parameters"]) for trial in trials)
    assert len(trials) == 2 and all(any(name in text for text in tried) for name in ("focal_loss", "own_loss"))
    assert all(np.isfinite(trial["metric_score"]) for trial in trials)
