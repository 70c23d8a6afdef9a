"""Losses of set features: what counts as a label, in the loss, in metrics and in predictions."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.modules.loss_modules import create_loss
from ludwig.schema.features.loss.loss import get_loss_cls
from torch.nn.functional import binary_cross_entropy_with_logits

import matrix
from ludwig_losses import functional
from ludwig_losses.parameters import Feature

TOPICS = Feature(
    "y",
    classes=["a", "b", "c", "<UNK>", "d"],
    num_classes=5,
    symbols=frozenset(["<UNK>"]),
    frequencies=[8, 4, 2, 0, 1],
    of_labels=True,
)
KEPT = [0, 1, 2, 4]
SHARES = {"a": 0.8, "b": 0.4, "c": 0.2, "d": 0.1}
CROSS_ENTROPY: list[dict[str, Any]] = [
    {"type": "focal_loss", "alpha": None, "gamma": 0.0},
    {"type": "asymmetric_loss", "gamma_pos": 0.0, "gamma_neg": 0.0, "clip": 0.0},
    {"type": "poly_loss", "epsilon": 0.0},
    {"type": "logit_adjusted_loss", "tau": 0.0, "priors": SHARES},
    {"type": "tempered_softmax_cross_entropy", "t1": 1.0, "t2": 1.0},
]


def resolved(**section: Any) -> Any:
    config = get_loss_cls("set", section["type"]).from_dict(section)
    config.resolve(TOPICS)
    return config


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(6, 5, generator=generator), torch.rand(6, 5, generator=generator) < 0.4


@pytest.mark.parametrize("section", CROSS_ENTROPY, ids=lambda section: section["type"])
def test_the_mean_is_over_rows_and_labels_without_symbols(section: dict[str, Any]) -> None:
    logits, target = batch()
    each = binary_cross_entropy_with_logits(logits, target.float(), reduction="none")[:, KEPT]
    torch.testing.assert_close(create_loss(resolved(**section))(logits, target), each.mean())
    weights = torch.tensor([15 / (4 * n) for n in (8, 4, 2, 1)])
    loss = create_loss(resolved(**section, class_weights="balanced"))
    torch.testing.assert_close(loss(logits, target), (each * weights).mean() / weights.mean())
    ((_, denominator),) = loss.batch_means(logits, target)
    torch.testing.assert_close(torch.as_tensor(denominator), 6 * weights.sum())
    ignoring = create_loss(resolved(**section, ignore_index=["a", "d"]))
    torch.testing.assert_close(ignoring(logits, target), each[:, 1:3].mean())
    assert ignoring.batch_means(logits, target)[0][1] == 12


@pytest.mark.parametrize("section", CROSS_ENTROPY, ids=lambda section: section["type"])
def test_symbols_get_no_gradient(section: dict[str, Any]) -> None:
    logits, target = batch()
    create_loss(resolved(**section))(logits.requires_grad_(), target).backward()
    assert (logits.grad[:, 3] == 0).all() and (logits.grad[:, KEPT] != 0).all()


def test_alpha_is_a_balance_or_a_weight_of_each_label() -> None:
    logits, target = batch()
    z, y = logits[:, KEPT], target[:, KEPT]
    one = create_loss(resolved(type="focal_loss", alpha=0.75))(logits, target)
    expected = functional.sigmoid_focal_loss(z, y, alpha=torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(one, expected.mean())
    several = create_loss(resolved(type="focal_loss", alpha={"d": 1.0, "c": 0.5, "b": 0.25, "a": 0.0}))
    expected = functional.sigmoid_focal_loss(z, y) * torch.tensor([0.0, 0.25, 0.5, 1.0])
    torch.testing.assert_close(several(logits, target), expected.mean())
    by_positives = create_loss(resolved(type="focal_loss", alpha=None, normalize=True))
    expected = functional.sigmoid_focal_loss(z, y).sum() / y.sum()
    torch.testing.assert_close(by_positives(logits, target), expected)
    assert by_positives.batch_means(logits, target)[0][1] == y.sum()


def test_a_tempered_label_is_a_pair_of_classes() -> None:
    logits, target = batch()
    loss = create_loss(resolved(type="tempered_softmax_cross_entropy", t1=0.5, t2=1.5, label_smoothing=0.1))
    pairs = torch.stack([torch.zeros(6, 4), logits[:, KEPT]], dim=-1)
    each = functional.bi_tempered_logistic_loss(pairs, target[:, KEPT].long(), t1=0.5, t2=1.5, label_smoothing=0.1)
    torch.testing.assert_close(loss(logits, target), each.mean())
    torch.testing.assert_close(loss.label_projection(logits[:, KEPT]), functional.tempered_softmax(pairs, 1.5)[..., 1])


def test_priors_are_shares_of_rows() -> None:
    logits, target = batch()
    loss = create_loss(resolved(type="logit_adjusted_loss", priors=SHARES))
    priors = torch.tensor([*SHARES.values()])
    expected = functional.sigmoid_logit_adjusted_loss(logits[:, KEPT], target[:, KEPT], priors=priors)
    torch.testing.assert_close(loss(logits, target), expected.mean())
    with pytest.raises(ValueError, match=r"prepared for another loss.* Write .* priors: \{a: \.\.\., b: \.\.\., c"):
        resolved(type="logit_adjusted_loss")
    with pytest.raises(ValueError, match=r"priors .*: got \{'b': 4(\.0)?\}, expected numbers < 1"):
        resolved(type="logit_adjusted_loss", priors={**SHARES, "b": 4})


def test_predictions_have_every_label_and_no_symbol(tmp_path) -> None:
    """Of a label that the vocabulary does not have, and of one that the loss ignores, nothing is predicted."""
    priors = {"a": 0.6, "b": 0.7, "c": 0.3}
    loss = {"type": "logit_adjusted_loss", "priors": priors, "ignore_index": "c", "predict": "training"}
    config, path = matrix.write("set", loss, tmp_path)
    config["trainer"] |= {"epochs": 1, "validation_metric": "macro_f1"}
    config["output_features"][0]["threshold"] = 0.3
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(dataset=str(path), skip_save_model=True, output_directory=str(tmp_path))
    frame = pd.read_csv(path)
    predictions, _ = model.predict(frame)
    columns = {name for name in predictions if name.startswith("y_probabilities_")}
    assert columns == {"y_probabilities_a", "y_probabilities_b"}
    for row in predictions.to_dict("records"):
        likely = {name for name in "ab" if row[f"y_probabilities_{name}"] >= 0.3}
        assert {*row["y_predictions"]} == likely and len(row["y_probabilities"]) == len(likely)
    feature = model.model.output_features.get("y")
    logits = torch.randn(6, len(model.training_set_metadata["y"]["idx2str"]))
    outputs = feature.prediction_module({"y::logits": logits}, "y")["probabilities"]
    shares = torch.tensor([priors.get(name, 0.5) for name in model.training_set_metadata["y"]["idx2str"]])
    likely = (logits + shares.logit()).sigmoid()  # for the shares of the training data
    kept = [index for index, name in enumerate(model.training_set_metadata["y"]["idx2str"]) if name in "ab"]
    torch.testing.assert_close(outputs[:, kept], likely[:, kept])
    truth = [{*cell.split()} & {*"ab"} for cell in frame["y"]]
    said = [{*cell} for cell in predictions["y_predictions"]]
    frame["y"] += " unheard"
    found = model.evaluate(frame)[0]["y"]
    wrong = sum(len(a ^ b) for a, b in zip(truth, said, strict=True)) / (2 * len(frame))
    overlap = [len(a & b) / len(a | b) if a | b else 1 for a, b in zip(truth, said, strict=True)]
    assert found["hamming_distance"] == pytest.approx(wrong) and {"micro_f1", "average_precision"} <= {*found}
    assert found["jaccard"] == pytest.approx(sum(overlap) / len(overlap), abs=1e-6)


def test_a_loss_of_ludwigs_own_reports_what_it_reports_alone(tmp_path) -> None:
    config, path = matrix.write("set", {"type": "sigmoid_cross_entropy"}, tmp_path)
    config["trainer"]["epochs"] = 1
    result = LudwigModel(config, logging_level=logging.ERROR).train(
        dataset=str(path), skip_save_model=True, output_directory=str(tmp_path)
    )
    assert {*result.train_stats.validation["y"]} == {"loss", "jaccard"}
