"""Real trainings on a GPU, where there is one. Ludwig takes it without being asked to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.features.base_feature import OutputFeature

import declared
import matrix
from synchronising import waiting_is_an_error
from test_api import numbers
from test_metrics import METRICS, TERMS, batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

PAIRS = [*declared.PAIRS, *declared.MORE_PAIRS, ("category", "compound_loss")]


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "mixed precision"])
@pytest.mark.parametrize(("feature", "loss"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_trains_without_waiting_and_reloads(feature, loss, mixed, tmp_path, monkeypatch) -> None:
    options = TERMS if loss == "compound_loss" else declared.options(feature, loss)
    config, path = matrix.write(feature, {"type": loss, **options}, tmp_path)
    config["trainer"]["use_mixed_precision"] = mixed
    waited = []
    monkeypatch.setattr(OutputFeature, "train_loss", without_waiting(OutputFeature.train_loss, waited))
    model = LudwigModel(config, logging_level=logging.ERROR)
    result = model.train(str(path), output_directory=str(tmp_path), skip_save_processed_input=True)
    losses = result.train_stats.training["y"]["loss"]
    assert np.isfinite(losses).all() and (losses[-1] < losses[0] or declared.may_grow(loss))
    assert {parameter.device.type for parameter in model.model.parameters()} == {"cuda"}

    predicted, _ = model.predict(str(path))
    model.save(str(tmp_path / "saved"))
    again, _ = LudwigModel.load(str(tmp_path / "saved"), logging_level=logging.ERROR).predict(str(path))
    assert np.isfinite(numbers(predicted)).all()
    np.testing.assert_allclose(numbers(again), numbers(predicted), atol=1e-3 if mixed else 1e-5)
    assert not waited[1:], waited  # a library sets itself up in the first step


def without_waiting(function: Callable, waited: list[str]) -> Callable:
    """The same function, on whose waiting torch raises; then it is called again."""

    def replacement(*args: Any) -> Any:
        try:
            with waiting_is_an_error():
                return function(*args)
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            waited.append(str(error))
        return function(*args)

    return replacement


@pytest.mark.parametrize("name", METRICS)
def test_no_metric_waits_for_a_batch(name: str) -> None:
    metric, tensors = METRICS[name]().to(torch.device("cuda")), [tensor.cuda() for tensor in batch(name)]
    metric.update(*tensors)
    with waiting_is_an_error():
        metric.update(*tensors)
    on_cpu = METRICS[name]()
    for _ in range(2):
        on_cpu.update(*(tensor.cpu() for tensor in tensors))
    for state in on_cpu._defaults:
        torch.testing.assert_close(getattr(metric, state), getattr(on_cpu, state), check_device=False)
