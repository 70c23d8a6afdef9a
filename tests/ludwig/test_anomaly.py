"""Anomaly features: labels, centre, radius, threshold, metrics and collapse, on both generations of Ludwig."""

from __future__ import annotations

import logging
import re

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel, kfold_cross_validate
from ludwig.backend import LOCAL_BACKEND
from ludwig.distributed import init_dist_strategy
from ludwig.error import ConfigValidationError
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.schema.model_types.base import ModelConfig
from ludwig.trainers.trainer import Trainer
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

import declared
from ludwig_losses.host import contract
from ludwig_losses.host.anomaly import contamination, labels, training, verdict
from ludwig_losses.host.anomaly.feature import AnomalyDecoder
from ludwig_losses.host.patch import replacement, wrappers_of
from ludwig_losses.host.registry import catalogue
from ludwig_losses.metrics.reported.anomaly import AnomalyRankingMetric, AnomalyThresholdMetric
from ludwig_losses.parameters import Place
from synchronising import SynchronisingOperators


def digits() -> pd.DataFrame:
    """Zeros to train on, other digits among those to validate and test with."""
    data = load_digits()
    pixels = data.data[:, data.data[data.target == 0].std(axis=0) > 0.5][:, ::4] / 16
    frame = pd.DataFrame(pixels, columns=[f"x{index}" for index in range(pixels.shape[1])])
    frame["y"] = (data.target != 0).astype(int)
    frame = frame[(frame["y"] == 0) | (frame.index % 9 == 0)].reset_index(drop=True)
    frame["split"] = np.where(frame["y"] == 1, 1 + frame.index % 2, np.array([0, 0, 0, 1, 2])[frame.index % 5])
    return frame


DATA = digits()


def configuration(loss: dict, data: pd.DataFrame = DATA, **output) -> dict:
    return {
        "input_features": [{"name": name, "type": "number"} for name in data if name.startswith("x")],
        "combiner": {"type": "concat"},
        "output_features": [{"name": "y", "type": "anomaly", "loss": loss, **output}],
        "preprocessing": {"split": {"type": "fixed"}},
        "trainer": {"epochs": 3, "batch_size": 32, "eval_batch_size": 64, "learning_rate": 0.003},
    }


