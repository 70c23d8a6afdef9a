"""NT-Xent sees every pair: through any split, shuffling, caches, missing values and odd sizes."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pandas as pd
import pytest
from ludwig.api import LudwigModel, kfold_cross_validate
from ludwig.error import ConfigValidationError

from ludwig_losses.host.data.pairs import PairSampler
from ludwig_losses.losses.nt_xent import NTXentLoss

LOSS = {"type": "nt_xent_loss"}


@pytest.fixture
def batches(monkeypatch):
    """The pair numbers of each batch that the loss sees, by phase (training or not)."""
    seen = {True: [], False: []}
    forward = NTXentLoss.forward

    def spy(self, preds, target):
        if len(target):
            seen[preds.requires_grad].append(target[:, 0].round().long().tolist())
        return forward(self, preds, target)

    monkeypatch.setattr(NTXentLoss, "forward", spy)
    return seen


def frame(pairs: int = 120, seed: int = 0) -> pd.DataFrame:
    """Two views of each example in consecutive rows; the first component of the target is the pair's number."""
    generator = np.random.default_rng(seed)
    centres = np.repeat(generator.normal(size=(pairs, 4)), 2, axis=0)
    views = centres + generator.normal(0, 0.05, centres.shape)
    number = np.repeat(np.arange(pairs), 2)
    return pd.DataFrame(
        {
            "x": [" ".join(f"{value:.4f}" for value in row) for row in views],
            "y": [f"{pair} 0 1" for pair in number],
            "number": number,
            "group": np.where(number % 3 == 0, "a", "b"),
            "day": pd.date_range("2020-01-01", periods=pairs).astype(str).repeat(2),
            "split": np.select([number % 10 < 7, number % 10 < 8], [0, 1], 2),
        }
    )


def model(split=None, loss=LOSS, trainer=None, defaults=None) -> LudwigModel:
    config = {
        "input_features": [{"name": "x", "type": "vector"}],
        "output_features": [{"name": "y", "type": "vector", "loss": loss}],
        "preprocessing": {"split": split} if split else {},
        "defaults": defaults or {},
        "trainer": {"epochs": 2, "batch_size": 32, **(trainer or {})},
    }
    return LudwigModel(config, logging_level=logging.ERROR)


def kept(batches: list[list[int]]) -> float:
    """The share of rows 2i, 2i + 1 of the batches that belong together."""
    pairs = [(a, b) for batch in batches for a, b in zip(batch[::2], batch[1::2], strict=False)]
    assert pairs
    return sum(a == b for a, b in pairs) / len(pairs)


SPLITS = [
    None,
    {"type": "random", "probabilities": [0.5, 0.2, 0.3]},
    {"type": "fixed"},
    {"type": "hash", "column": "number"},
    {"type": "hash", "column": "x"},
    {"type": "stratify", "column": "group"},
    {"type": "datetime", "column": "day"},
]


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split["type"] if split else "default")
def test_every_split_keeps_every_pair(split, batches, tmp_path):
    data = frame()
    result = model(split).train(data, output_directory=str(tmp_path), skip_save_processed_input=True)
    assert kept(batches[True]) == kept(batches[False]) == 1
    sets = result.preprocessed_data
    frames = [dataset.to_df() for dataset in (sets.training_set, sets.validation_set, sets.test_set)]
    targets = [part[next(column for column in part if column.startswith("y_"))] for part in frames]
    numbers = [sorted(int(value[0]) for value in target) for target in targets]
    assert all(part and part[::2] == part[1::2] for part in numbers)
    assert sorted(itertools.chain(*numbers)) == data["number"].tolist()


def test_shuffling_is_on_and_shuffles_pairs(batches, tmp_path):
    model().train(frame(), output_directory=str(tmp_path), skip_save_processed_input=True)
    rows = len(set(batches[True][0]))
    half = len(batches[True]) // 2
    epochs = [list(itertools.chain(*part)) for part in (batches[True][:half], batches[True][half : 2 * half])]
    assert rows == 16
    assert epochs[0] != epochs[1] and sorted(epochs[0]) == sorted(epochs[1])


def test_cached_runs_keep_pairs_and_do_not_share_a_cache_with_rows(batches, tmp_path):
    data = tmp_path / "data.csv"
    frame().to_csv(data, index=False)
    rows = model(loss={"type": "mean_squared_error"})
    rows.train(str(data), output_directory=str(tmp_path / "results"))
    for _ in range(2):
        batches[True].clear()
        batches[False].clear()
        model().train(str(data), output_directory=str(tmp_path / "results"))
        assert kept(batches[True]) == kept(batches[False]) == 1


def test_evaluation_of_a_split_keeps_every_pair(batches, tmp_path):
    trained = model()
    trained.train(frame(), output_directory=str(tmp_path), skip_save_processed_input=True)
    batches[False].clear()
    trained.evaluate(frame(), split="test", batch_size=16)
    assert kept(batches[False]) == 1 and sum(map(len, batches[False])) < 240


def test_separate_files_pair_their_own_rows_although_they_are_odd(batches, tmp_path):
    parts = [frame(30, seed=seed).iloc[:-1] for seed in range(3)]
    model().train(
        training_set=parts[0], validation_set=parts[1], test_set=parts[2],
        output_directory=str(tmp_path), skip_save_processed_input=True,
    )  # fmt: skip
    assert kept(batches[True]) == kept(batches[False]) == 1


