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


def train(ranks: int, configuration: dict, folder: pathlib.Path) -> list[dict]:
    """Train on some ranks, and return what each of them ended up with."""
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))
    program = [train_program.__file__, str(folder), "--config", "config.yaml", "--dataset", "data.csv"]
    starter = [sys.executable] if ranks == 1 else ["torchrun", "--standalone", "--nproc-per-node", str(ranks)]
    launch(*starter, *program, "--output_directory", f"on{ranks}", cwd=folder)
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
        return made

    first, second = train(2, configuration(batch_size=16), tmp_path)
    assert difference(first["parameters"], second["parameters"]) == 0

    # Every rank has half of the rows, in whole pairs, and no row is on both.
    for ours, theirs in zip(first["rows"], second["rows"], strict=True):
        assert ours[::2] == ours[1::2] and len(ours) == 16 and {*ours}.isdisjoint(theirs)
    assert sum(map(len, first["rows"])) == 3 * SIZES[0] // 2

    (alone,) = train(1, configuration(batch_size=32), tmp_path)
    assert len(alone["rows"]) == len(first["rows"]) == 15
    assert difference(first["parameters"], alone["parameters"]) < 1e-5
    assert any(name.endswith("decoder_obj.center") for name in alone["parameters"])
    for split in ("validation", "test"):
        for feature, metric in (("c", "accuracy"), ("v", "mean_squared_error")):
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
    first, second = train(2, configuration, tmp_path)
    assert difference(first["parameters"], second["parameters"]) == 0
    assert len(first["rows"]) == len(second["rows"]) == 9

    (model,) = (tmp_path / "on2").glob("*/model")
    evaluate = (
        "--model_path",
        str(model),
        "--dataset",
        "data.csv",
        "--split",
        "test",
        "--output_directory",
        "evaluated",
    )
    launch("ludwig", "evaluate", *evaluate, cwd=tmp_path)
    alone = json.loads((tmp_path / "evaluated" / "test_statistics.json").read_text())["c"]
    best = int(np.argmax(first["metrics"]["validation"]["c"]["accuracy"]))
    for metric in ("accuracy", "open_set_auroc", "oscr"):
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

        def run(what: str, configuration: dict) -> str:
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration))
            variables = {
                "HOME": str(home),
                "RAY_TMPDIR": temporary,
                "LUDWIG_LOSSES_PLUGINS": str(tmp_path / "own_loss.py"),
            }
            command = [
                sys.executable,
                "-W",
                "ignore",
                str(pathlib.Path(__file__).with_name("ray_program.py")),
                what,
                str(tmp_path),
            ]
            return launch(*command, cwd=tmp_path, RAY_USAGE_STATS_ENABLED="0", **variables)

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


def test_two_workers_of_ray_know_every_loss_and_are_said_to_be_two_models(with_ray, tmp_path):
    data = frame({0: 120, 1: 40})
    data.assign(d=data["c"]).to_csv(tmp_path / "data.csv", index=False)
    configuration = config({"pairing": "target"}, {"type": "focal_loss"}, batch_size=32, epochs=1)
    configuration["output_features"].append({"name": "d", "type": "category", "loss": {"type": "own_loss"}})
    configuration["backend"] = {"type": "ray", "trainer": {"num_workers": 2, "use_gpu": False}}
    output = with_ray("train", configuration)
    assert "2 training workers: this Ludwig trains 2 independent models" in output
    losses = json.loads((tmp_path / "losses.json").read_text())
    assert all(np.isfinite(losses[feature]).all() and losses[feature][-1] > 0 for feature in ("v", "c", "d"))


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
    output = with_ray("search", configuration)
    assert "compares values on different scales, because the search varies c.loss.type, d.loss.gamma" in output
    (statistics,) = tmp_path.glob("results/**/hyperopt_statistics.json")
    trials = json.loads(statistics.read_text())["hyperopt_results"]
    tried = sorted(str(trial["parameters"]) for trial in trials)
    assert len(trials) == 2 and all(any(name in text for text in tried) for name in ("focal_loss", "own_loss"))
    assert all(np.isfinite(trial["metric_score"]) for trial in trials)