def train(config: dict, folder, data: pd.DataFrame = DATA, seed: int = 42) -> tuple[LudwigModel, object]:
    model = LudwigModel(config, logging_level=logging.ERROR)
    folder = str(folder)
    return model, model.train(data, output_directory=folder, skip_save_processed_input=True, random_seed=seed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained model, its statistics, its folder, and what the hooks of the trainer saw."""
    seen = {"epochs": []}
    end_epoch = training._end_epoch

    def spy(feature, place):
        scores = torch.cat([score[target != 1] for score, target in feature.seen]).double().numpy()
        end_epoch(feature, place)
        decoder = feature.decoder_obj
        seen["epochs"].append((scores, float(decoder.radius2), decoder.center.clone()))

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_end_epoch", spy)
        model, result = train(configuration({"type": "deep_svdd", "nu": 0.2}), folder)
    return model, result, folder, seen


def decoder_of(model: LudwigModel):
    return model.model.output_features.get("y").decoder_obj


def test_deep_svdd_finds_the_other_digits(trained):
    model, result, _, _ = trained
    predicted, _ = model.predict(DATA)
    test = DATA["split"] == 2
    assert roc_auc_score(DATA["y"][test], predicted["y_anomaly_score"][test]) > 0.9
    assert result.train_stats.validation["y"]["anomaly_auroc"][-1] > 0.9
    assert "anomaly_auroc" not in result.train_stats.training["y"], "the training data has normal rows only"
    assert model.config_obj.trainer.validation_metric == "anomaly_auroc"


def test_the_radius_is_the_quantile_of_the_epoch(trained):
    epochs = trained[3]["epochs"]
    assert len(epochs) == 3
    for scores, radius2, _ in epochs:
        assert len(scores) == (DATA["split"] == 0).sum()
        assert radius2 == pytest.approx(np.quantile(scores, 0.8), rel=1e-6)


def test_the_centre_is_set_once_away_from_zero(trained):
    model, _, _, seen = trained
    centres = [centre for _, _, centre in seen["epochs"]]
    assert all(torch.equal(centre, decoder_of(model).center) for centre in centres)
    assert (centres[0].abs() >= 0.1 - 1e-6).all() and decoder_of(model).is_centred


def test_the_threshold_is_the_percentile_of_the_validation_data(trained):
    model, _, folder, _ = trained
    predicted, _ = model.predict(DATA)
    usual = predicted["y_anomaly_score"][(DATA["split"] == 1) & (DATA["y"] == 0)]
    threshold = float(decoder_of(model).threshold)
    assert threshold == pytest.approx(np.percentile(usual.astype(float), 95, method="weibull"), rel=1e-5)
    flagged = predicted["y_predictions"].astype(bool)
    assert flagged.equals(predicted["y_anomaly_score"] > threshold) and flagged.any() and not flagged.all()
    assert (predicted["y_anomaly_score_predictions"] == predicted["y_anomaly_score"]).all()

    model.save(str(folder / "saved"))
    again = LudwigModel.load(str(folder / "saved"), logging_level=logging.ERROR)
    for name, value in decoder_of(model).named_buffers():
        assert torch.equal(value, dict(decoder_of(again).named_buffers())[name]), name
    pd.testing.assert_frame_equal(again.predict(DATA)[0], predicted)


def test_without_labels_metrics_are_left_out(trained, tmp_path):
    model = trained[0]
    labelled, _, _ = model.evaluate(DATA[DATA["split"] == 2], skip_save_predictions=True)
    names = {*AnomalyRankingMetric.NAMES, *AnomalyThresholdMetric.NAMES}
    assert names <= labelled["y"].keys()
    bare, _, _ = model.evaluate(DATA.drop(columns="y"), skip_save_predictions=True)
    assert not names & bare["y"].keys() and np.isfinite(bare["y"]["loss"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deep_sad", {"eta": 2.0}),
        ("drocc", {"radius": "auto", "warmup_epochs": 1}),
        ("deep_svdd", {"nu": 0}),
    ],
)
def test_a_data_set_without_the_label_column_trains_and_predicts(name, options, tmp_path, caplog):
    data = DATA.drop(columns="y")
    config = configuration({"type": name, **options}, threshold=0.25)
    config["trainer"]["epochs"] = 8 if name == "drocc" else 3
    model, result = train(config, tmp_path, data)
    losses = result.train_stats.training["y"]["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    predicted, _ = model.predict(data)
    assert (predicted["y_predictions"].astype(bool) == (predicted["y_anomaly_score"] > 0.25)).all()
    test = DATA["split"] == 2
    assert roc_auc_score(DATA["y"][test], predicted["y_anomaly_score"][test]) > 0.8


def test_every_kind_of_input_beside_another_feature(tmp_path):
    rows = np.random.default_rng(0).integers(0, 3, size=(60, 2))
    data = pd.DataFrame(
        {
            "number": rows[:, 0] + 0.1,
            "category": np.array(["a", "b", "c"])[rows[:, 1]],
            "text": [["red", "green", "blue"][row[0]] + " sky" for row in rows],
            "vector": [f"{row[0]} {row[1]} 1" for row in rows],
            "y": np.where(np.arange(60) % 7 == 0, 1, -1),
            "z": rows.sum(axis=1).astype(float),
        }
    )
    config = {
        "input_features": [{"name": name, "type": name} for name in ("number", "category", "vector")]
        + [{"name": "text", "type": "text", "encoder": {"type": "embed"}}],
        "combiner": {"type": "concat"},
        "output_features": [
            {"name": "z", "type": "number"},
            {"name": "y", "type": "anomaly", "loss": {"type": "drocc"}, "dependencies": ["z"]},
        ],
        "trainer": {"epochs": 2, "batch_size": 16, "eval_batch_size": 16},
    }
    model, result = train(config, tmp_path, data)
    assert np.isfinite(result.train_stats.training["y"]["loss"]).all()
    predicted, _ = model.predict(data)
    assert {"z_predictions", "y_predictions"} <= {*predicted} and predicted["y_anomaly_score"].nunique() > 5


COLLAPSED = (
    r"output_features\[0\] \(output feature 'y'\): the network has collapsed. The last batch has 1 distinct.*bias"
)


def test_a_network_that_maps_everything_to_one_point_is_an_error(tmp_path):
    config = configuration({"type": "deep_svdd", "nu": 0}, decoder={"fc_weights_initializer": "zeros"})
    with pytest.raises(RuntimeError, match=COLLAPSED):
        train(config, tmp_path)


def test_a_network_that_collapses_while_it_learns_is_an_error(tmp_path):
    """All units die at this learning rate, and the biases reach the centre; the common score moves all the time."""
    config = configuration({"type": "deep_svdd", "nu": 0}, decoder={"bias": True})
    config["trainer"].update(epochs=60, learning_rate=0.1, early_stop=-1)
    with pytest.raises(RuntimeError, match=COLLAPSED):
        train(config, tmp_path)


class Decoded:
    """As much of a feature as the check for a collapse looks at."""

    class decoder_obj:
        center = torch.full((4,), 0.5)
        head = None


ALIKE, DIFFERENT = np.full(100, 0.3), 0.3 + 1e-3 * np.arange(100)


@pytest.mark.parametrize(
    ("batches", "outcome"),
    [
        ([ALIKE], "collapsed"),
        ([np.zeros(100)], "collapsed"),
        ([0.3 + 1e-8 * np.arange(100)], "collapsed"),
        ([1e-12 * np.arange(100)], "collapsed"),
        ([ALIKE / step for step in range(1, 5)], "collapsed"),
        ([DIFFERENT], ""),
        ([1e-4 * np.arange(100)], ""),
        ([ALIKE, DIFFERENT, DIFFERENT], ""),
        ([ALIKE, ALIKE, DIFFERENT], "in 67% of the batches"),
        ([ALIKE[:7]], ""),
        ([ALIKE, np.array([np.nan, 0.1])], "diverged"),
        ([np.array([np.inf, 0.1])], "diverged"),
    ],
)
def test_what_a_collapse_is(batches, outcome, caplog):
    if outcome == "diverged":
        with pytest.raises(RuntimeError, match=r"y.*has diverged.*NaN or infinite.*learning_rate"):
            training.check_collapse(Decoded(), Place("output_features[0]", "y"), batches)
    elif outcome == "collapsed":
        with pytest.raises(RuntimeError, match=r"y.*has collapsed.*distinct"):
            training.check_collapse(Decoded(), Place("output_features[0]", "y"), batches)
    else:
        training.check_collapse(Decoded(), Place("output_features[0]", "y"), batches)
        assert bool(caplog.records) == bool(outcome) and outcome in caplog.text


def pixels(normal: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """70 normal rows to train on and 25 to validate, and the rest of the digits to test with: all pixels,
    standardised by the training rows."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(np.flatnonzero(data.target == normal))[:95]
    rows = data.data[order[:70]]
    deviation = np.where(rows.std(axis=0) > 0, rows.std(axis=0), 1)
    values = (data.data - rows.mean(axis=0)) / deviation
    frame = pd.DataFrame(values, columns=[f"x{index}" for index in range(64)]).assign(y=data.target != normal)
    return frame.loc[order].assign(split=[0] * 70 + [1] * 25).reset_index(drop=True), frame.drop(index=order)


def unchanged(loss: dict, data: pd.DataFrame, **trainer) -> dict:
    """A configuration whose inputs Ludwig does not standardise."""
    config = configuration(loss, data)
    for feature in config["input_features"]:
        feature["preprocessing"] = {"normalization": None}
    config["trainer"] = {"batch_size": 128, **trainer}
    return config


def test_drocc_as_it_is_documented_finds_other_digits(tmp_path, caplog):
    """One step an epoch: the network stays near its start, where a random head is upside down as often as not. With
    this seed, one without biases has an AUROC below 0.4."""
    data, test = pixels(0)
    documented = {"type": "drocc", "perturbation_strength": 0.1, "radius": 1.0}
    assert get_loss_cls("anomaly", "drocc").from_dict({"type": "drocc"}).to_dict().items() >= documented.items()
    model, _ = train(unchanged({"type": "drocc"}, data, epochs=15), tmp_path, data, seed=0)
    predicted, _ = model.predict(test.drop(columns="y").reset_index(drop=True))
    assert roc_auc_score(test["y"], predicted["y_anomaly_score"]) > 0.95
    assert "upside down" not in caplog.text


def test_a_drocc_that_diverges_is_an_error(tmp_path):
    inputs = [name for name in DATA if name.startswith("x")]
    data = DATA.assign(**(DATA[inputs] * 1e4))
    config = unchanged({"type": "drocc"}, data, epochs=2, learning_rate=1.0)
    with pytest.raises(RuntimeError, match=r"output feature 'y'\): the training has diverged. Its loss is .*e\+"):
        train(config, tmp_path, data)


def test_a_model_that_finds_labelled_anomalies_more_normal_is_reported(tmp_path, caplog):
    data = DATA.assign(y=np.where(DATA["split"] == 1, 1 - DATA["y"], DATA["y"]))
    config = configuration({"type": "deep_svdd"}, threshold=1.0)
    config["trainer"]["epochs"] = 1
    train(config, tmp_path, data)
    assert re.search(r"output feature 'y'\): the scores are upside down. The \d+ labelled anomalies", caplog.text)


def without_wrapper(patch: pytest.MonkeyPatch, name: str, wrapper) -> None:
    """Make a method of Ludwig's trainer what it would be if this function did not wrap it, and nothing had noticed."""
    replaced = getattr(Trainer, name)
    others = [entry for entry in wrappers_of(Trainer, name) if entry[1] is not wrapper]
    assert len(others) == len(wrappers_of(Trainer, name)) - 1
    patch.setattr(Trainer, name, replacement(replaced.__wrapped__, others))
    patch.setattr(contract, "require", lambda *_: None)


@pytest.mark.parametrize(
    ("loss", "name", "wrapper", "what"),
    [
        ("deep_svdd", "_train_loop", training.train_epoch, "its centre was never set.*Trainer._train_loop"),
        ("deep_sad", "_train_loop", training.train_epoch, "its centre was never set.*Trainer._train_loop"),
        ("drocc", "train", training.train_with_threshold, "no access to the inputs.*Trainer.train"),
    ],
)
def test_a_trainer_that_is_not_wrapped_trains_nothing(loss, name, wrapper, what, tmp_path, monkeypatch):
    without_wrapper(monkeypatch, name, wrapper)
    with pytest.raises(RuntimeError, match=f"feature 'y'.*{what}.*did not run"):
        train(configuration({"type": loss}), tmp_path)


def test_a_model_without_centre_or_threshold_says_so(trained, caplog):
    """What was trained with a Ludwig in which nothing set them, and saved."""
    feature, rows = trained[0].model.output_features.get("y"), DATA.head(3)
    state = {name: value.clone() for name, value in feature.decoder_obj.state_dict().items()}
    try:
        feature.decoder_obj.load_state_dict({**state, "threshold": torch.tensor(torch.finfo(torch.float32).max)})
        for _ in range(2):
            flags = trained[0].predict(rows)[0]["y_predictions"]
        assert not flags.astype(bool).any() and caplog.text.count("no threshold was set") == 1
        feature.decoder_obj.load_state_dict({**state, "is_centred": torch.tensor(False)})
        with pytest.raises(RuntimeError, match="feature 'y': its centre was never set"):
            trained[0].predict(rows)
    finally:
        feature.decoder_obj.load_state_dict(state)
    assert len(trained[0].predict(rows)[0]) == 3


def test_batch_sizes_are_tried_before_there_is_a_centre(tmp_path):
    config = configuration({"type": "drocc", "num_perturbation_steps": 1})
    config["trainer"].update(epochs=1, batch_size="auto", max_batch_size=4)
    model, _ = train(config, tmp_path)
    assert decoder_of(model).is_centred and not model.model.output_features.get("y").is_tried


def test_labelled_anomalies_enter_neither_centre_nor_radius_nor_threshold(tmp_path):
    """The same training with anomalies somewhere else."""

    def buffers(factor: float) -> dict:
        data = DATA.assign(y=np.where(DATA["split"] == 0, DATA.index % 4 == 0, DATA["y"]).astype(int))
        data.loc[data["y"] == 1, inputs] *= factor
        config = unchanged({"type": "deep_svdd", "nu": 0.2}, data, epochs=2, batch_size=16, skip_all_evaluation=True)
        return dict(decoder_of(train(config, tmp_path / str(factor), data)[0]).named_buffers())

    inputs = [name for name in DATA if name.startswith("x")]
    ours, theirs = buffers(1.0), buffers(50.0)
    for name in ("center", "radius2", "threshold"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)
    assert ours["radius2"] > 0 and ours["threshold"] < 1e3


def test_without_a_normal_validation_row_the_training_rows_set_the_threshold(tmp_path, caplog):
    data = DATA[(DATA["split"] != 1) | (DATA["y"] == 1)].reset_index(drop=True)
    config = configuration({"type": "deep_svdd"})
    config["trainer"]["epochs"] = 1
    model, _ = train(config, tmp_path, data)
    trained_on = model.predict(data[data["split"] == 0])[0]["y_anomaly_score"].astype(float)
    expected = np.percentile(trained_on, 95, method="weibull")
    assert float(decoder_of(model).threshold) == pytest.approx(expected, rel=1e-5)
    assert f"the threshold stands on the scores of {len(trained_on)} training rows, since the validation" in caplog.text


PLACE = Place("output_features[0]", "y")


def found(usual, *, moved=None, anomalous=(), **options) -> verdict.Found:
    usual = np.asarray(usual, dtype=float)
    return verdict.Found(usual, usual, usual if moved is None else moved, np.asarray(anomalous, dtype=float), **options)


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        (found(DIFFERENT, moved=DIFFERENT + 1, anomalous=[1, 2, 3]), ""),
        (found(DIFFERENT, moved=DIFFERENT - 1e-4), "Of 100 validation rows, 100% look more normal with noise"),
        (found(DIFFERENT, moved=DIFFERENT - 1e-4, of_training=True), "Of 100 training rows, 100%"),
        (found(DIFFERENT[:3], moved=DIFFERENT[:3] - 1), ""),
        (found(DIFFERENT, moved=DIFFERENT + np.where(np.arange(100) % 2, 1, -1)), ""),
        (found(DIFFERENT), ""),
        (found(DIFFERENT, anomalous=[0.1] * 9), "The 9 labelled anomalies .* the AUROC is 0.00"),
        (found(DIFFERENT, anomalous=[0.1]), ""),
    ],
)
def test_what_is_upside_down(what, outcome, caplog):
    verdict.warn_if_inverted(PLACE, what)
    assert bool(caplog.records) == bool(outcome) and re.search(outcome, caplog.text)


