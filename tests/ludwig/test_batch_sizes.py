"""Losses that compare rows never train, or choose a model, with batches in which there is nothing to compare."""

from __future__ import annotations

import itertools
import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.error import ConfigValidationError
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.schema.model_types.base import ModelConfig
from ludwig.utils.batch_size_tuner import BatchSizeEvaluator

from ludwig_losses.host.data import batch_sizes
from ludwig_losses.losses.nt_xent import NTXentLoss

BY_TARGET = {"type": "nt_xent_loss", "pairing": "target"}
CONSECUTIVE = {"type": "nt_xent_loss"}
SQUARED = {"type": "mean_squared_error"}


def learns(config, rows: int) -> bool:
    """Whether some batches of so many rows, one after the other, have a gradient."""
    for seed in range(20):
        generator, loss = torch.Generator().manual_seed(seed), create_loss(config)
        for _ in range(4):
            embeddings = torch.randn(rows, 4, generator=generator, requires_grad=True)
            value = loss(embeddings, torch.randint(2, (rows, 1), generator=generator).float())
            (gradient,) = torch.autograd.grad(value, embeddings, allow_unused=True)
            if gradient is not None and gradient.abs().max() > 1e-6:
                return True
    return False


@pytest.mark.parametrize(("pairing", "bank"), itertools.product(["consecutive", "target"], [None, 1, 2, 8]), ids=str)
def test_the_fewest_rows_are_those_with_which_nt_xent_learns(pairing, bank):
    options = {"type": "nt_xent_loss", "pairing": pairing, "memory_bank": bank}
    config = get_loss_cls("vector", "nt_xent_loss").from_dict(options)
    assert [learns(config, rows) for rows in (1, 2, 3, 4)] == [rows >= config.fewest_rows for rows in (1, 2, 3, 4)]
    without = get_loss_cls("vector", "nt_xent_loss").from_dict({**options, "memory_bank": None})
    assert config.fewest_rows_in_evaluation == without.fewest_rows == 3


def configuration(loss: dict, **trainer) -> dict:
    return {
        "input_features": [{"name": "x", "type": "vector"}],
        "output_features": [{"name": "y", "type": "vector", "loss": loss}],
        "trainer": {"epochs": 2, **trainer},
    }


def frame(pairs: int) -> pd.DataFrame:
    views = np.random.default_rng(0).normal(size=(pairs, 4)).repeat(2, axis=0)
    views += np.random.default_rng(1).normal(0, 0.1, views.shape)
    targets = [f"{pair % 3} 1" for pair in range(pairs) for _ in range(2)]
    return pd.DataFrame({"x": [" ".join(f"{value:.3f}" for value in row) for row in views], "y": targets})


NEEDS = (
    "compares the rows of a batch and needs at least 3: with fewer it is the same number whatever the model is like."
)


@pytest.mark.parametrize(
    ("loss", "size", "where"),
    [
        (CONSECUTIVE, 1, "loss"),
        (CONSECUTIVE, 2, "loss"),
        (BY_TARGET, 1, "loss"),
        (BY_TARGET, 2, "loss"),
        ({"type": "compound_loss", "terms": [SQUARED, BY_TARGET]}, 2, "loss.terms[1]"),
    ],
    ids=str,
)
def test_a_batch_size_without_negatives_is_an_error(loss, size, where):
    config = ModelConfig.from_dict(configuration(loss, batch_size=size))  # as a model that was saved
    with pytest.raises(ConfigValidationError) as caught:
        batch_sizes.check_config(config)
    assert str(caught.value) == (
        f"trainer.batch_size: got {size}, but output_features[0].{where} (output feature 'y'): nt_xent_loss {NEEDS} "
        "Write a larger one, for instance batch_size: 64."
    )


@pytest.mark.parametrize(
    ("loss", "trainer"),
    [
        (CONSECUTIVE, {"batch_size": 4}),
        (BY_TARGET, {"batch_size": 3}),
        (CONSECUTIVE, {"batch_size": 32, "eval_batch_size": 2}),  # Ludwig evaluates a training with 32
        (CONSECUTIVE, {"batch_size": "auto"}),
        (CONSECUTIVE, {}),
        ({**CONSECUTIVE, "memory_bank": 8}, {"batch_size": 2}),
        ({**BY_TARGET, "memory_bank": 8}, {"batch_size": 1}),
        (CONSECUTIVE, {"batch_size": 2, "increase_batch_size_on_plateau": 2}),
        ({"type": "compound_loss", "terms": [SQUARED, {**BY_TARGET, "weight": 0}]}, {"batch_size": 1}),
        (SQUARED, {"batch_size": 1}),
    ],
    ids=str,
)
def test_what_can_learn_is_no_error(loss, trainer):
    batch_sizes.check_config(ModelConfig.from_dict(configuration(loss, **trainer)))