def test_an_odd_last_row_and_a_last_batch_of_one_survive(batches, tmp_path):
    data = frame(33).iloc[:-1]
    result = model({"type": "random", "probabilities": [1.0, 0.0, 0.0]}).train(
        data, output_directory=str(tmp_path), skip_save_processed_input=True
    )
    assert kept(batches[True]) == 1
    assert np.isfinite(result.train_stats.training["y"]["loss"]).all()


def test_a_dropped_row_takes_its_partner_along(batches, tmp_path):
    data = frame()
    data.loc[[7, 50, 51], "x"] = None
    model(defaults={"vector": {"preprocessing": {"missing_value_strategy": "drop_row"}}}).train(
        data, output_directory=str(tmp_path), skip_save_processed_input=True
    )
    assert kept(batches[True]) == kept(batches[False]) == 1
    assert {3, 25}.isdisjoint(number for batch in batches[True] + batches[False] for number in batch)


def test_a_split_column_that_tears_pairs_is_refused(tmp_path):
    data = frame().assign(split=lambda df: np.arange(len(df)) % 3)
    # Ludwig 0.11 wraps what preprocessing raises.
    with pytest.raises(
        (ValueError, RuntimeError), match=r"Rows 1 and 2 .* are a pair, but the split column 'split' puts them into"
    ):
        model({"type": "fixed"}).train(data, output_directory=str(tmp_path), skip_save_processed_input=True)


def test_pairing_by_target_needs_no_order(batches, tmp_path):
    data = frame().sample(frac=1, random_state=0, ignore_index=True)
    result = model(
        loss={**LOSS, "pairing": "target"}, trainer={"batch_size": 240, "epochs": 10, "learning_rate": 0.01}
    ).train(data, output_directory=str(tmp_path), skip_save_processed_input=True)
    losses = result.train_stats.training["y"]["loss"]
    assert kept(batches[True]) < 0.2
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("key", ["batch_size", "eval_batch_size"])
def test_odd_batch_sizes_are_refused(key):
    with pytest.raises(ConfigValidationError, match=f"needs an even trainer.{key}; got 33. Write {key}: 34"):
        model(trainer={key: 33})
    model(loss={**LOSS, "pairing": "target"}, trainer={key: 33})


def test_a_batch_size_that_grows_to_an_odd_one_stays_even():
    from ludwig_losses.host.data.pairs import _set_even_epoch

    sizes = []
    for size in (1, 2, 7, 8):
        _set_even_epoch(lambda epoch, batch_size: sizes.append(batch_size), 0, size)
    assert sizes == [2, 2, 6, 8]


def test_a_batch_size_of_one_found_by_ludwig_becomes_a_pair(batches, tmp_path):
    trained = model()
    trained.train(frame(20), output_directory=str(tmp_path), skip_save_processed_input=True)
    batches[False].clear()
    trained.evaluate(frame(20), batch_size=1)
    # The search saves its choice with the model, which has to load all the same.
    trained.config_obj.trainer.eval_batch_size = 1
    trained.save(str(tmp_path / "saved"))
    LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR)
    assert kept(batches[False]) == 1 and {len(batch) for batch in batches[False]} == {2}


def test_cross_validation_folds_pairs(batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = model().config
    kfold_cross_validate(
        3, config=config, dataset=frame(61).iloc[:-1], output_directory=str(tmp_path), logging_level=logging.ERROR
    )
    assert kept(batches[True]) == kept(batches[False]) == 1


def test_data_preprocessed_for_another_loss_is_refused(tmp_path):
    rows = model(loss={"type": "mean_squared_error"}).preprocess(frame(), skip_save_processed_input=True)
    with pytest.raises(ValueError, match="preprocessed for another loss"):
        model().train(
            training_set=rows.training_set,
            training_set_metadata=rows.training_set_metadata,
            output_directory=str(tmp_path),
        )


def test_replicas_take_equal_numbers_of_whole_pairs():
    class Replica:
        def __init__(self, rank, size):
            self.rank, self.size = lambda: rank, lambda: size

    for rows in (2, 7, 20, 21):
        shares = [list(PairSampler(rows, distributed=Replica(rank, 3))) for rank in range(3)]
        assert len({len(share) for share in shares}) == 1
        assert all(a % 2 == 0 and b == a + 1 for share in shares for a, b in zip(share[::2], share[1::2], strict=True))
        assert {row for share in shares for row in share} == set(range(rows // 2 * 2))


def test_odd_batch_size_at_evaluation_is_refused(tmp_path):
    trained = model()
    trained.train(frame(), output_directory=str(tmp_path), skip_save_processed_input=True)
    with pytest.raises(ValueError, match="even batch size; got 7"):
        trained.evaluate(frame(), batch_size=7)
    predictions, _ = trained.predict(frame(), batch_size=7)
    assert len(predictions) == 240


@pytest.mark.parametrize(
    ("preprocessing", "backend"), [({"sample_ratio": 0.5}, None), ({"sample_size": 10}, None), ({}, "ray")]
)
def test_what_cannot_keep_pairs_is_refused(preprocessing, backend):
    config = {
        "input_features": [{"name": "x", "type": "vector"}],
        "output_features": [{"name": "y", "type": "vector", "loss": LOSS}],
        "preprocessing": preprocessing,
        **({"backend": {"type": backend}} if backend else {}),
    }
    from ludwig.schema.model_types.base import ModelConfig

    with pytest.raises(ConfigValidationError, match=r"cannot keep pairs together with .*pairing: target"):
        ModelConfig.from_dict(config)


def test_best_model_follows_the_loss_unless_the_user_chooses():
    assert model().config_obj.trainer.validation_metric == "loss"
    assert model(trainer={"validation_metric": "mean_squared_error"}).config_obj.trainer.validation_metric == (
        "mean_squared_error"
    )