def test_what_has_diverged():
    verdict.check_divergence(PLACE, found(DIFFERENT, loss=9.9), 1.0)
    verdict.check_divergence(PLACE, found(DIFFERENT, loss=1e9), None)
    with pytest.raises(RuntimeError, match=r"'y'.*has diverged. Its loss is 10.1, and 1 would be"):
        verdict.check_divergence(PLACE, found(DIFFERENT, loss=10.1), 1.0)


@pytest.mark.parametrize("count", [3, 18, 19, 60])
def test_the_threshold_flags_what_it_promises(count):
    """On average over draws of the validation rows, for scores of any continuous distribution."""
    scores = np.random.default_rng(count).random((4000, count))
    flagged = 1 - np.mean([verdict.percentile(row, 95) for row in scores])
    assert flagged == pytest.approx(max(0.05, 1 / (count + 1)), abs=0.004)


@pytest.mark.parametrize(
    ("count", "percentage", "level", "text"),
    [
        (19, 95, "INFO", "19 validation rows. It is expected to flag 5.0% of .* between 0.3% and 14.6%"),
        (9, 95, "WARNING", "expected to flag up to 10.0% of .* threshold_percentile: 95 needs 19 validation rows"),
        (9, 90, "INFO", "expected to flag 10.0%"),
        (9, 100, "WARNING", "threshold_percentile: 100 needs more validation rows"),
    ],
)
def test_how_sure_a_threshold_is(count, percentage, level, text, caplog):
    caplog.set_level(logging.INFO)
    verdict.report_threshold(PLACE, found(DIFFERENT[:count]), percentage)
    assert caplog.records[0].levelname == level and re.search(text, caplog.text)


