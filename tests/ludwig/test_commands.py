"""What `ludwig-losses` prints, and its exit status; on both hosts."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from ludwig_losses.cli import main

FEATURES = {
    "input_features": [{"name": "x", "type": "number"}],
    "output_features": [{"name": "y", "type": "category", "loss": {"type": "focal_loss"}}],
}


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main([*map(str, arguments)])
    return status, *capsys.readouterr()


def written(tmp_path: pathlib.Path, config: object) -> pathlib.Path:
    path = tmp_path / "config.yaml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return path


def with_output(**output: object) -> dict:
    return {**FEATURES, "output_features": [{"name": "y", "type": "category", **output}]}


def test_a_valid_configuration(capsys, tmp_path):
    path = written(tmp_path, FEATURES)
    assert run(capsys, "check", path) == (0, f"{path}: the configuration is valid.\n", "")


NO_CONFIGURATION = {
    "table": ("x,y\n1,a\n", "got the text 'x,y 1,a', expected a mapping with input_features and output_features."),
    "list": ("- a\n- b\n", "got a list, expected a mapping with input_features and output_features."),
    "nothing": ("", "got an empty file, expected a mapping with input_features and output_features."),
    "half": ("input_features: []\n", "output_features is missing."),
    "names": ("input_features: [x]\noutput_features: [y]\n", "input_features: got ['x'], expected a list of mappings, one for each feature."),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_CONFIGURATION)
def test_what_is_no_configuration_is_told_in_one_line(kind, capsys, tmp_path):
    text, expected = NO_CONFIGURATION[kind]
    path = written(tmp_path, text)
    assert run(capsys, "check", path) == (2, "", f"{path}: {expected}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [1\nc: 2\n", "line 3: this is not YAML: expected ',' or ']', but got"),
        ("a:\n\tb: 1\n", "line 2: this is not YAML: found character '\\t' that cannot start any token"),
        ("a: 1\nb: {c: 1, c: 2}\n", "line 2: this is not YAML: the key 'c' stands twice"),
    ],
)
def test_yaml_that_is_wrong_is_told_with_its_line(text, expected, capsys, tmp_path):
    path = written(tmp_path, text)
    status, out, err = run(capsys, "check", path)
    assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith(f"{path}, {expected}")


def test_files_that_cannot_be_read(capsys, tmp_path):
    (tmp_path / "model.bin").write_bytes(bytes(range(128, 256)))
    for name, expected in (("", "Is a directory"), ("none.yaml", "No such file"), ("model.bin", "not a text file")):
        status, out, err = run(capsys, "check", tmp_path / name)
        assert (status, out, err.count("\n")) == (2, "", 1) and expected in err and str(tmp_path / name) in err
    path = written(tmp_path, FEATURES)
    assert run(capsys, "check", path, "--dataset", "none.csv") == (2, "", "none.csv: there is no such file.\n")


OURS, LUDWIGS = {"type": "focal_loss"}, {"type": "softmax_cross_entropy"}
OUTPUT = (
    "output_features[0].{} (output feature 'y'): Ludwig reads no loss here. Did you mean output_features[0].loss{}?"
)
MISPLACED = [
    (with_output(Loss=OURS), OUTPUT.format("Loss", "")),
    (with_output(Loss=LUDWIGS), OUTPUT.format("Loss", "")),
    (with_output(loss_type="focal_loss"), OUTPUT.format("loss_type", ", written `loss: {type: focal_loss}`")),
    (with_output(losses=[LUDWIGS, OURS]), OUTPUT.format("losses", "")),
    (with_output(focal_loss={"gamma": 1}), OUTPUT.format("focal_loss", " with `type: focal_loss`")),
    (with_output(decoder={"loss": OURS}), OUTPUT.format("decoder.loss", "")),
    (
        {**with_output(), "defaults": {"loss": OURS}},
        "defaults.loss: Ludwig reads no loss here. Did you mean defaults.category.loss?",
    ),
    (
        {**with_output(), "defaults": {"category": {"Loss": OURS}}},
        "defaults.category.Loss: Ludwig reads no loss here. Did you mean defaults.category.loss?",
    ),
    (
        {**with_output(), "input_features": [{"name": "x", "type": "number", "loss": OURS}]},
        "input_features[0].loss: Ludwig reads no loss here. Did you mean output_features[0].loss?",
    ),
    ({**with_output(), "loss": LUDWIGS}, "loss: Ludwig reads no loss here. Did you mean output_features[0].loss?"),
]


@pytest.mark.parametrize(("config", "expected"), MISPLACED, ids=[text[:50] for _, text in MISPLACED])
def test_sections_that_ludwig_passes_over(config, expected, capsys, tmp_path):
    from ludwig.error import ConfigValidationError
    from ludwig.schema.model_types.base import ModelConfig

    assert run(capsys, "check", written(tmp_path, config)) == (2, "", f"{expected}\n")
    if "softmax" in str(config) and "focal" not in str(config):
        ModelConfig.from_dict(config)  # trains as it does without the pack
    else:
        with pytest.raises(ConfigValidationError) as caught:
            ModelConfig.from_dict(config)
        assert str(caught.value) == expected


def test_class_names_are_checked_against_the_data(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data.csv"
    data.write_text("x,y\n" + "".join(f"{i},{'aabd'[i % 4]}\n" for i in range(60)))
    path = written(tmp_path, with_output(loss={**OURS, "ignore_index": "b"}))
    before = sorted(tmp_path.rglob("*"))
    status, out, err = run(capsys, "check", path, "--dataset", data)
    assert (status, err) == (0, "")
    valid, found = out.splitlines()
    assert valid == f"{path}: the configuration is valid."
    assert found.startswith("output feature 'y': focal_loss, classes in this order: [") and "'a', 'b'" in found, found
    for wrong, expected in (
        ({"ignore_index": "c"}, "output_features[0].loss.ignore_index (output feature 'y'): 'c' does not fit the classes"),
        ({"class_weights": [1]}, "output_features[0].loss.class_weights (output feature 'y'): [1"),
        ({"ignore_index": ["a", "b", "d"]}, "output_features[0].loss (output feature 'y'): ignore_index: ["),
    ):  # fmt: skip
        written(tmp_path, with_output(loss={**OURS, "alpha": None, **wrong}))
        status, out, err = run(capsys, "check", path, "--dataset", data)
        assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith(expected), err
    assert sorted(tmp_path.rglob("*")) == before


def test_explain(capsys):
    status, out, _ = run(capsys, "explain", "focal")
    assert status == 0 and out.startswith(
        "focal_loss (also: focal), for binary, category, image, sequence, set, text features\n"
    )
    assert "  gamma: 2.0\n" in out and "Allowed: a number in [0, 20]." in " ".join(out.split())
    status, out, _ = run(capsys, "explain", "softmax_cross_entropy")
    assert status == 0 and out.startswith("softmax_cross_entropy, for category, image")
    assert (
        "\nA loss of Ludwig's own.\n" in out and "  confidence_penalty: 0\n" in out and "  class_weights: null\n" in out
    )
    status, out, err = run(capsys, "explain", "focal_los")
    assert (status, out) == (2, "") and err.startswith("There is no loss 'focal_los'. Did you mean 'focal_loss'?")


def test_version(capsys):
    import ludwig.globals
    import torch

    with pytest.raises(SystemExit) as exit_of_argparse:
        main(["--version"])
    out = capsys.readouterr().out
    assert exit_of_argparse.value.code == 0 and out.startswith("ludwig-losses 0.")
    assert f"ludwig {ludwig.globals.LUDWIG_VERSION}, torch {torch.__version__.partition('+')[0]}" in out
