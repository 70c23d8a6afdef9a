"""`LUDWIG_LOSSES_COMPILE=1`: what is compiled computes the same, and what cannot be compiled goes on with one warning."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from torch import Tensor

import matrix
from ludwig_losses.declare import compiled
from ludwig_losses.declare.compiled import MOST_SHAPES, Compiled

FOCAL_AND_POLY = {"type": "compound_loss", "terms": [{"type": "focal_loss"}, {"type": "poly_loss", "weight": 0.5}]}


@pytest.fixture(scope="module")
def inductor_folder(tmp_path_factory):
    """Nothing is found that an earlier process has compiled; headers are compiled once."""
    return str(tmp_path_factory.mktemp("inductor"))


@pytest.fixture(autouse=True)
def switched_on(monkeypatch, inductor_folder):
    monkeypatch.setenv("LUDWIG_LOSSES_COMPILE", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", inductor_folder)
    monkeypatch.setattr(compiled, "_told", set())
    torch.compiler.reset()


@pytest.fixture
def without_inductor(monkeypatch):
    """All of torch's compiler but the generation of code, which takes seconds."""
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: whole(function, backend="aot_eager", **options))


def loss_of(feature: str, section: dict) -> torch.nn.Module:
    return create_loss(get_loss_cls(feature, section["type"]).from_dict(copy.deepcopy(section)))


def value_and_gradient(loss: torch.nn.Module, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    value = loss(leaf * 1.0, target)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize(
    ("feature", "section", "shape"),
    [
        ("category", FOCAL_AND_POLY, (7, 5)),
        ("category", {"type": "sparsemax_loss", "class_weights": [1.0, 2.0, 3.0, 4.0, 5.0]}, (7, 5)),
        ("image", {"type": "lovasz_softmax_loss"}, (2, 3, 8, 8)),
    ],
    ids=["terms", "weights", "masks"],
)
def test_a_compiled_loss_is_the_same(feature, section, shape, monkeypatch):
    logits, target = torch.randn(shape), torch.randint(shape[1], (shape[0], *shape[2:]))
    loss = loss_of(feature, section)
    got = value_and_gradient(loss, logits, target)
    with torch.compiler.set_stance("fail_on_recompile"):
        for value, again in zip(got, value_and_gradient(loss, logits, target), strict=True):
            torch.testing.assert_close(value, again)
    assert len(loss._compiled._known) == 1 and not loss._compiled._failed
    monkeypatch.delenv("LUDWIG_LOSSES_COMPILE")
    plain = loss_of(feature, section)
    assert plain._compiled is None
    for value, expected in zip(got, value_and_gradient(plain, logits, target), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)


def test_without_a_compiler_it_goes_on_with_one_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no_such_compiler",))
    loss, other = loss_of("category", {"type": "focal_loss"}), loss_of("category", {"type": "focal_loss"})
    logits, target = torch.randn(7, 5), torch.arange(7) % 5
    with pytest.warns(RuntimeWarning, match="FocalLoss is not compiled") as warned:
        values = [value_and_gradient(each, logits, target) for each in (loss, loss, other)]
    assert len([each for each in warned if "not compiled" in str(each.message)]) == 1
    assert loss._compiled._failed
    monkeypatch.delenv("LUDWIG_LOSSES_COMPILE")
    expected = value_and_gradient(loss_of("category", {"type": "focal_loss"}), logits, target)
    for value, gradient in values:
        assert value.equal(expected[0]) and gradient.equal(expected[1])


@pytest.mark.usefixtures("without_inductor")
def test_each_shape_is_compiled_and_not_more_than_some():
    loss = loss_of("category", {"type": "focal_loss"})
    for rows in range(1, MOST_SHAPES + 1):
        value_and_gradient(loss, torch.randn(rows, 3), torch.zeros(rows, dtype=torch.long))
    assert len(loss._compiled._known) == MOST_SHAPES
    batch = torch.randn(MOST_SHAPES + 1, 3), torch.zeros(MOST_SHAPES + 1, dtype=torch.long)
    with pytest.warns(RuntimeWarning, match="FocalLoss is compiled for 16 shapes"):
        value_and_gradient(loss, *batch)
    assert len(loss._compiled._known) == MOST_SHAPES and not loss._compiled._failed


@pytest.mark.usefixtures("without_inductor")
def test_a_wrong_batch_has_the_error_of_the_loss():
    loss = loss_of("category", {"type": "focal_loss"})
    with pytest.raises(ValueError, match="target"):
        loss(torch.randn(7, 5), torch.zeros(6, dtype=torch.long))
    value_and_gradient(loss, torch.randn(7, 5), torch.zeros(7, dtype=torch.long))
    assert not loss._compiled._failed and len(loss._compiled._known) == 1


@pytest.mark.usefixtures("without_inductor")
def test_a_copy_is_compiled_anew():
    loss = loss_of("category", {"type": "focal_loss"})
    value = loss(torch.ones(7, 5), torch.zeros(7, dtype=torch.long))
    for copied in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert isinstance(copied._compiled, Compiled) and not copied._compiled._known
        torch.testing.assert_close(copied(torch.ones(7, 5), torch.zeros(7, dtype=torch.long)), value)
        assert copied._compiled._known


@pytest.mark.usefixtures("without_inductor")
def test_what_keeps_a_state_is_not_compiled():
    loss = loss_of("vector", {"type": "nt_xent_loss"})
    loss(torch.randn(8, 5), torch.arange(8) // 2)
    assert not loss._compiled._known


@pytest.mark.usefixtures("without_inductor")
def test_a_training_run_compiles_its_loss(tmp_path):
    config, path = matrix.write("category", {"type": "focal_loss"}, tmp_path)
    model = LudwigModel(config)
    model.train(dataset=str(path), output_directory=str(tmp_path / "results"), skip_save_processed_input=True)
    (feature,) = model.model.output_features.values()
    assert feature.train_loss_function._compiled._known
    assert not feature.train_loss_function._compiled._failed