class Thresholded:
    threshold, threshold_percentile = "auto", 95


@pytest.mark.parametrize(
    ("validated", "trained", "threshold", "of_training"),
    [
        (found([1, 2, 3]), found([1, 9]), 9, False),
        (found([1, 2, 3]), found([1, 2]), 3, False),
        (found(np.arange(19)), None, 18, False),
        (found([], anomalous=[7]), found([1, 9]), 9, True),
        (None, found([1, 9]), 9, True),
    ],
)
def test_which_rows_set_the_threshold(validated, trained, threshold, of_training):
    assert validated is None or verdict.is_short(Thresholded, validated) == (trained is not None)
    both = verdict.merged(validated, trained)
    assert verdict.threshold_of(Thresholded, both, trained) == threshold and both.of_training == of_training
    assert list(both.anomalous) == ([] if validated is None else list(validated.anomalous))


def test_a_head_begins_with_a_score_that_grows_with_what_the_rows_have_in_common():
    decoder = AnomalyDecoder(6, 4, use_bias=True)
    decoder.add_head()
    size, mean = decoder.head.weight.norm(), torch.tensor([1.0, -2.0, 0.0, 0.5])
    decoder.begin_at(mean, mean)
    scores = decoder.head(torch.outer(torch.tensor([0.0, 1.0, 2.0]), mean)).squeeze(-1).detach()
    assert scores[0] < 0 < scores[2] and scores[1] == pytest.approx(0, abs=1e-6) and decoder.has_centre()
    torch.testing.assert_close(decoder.head.weight.norm(), size)
    before = decoder.head.weight.clone()
    decoder.begin_at(mean, torch.zeros(4))
    assert torch.equal(decoder.head.weight, before), "a mean of 0 has no direction"