def test_the_command_check_says_so(capsys, tmp_path):
    import yaml

    from ludwig_losses.cli import main

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(configuration(CONSECUTIVE, batch_size=2)))
    assert main(["check", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("trainer.batch_size: got 2, but output_features[0].loss")


def train(loss: dict, data: pd.DataFrame, folder, **trainer):
    model = LudwigModel(configuration(loss, **trainer), logging_level=logging.ERROR)
    return model, model.train(data, output_directory=str(folder), skip_save_processed_input=True)


def test_a_training_in_which_the_loss_stands_still_is_refused(tmp_path):
    with pytest.raises(ConfigValidationError, match=r"^trainer\.batch_size: got 2, but output_features\[0\]\.loss"):
        train(CONSECUTIVE, frame(20), tmp_path, batch_size=2)


def test_rows_and_batches_that_could_not_choose_a_model_are_refused():
    loss = get_loss_cls("vector", "nt_xent_loss").from_dict(CONSECUTIVE)
    remembering = get_loss_cls("vector", "nt_xent_loss").from_dict({**BY_TARGET, "memory_bank": 8})
    for trainer, rows, expected in (
        (stub(loss, batch_size=8), (2, 8), r"^The training data has 2 rows, but .* Add rows to it"),
        (stub(loss, batch_size=8), (8, 2), r"^The validation data has 2 rows, but .* could not choose the best model"),
        (
            stub(remembering, batch_size=2),
            (8, 8),
            r"^trainer\.eval_batch_size: got 2, but .* the best model\. Write a larger",
        ),
    ):
        with pytest.raises(ConfigValidationError, match=expected):
            batch_sizes.refuse_small_batches(lambda *_: "trained", trainer, *map(range, rows))
    by_another = stub(remembering, batch_size=2)
    by_another.validation_metric = "mean_squared_error"
    # The last batch of 10 rows is a single pair.
    for trainer, rows in (
        (stub(loss, batch_size=8), (10, 10)),
        (by_another, (8, 8)),
        (stub(loss, batch_size=8), (8, 0)),
    ):
        assert batch_sizes.refuse_small_batches(lambda *_: "trained", trainer, *map(range, rows)) == "trained"


def stub(loss, *, batch_size: int, ranks: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        distributed=SimpleNamespace(size=lambda: ranks),
        model=SimpleNamespace(
            output_features={"y": SimpleNamespace(loss=loss)},
            config_obj=SimpleNamespace(output_features=[SimpleNamespace(name="y")]),
        ),
        config=SimpleNamespace(),
        batch_size=batch_size,
        eval_batch_size=batch_size,
        validation_field="y",
        validation_metric="loss",
    )


def test_several_ranks_put_their_rows_together():
    loss = get_loss_cls("vector", "nt_xent_loss").from_dict(CONSECUTIVE)
    assert (
        batch_sizes.refuse_small_batches(lambda *_: "trained", stub(loss, batch_size=2, ranks=2), range(8)) == "trained"
    )
    by_target = get_loss_cls("vector", "nt_xent_loss").from_dict(BY_TARGET)
    with pytest.raises(ConfigValidationError, match=r"trainer\.batch_size: got 1 on 2 ranks, but"):
        batch_sizes.refuse_small_batches(lambda *_: "trained", stub(by_target, batch_size=1, ranks=2), range(8))


def test_ludwigs_search_for_a_batch_size_finds_enough_rows(tmp_path, monkeypatch):
    found, seen, forward = [], set(), NTXentLoss.forward
    monkeypatch.setattr(BatchSizeEvaluator, "select_best_batch_size", lambda *_, **__: found.append(1) or 1)
    monkeypatch.setattr(
        NTXentLoss, "forward", lambda self, preds, target: seen.add(len(preds)) or forward(self, preds, target)
    )
    model, result = train(
        CONSECUTIVE,
        frame(40),
        tmp_path,
        batch_size="auto",
        effective_batch_size=8,
        epochs=1,
        evaluate_training_set=True,
    )
    trainer = model.config_obj.trainer
    assert found == [1, 1] and max(seen) == 4
    assert (trainer.batch_size, trainer.gradient_accumulation_steps, trainer.eval_batch_size) == (4, 2, 4)
    assert result.train_stats.validation["y"]["loss"][0] > 0


def test_a_memory_bank_makes_up_for_small_batches(tmp_path):
    _, result = train({**CONSECUTIVE, "memory_bank": 16}, frame(40), tmp_path, batch_size=2, eval_batch_size=32)
    losses = result.train_stats.validation["y"]["loss"]
    assert losses[0] != losses[1]