def test_nothing_normal_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="every row of the training data is labelled as an anomaly"):
        train(configuration({"type": "deep_svdd"}), tmp_path, DATA.assign(y=1))


def test_cached_data_without_labels_trains_again(tmp_path):
    """The second training reads what the first one has left beside the file."""
    DATA.drop(columns="y").to_csv(tmp_path / "data.csv", index=False)
    for _ in range(2):
        config = configuration({"type": "deep_svdd"})
        config["trainer"]["epochs"] = 1
        model = LudwigModel(config, logging_level=logging.ERROR)
        result = model.train(dataset=str(tmp_path / "data.csv"), output_directory=str(tmp_path / "results"))
        assert np.isfinite(result.train_stats.training["y"]["loss"]).all() and decoder_of(model).is_centred
    assert list(tmp_path.glob("data.training.*")), "Ludwig has cached the data"


def test_cross_validation_finds_a_centre_and_a_threshold_for_each_fold(tmp_path):
    config = configuration({"type": "deep_svdd"})
    del config["preprocessing"]
    config["trainer"]["epochs"] = 2
    folds, _ = kfold_cross_validate(
        2,
        config=config,
        dataset=DATA.drop(columns="split"),
        output_directory=str(tmp_path),
        random_seed=3,
        skip_save_processed_input=True,
    )
    measured = [folds[f"fold_{number}"]["fold_eval_stats"]["y"] for number in (1, 2)]
    assert all(fold["anomaly_auroc"] > 0.7 and 0 < fold["recall_at_threshold"] <= 1 for fold in measured)


def test_a_record_is_predicted_as_a_file_is(trained):
    model = trained[0]
    record = DATA.head(1).drop(columns=["y", "split"])
    served, _ = model.predict(dataset=record.to_dict("list"), data_format=dict)
    expected, _ = model.predict(DATA)
    assert served["y_anomaly_score"][0] == pytest.approx(expected["y_anomaly_score"][0], rel=1e-5)
    assert served["y_predictions"][0] == expected["y_predictions"][0]


@pytest.mark.skipif(not hasattr(LudwigModel, "to_torchscript"), reason="this Ludwig does not script models")
def test_a_scripted_model_scores_and_flags(trained, tmp_path):
    model = trained[0]
    trained_on = [name for name in DATA if name.startswith("x")]
    model.to_torchscript().save(str(tmp_path / "model.pt"))
    inputs = {name: torch.tensor(DATA[name].to_numpy(), dtype=torch.float32) for name in trained_on}
    scripted = torch.jit.load(str(tmp_path / "model.pt"))(inputs)["y"]
    expected, _ = model.predict(DATA)
    np.testing.assert_allclose(scripted["anomaly_score"].numpy(), expected["y_anomaly_score"].astype(float), rtol=1e-4)
    assert (scripted["predictions"].numpy() == expected["y_predictions"].astype(bool)).all()


@pytest.mark.skipif(not hasattr(LudwigModel, "export_model"), reason="this Ludwig exports to TorchScript only")
def test_an_exported_model_has_centre_and_threshold(trained, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model = trained[0]
    model.export_model(str(tmp_path / "exported"), format="safetensors")
    (path,) = (tmp_path / "exported").glob("**/*.safetensors")
    weights = safetensors.load_file(path)
    for buffer in ("center", "threshold"):
        (exported,) = (value for name, value in weights.items() if name.endswith(f"decoder_obj.{buffer}"))
        assert torch.equal(exported, getattr(decoder_of(model), buffer))


class Straight:
    """A network of one layer, as losses see one."""

    inputs = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))

    def once_per_pass(self, compute):
        torch.manual_seed(0)
        return compute(self.inputs, lambda x: x.sum(dim=1).tanh())


CHANGES = {name: declared.FACTS[name].changes for name, found in declared.SINGLE.items() if "anomaly" in found.features}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, values in CHANGES.items() for key in values])
def test_every_parameter_changes_the_loss(name, key):
    def value(**options) -> float:
        loss = create_loss(get_loss_cls("anomaly", name).from_dict({"type": name, **options}))
        loss.radius2, loss.network = torch.tensor(0.5), Straight()
        loss.cutoff = torch.tensor(0.2) if loss.contamination else None
        loss.begin_epoch(0)
        return loss(Straight.inputs.sum(dim=1).tanh().square(), torch.arange(12) % 3 - 1).item()

    assert {*CHANGES[name], "weight"} == set(catalogue()[name].parameters)
    assert abs(value(**{key: CHANGES[name][key]}) - value()) > 1e-3


@pytest.mark.parametrize("name", ["deep_svdd", "drocc"])
def test_labelled_anomalies_are_no_examples_of_what_is_normal(name):
    loss = create_loss(get_loss_cls("anomaly", name).from_dict({"type": name}))
    score = torch.tensor([0.1, 5.0, 0.3], requires_grad=True)
    torch.testing.assert_close(loss(score, torch.tensor([0, 1, -1])), loss(score[[0, 2]], torch.tensor([-1, 0])))
    nothing = loss(score, torch.ones(3))
    nothing.backward()
    assert nothing == 0 and (score.grad == 0).all()


@pytest.mark.parametrize("name", ["deep_svdd", "deep_sad", "drocc"])
def test_only_rows_without_a_label_are_left_out(name):
    """By the cutoff all three rows are anomalies; a label says more."""

    def gradient(**options) -> torch.Tensor:
        loss = create_loss(get_loss_cls("anomaly", name).from_dict({"type": name, **options}))
        loss.radius2, loss.network = torch.tensor(0.0), Straight()
        loss.cutoff = torch.tensor(1.0) if options else None
        score = torch.tensor([2.0, 3.0, 4.0] * 4, requires_grad=True)
        loss(score, torch.tensor([0, 1, -1] * 4)).backward()
        return score.grad.view(4, 3)

    without, with_cutoff = gradient(), gradient(contamination=0.1)
    torch.testing.assert_close(with_cutoff[:, :2], without[:, :2])
    assert (without[:, 2] > 0).all()
    assert (with_cutoff[:, 2] < 0).all() if name == "drocc" else (with_cutoff[:, 2] == 0).all()


def gaussian(seed: int, anomalies: slice) -> pd.DataFrame:
    """Two columns, with anomalies at +5 that nobody has labelled."""
    frame = pd.DataFrame(np.random.default_rng(seed).normal(size=(1000, 2)), columns=["x0", "x1"])
    frame.iloc[anomalies] += 5
    return frame


@pytest.mark.parametrize(
    "loss",
    [
        {"type": "deep_svdd", "nu": 0.1},
        {"type": "deep_svdd", "nu": 0},
        {"type": "drocc", "radius": "auto", "perturbation_strength": 1.0},
    ],
    ids=lambda loss: f"{loss['type']}-{loss.get('nu', '')}",
)
def test_unlabelled_anomalies_are_not_learned_as_normal(loss, tmp_path):
    """5 % of the training rows are anomalies. Without contamination most runs find normal rows more anomalous."""
    data, test = gaussian(0, slice(None, None, 20)).assign(split=np.arange(1000) // 800), gaussian(1, slice(500, None))
    has_biases = loss["type"] == "drocc"
    config = configuration({**loss, "contamination": 0.05}, data, decoder={"num_fc_layers": 0, "bias": has_biases})
    config["combiner"].update(num_fc_layers=1, output_size=128, use_bias=has_biases)
    for feature in config["input_features"]:
        feature["preprocessing"] = {"normalization": "zscore"}
    config["trainer"].update(epochs=10)
    model, _ = train(config, tmp_path, data)
    predicted, _ = model.predict(test)
    is_anomaly, flagged = np.arange(1000) >= 500, predicted["y_predictions"].astype(bool)
    assert roc_auc_score(is_anomaly, predicted["y_anomaly_score"]) > 0.98
    assert 0.005 < flagged[~is_anomaly].mean() < 0.12, "5 % of the normal rows are promised"
    assert flagged[is_anomaly].mean() > 0.95
    again = LudwigModel.load(str(tmp_path / "api_experiment_run" / "model"), logging_level=logging.ERROR)
    assert torch.equal(decoder_of(again).cutoff, decoder_of(model).cutoff) and 0 < abs(decoder_of(again).cutoff) < 1e6


def test_contamination_needs_rows_without_a_label(trained, tmp_path):
    assert not hasattr(decoder_of(trained[0]), "cutoff"), "models without contamination stay as they are"
    config = configuration({"type": "deep_svdd", "contamination": 0.05})
    with pytest.raises(ValueError, match=r"\.loss.*: contamination = 0.05 is a share of .* without a label \(-1\)"):
        train(config, tmp_path)


@pytest.mark.parametrize("size", [1, 3, 8, 64, 1000])
def test_the_cutoff_is_that_of_the_latest_rows_whatever_the_batch_size(size):
    scores, target = torch.rand(3000, generator=torch.Generator().manual_seed(0)), torch.full((3000,), -1)
    target[::10] = 0
    latest = contamination.LatestScores(0.1)
    left_out = [
        (score > latest.cutoff(score, labels))[labels == -1].sum()
        for score, labels in zip(scores.split(size), target.split(size), strict=True)
    ]
    assert sum(left_out) == pytest.approx(270, abs=35), "a tenth of the 2,700 rows without a label"
    assert latest.scores.numel() <= max(512, size)
    assert latest.cutoff(torch.ones(2), torch.zeros(2)).isfinite()
    assert contamination.LatestScores(0.1).cutoff(torch.ones(2), torch.zeros(2)).isnan()


def test_the_cutoff_does_not_wait_for_an_accelerator():
    latest = contamination.LatestScores(0.1)
    with SynchronisingOperators() as operators:
        for _ in range(2):
            latest.cutoff(torch.rand(8), torch.full((8,), -1))
    assert operators.found == []


def test_what_is_taken_for_normal():
    scores, labels_ = np.arange(20.0), np.array([0, 1, -1, -1] * 5)
    known, unknown = scores[labels_ == 0], scores[labels_ == -1]
    for share, kept in ((0.0, 10), (0.05, 10), (0.12, 9), (0.25, 8)):
        found = contamination.taken_for_normal(scores, labels_, share)
        assert sorted(found) == sorted([*known, *unknown[:kept]])
    assert len(contamination.taken_for_normal(np.zeros(0), np.zeros(0), 0.1)) == 0


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([0, 1, -1], [0, 1, -1]),
        ([True, False], [1, 0]),
        (["0", "1", "-1", "", "true", "False", " 1.0"], [0, 1, -1, -1, 1, 0, 1]),
        ([0.0, 1.0, float("nan"), None, pd.NA], [0, 1, -1, -1, -1]),
    ],
)
def test_labels_as_they_are_written(written, expected):
    cast = labels.cast(pd.Series(written, dtype=object, name="y"), LOCAL_BACKEND)
    assert cast.dtype == np.int8 and cast.tolist() == expected


@pytest.mark.parametrize("value", [2, 0.5, "fraud", float("inf"), (1,)])
def test_other_labels_are_an_error_with_row_and_value(value):
    with pytest.raises(ValueError, match="column 'y', row 3 of the data: got") as error:
        labels.cast(pd.Series([0, 1, value], dtype=object, name="y"), LOCAL_BACKEND)
    assert repr(value) in str(error.value) and "0 or false (normal)" in str(error.value)


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"loss": {"type": "deep_svdd", "nu": 2}}, r"nu: got 2, expected a number in \[0, 1\]"),
        ({"loss": {"type": "drocc", "radius": "auot"}}, "radius: got 'auot', expected a number > 0, auto"),
        ({"loss": {"type": "drocc", "num_perturbation_steps": 2.5}}, "expected a whole number >= 1"),
        (
            {"loss": {"type": "deep_svdd", "contamination": 0.3}},
            r"contamination: got 0.3, expected a number in \[0, 0.25\]",
        ),
        ({"loss": {"type": "deep_sad", "etta": 2}}, "unknown parameter 'etta'.*Did you mean 'eta'"),
        ({"loss": {"type": "focal_loss"}}, "focal_loss is a loss for"),
        ({"treshold": 1}, "unknown parameter 'treshold'.*Did you mean 'threshold'"),
        ({"threshold": "high"}, "threshold: got 'high', expected auto or a number"),
        ({"threshold_percentile": 101}, r"expected a number in \[0, 100\]"),
        ({"decoder": {"output_sise": 3}}, "decoder: unknown parameter 'output_sise'.*Did you mean 'output_size'"),
        ({"decoder": {"fc_use_bias": True}}, "fc_use_bias: use_bias decides for all layers"),
        ({"decoder": {"bias": "no"}}, "bias: got 'no', expected true or false"),
        ({"decoder": {"bias": None}}, "bias: got None, expected true or false"),
        (
            {"loss": {"type": "drocc"}, "decoder": {"fc_use_bias": False}},
            "fc_use_bias: use_bias decides for all layers, and is true. Write use_bias: false",
        ),
    ],
)
def test_a_mistake_in_the_configuration_is_an_error(feature, message):
    config = configuration({"type": "deep_svdd"})
    config["output_features"][0].update(feature)
    with pytest.raises(ConfigValidationError) as error:
        ModelConfig.from_dict(config)
    assert str(error.value).startswith("output_features[0]") and " (output feature 'y'): " in str(error.value)
    assert re.search(message, str(error.value).replace(" (output feature 'y')", ""))


def test_defaults_and_rendered_configurations_parse():
    config = configuration({"nu": 0.3})
    config["defaults"] = {"anomaly": {"decoder": {"bias": True}, "threshold": 3.0, "loss": {"type": "deep_svdd"}}}
    parsed = ModelConfig.from_dict(config)
    again = ModelConfig.from_dict(parsed.to_dict())
    for feature in (parsed.output_features[0], again.output_features[0]):
        assert feature.decoder.use_bias and feature.decoder.fc_use_bias
        assert feature.threshold == 3.0 and feature.loss.nu == 0.3
    plain = ModelConfig.from_dict(configuration({"type": "deep_svdd"})).output_features[0]
    assert not plain.decoder.fc_use_bias and plain.threshold == "auto" and plain.threshold_percentile == 95.0


def biases(*features: dict) -> list[tuple[bool, bool]]:
    config = configuration({"type": "deep_svdd"})
    config["output_features"] = [{"name": f"y{i}", "type": "anomaly", **f} for i, f in enumerate(features)]
    parsed = ModelConfig.from_dict(config)
    again = ModelConfig.from_dict(parsed.to_dict())
    found, rendered = (
        [(f.decoder.use_bias, f.decoder.fc_use_bias) for f in of.output_features] for of in (parsed, again)
    )
    assert found == rendered
    return found


def test_the_decoder_has_biases_where_the_loss_learns_the_score():
    drocc = {"loss": {"type": "drocc"}}
    yes, no = (True, True), (False, False)
    assert biases(drocc, {"loss": {"type": "deep_svdd"}}, {"loss": {"type": "deep_sad"}}, {}) == [yes, no, no, no]
    written = [{**drocc, "decoder": {key: False}} for key in ("bias", "use_bias")]
    assert biases(*written, {**drocc, "decoder": {"output_size": 8}}, {"decoder": {"bias": True}}) == [no, no, yes, yes]


@pytest.fixture
def strategy():
    """Ludwig's metrics ask for one when they compute."""
    init_dist_strategy("local")


def test_metrics_are_those_of_scikit_learn(strategy):
    generator = np.random.default_rng(0)
    target, score = generator.integers(-1, 2, 300), generator.normal(size=300).round(1) * 5  # with ties
    score = score + target
    ranking, flags = AnomalyRankingMetric(), AnomalyThresholdMetric()
    assert ranking.compute() == flags.compute() == {}
    for rows in np.array_split(np.arange(300), 4):
        ranking.update(torch.tensor(score[rows]), torch.tensor(target[rows], dtype=torch.int8))
        flags.update(torch.tensor(score[rows] > 2), torch.tensor(target[rows], dtype=torch.int8))
    known = target >= 0
    anomalous, score = target[known] == 1, score[known]
    values = {name: value.item() for name, value in (ranking.compute() | flags.compute()).items()}
    best = max(f1_score(anomalous, score >= threshold) for threshold in np.unique(score))
    found = (anomalous & (score > 2)).sum()
    assert values == pytest.approx(
        {
            "anomaly_auroc": roc_auc_score(anomalous, score),
            "anomaly_average_precision": average_precision_score(anomalous, score),
            "f1_max": best,
            "precision_at_threshold": found / (score > 2).sum(),
            "recall_at_threshold": found / anomalous.sum(),
        },
        abs=1e-6,
    )


def test_a_metric_of_labels_needs_them(tmp_path, caplog):
    config = configuration({"type": "deep_svdd"})
    config["trainer"]["validation_metric"] = "f1_max"
    with pytest.raises(ValueError, match=r"validation_metric: f1_max is not available: output_features\[0\]"):
        train(config, tmp_path, DATA.assign(y=0))
