"""Segmentation: options and class names of the losses on image features, and the metrics of these features."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel, TrainingStats
from ludwig.error import ConfigValidationError
from ludwig.features.feature_registries import get_output_type_registry
from ludwig.modules.loss_modules import create_loss
from ludwig.modules.metric_registry import get_metric_objective, get_metrics_for_type
from ludwig.schema.features.loss.loss import get_loss_cls
from ludwig.schema.model_types.base import ModelConfig
from PIL import Image
from sklearn.datasets import load_digits

import declared
from ludwig_losses import functional
from ludwig_losses.host.data.colours import names_of_colours
from ludwig_losses.host.registry import find
from ludwig_losses.metrics.reported.segmentation import SegmentationMetric
from ludwig_losses.parameters import Feature

# In the order of the classes.
COLOURS = {"#000000": (0, 0, 0), "#0000ff": (0, 0, 255), "#ff0000": (255, 0, 0)}
OPTIONS = {"tversky_alpha": 0.3, "tversky_beta": 0.7, "focal_tversky_gamma": 1.5}

LOSSES = {
    "dice_weighted": {
        "type": "dice_loss",
        "class_weights": {"#000000": 0.5, "#FF0000": 2, "#0000ff": 1},
        "per_image": False,
        **OPTIONS,
    },
    "dice_ignoring": {
        "type": "dice",
        "ignore_index": "#0000ff",
        "squared_denominator": True,
        "include_background": False,
        "log_dice": True,
    },
    "dice_generalized": {"type": "dice_loss", "generalized": True, "jaccard": True, "smooth": 0.5},
    "lovasz": {"type": "lovasz_softmax", "classes": ["#ff0000", "#000000"], "ignore_index": 1, "per_image": True},
    "cross_entropy": {"type": "softmax_cross_entropy"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pd.DataFrame:
    """Digits whose pixels are dark, faint or bright."""
    folder, rows = tmp_path_factory.mktemp("segmentation"), []
    for index, digit in enumerate(load_digits().images[:12]):
        picture = np.kron(digit * 15, np.ones((2, 2))).astype(np.uint8)
        mask = np.array(list(COLOURS.values()), dtype=np.uint8)[np.digitize(picture, [60, 180])]
        Image.fromarray(picture).save(folder / f"image{index}.png")
        Image.fromarray(mask).save(folder / f"mask{index}.png")
        rows.append({"x": str(folder / f"image{index}.png"), "y": str(folder / f"mask{index}.png"), "split": index % 3})
    return pd.DataFrame(rows)


def configuration(loss: dict) -> dict:
    unet, size = {"type": "unet", "conv_norm": None}, {"height": 16, "width": 16}
    x = {"name": "x", "type": "image", "encoder": unet, "preprocessing": {**size, "num_channels": 1}}
    y = {"name": "y", "type": "image", "decoder": {**unet, "num_fc_layers": 0}, "loss": loss}
    return {
        "input_features": [x],
        "output_features": [{**y, "preprocessing": {**size, "num_channels": 3, "num_classes": 3}}],
        "preprocessing": {"split": {"type": "fixed"}},
        "trainer": {
            "epochs": 2,
            "batch_size": 4,
            "eval_batch_size": 4,
            "early_stop": 1,
            "validation_metric": "mean_iou",
        },
    }


@pytest.fixture(scope="module", params=LOSSES)
def trained(request, data, tmp_path_factory) -> tuple[str, LudwigModel, TrainingStats]:
    """A U-Net trained with each loss; one of them also saved and loaded, which takes longer than the training."""
    folder = tmp_path_factory.mktemp(request.param)
    model = LudwigModel(configuration(dict(LOSSES[request.param])), logging_level=logging.ERROR)
    result = model.train(data, output_directory=str(folder), skip_save_processed_input=True, skip_save_model=True)
    if request.param == "lovasz":
        model.save(str(folder / "saved"))
        model = LudwigModel.load(str(folder / "saved"), logging_level=logging.ERROR)
    return request.param, model, result.train_stats


RESOLVED = {
    "dice_weighted": {"class_weights": torch.tensor([0.5, 1, 2]), **OPTIONS, "per_image": False},
    "dice_ignoring": {"ignore_index": 1, "squared_denominator": True, "include_background": False, "log_dice": True},
    "dice_generalized": {"generalized": True, "jaccard": True, "smooth": 0.5},
    "lovasz": {"classes": [0, 2], "ignore_index": 1, "per_image": True},
}


def test_options_and_names_reach_the_loss_also_after_a_reload(trained):
    name, model, statistics = trained
    loss = model.model.output_features.get("y").train_loss_function
    logits, target = torch.randn(2, 3, 16, 16), torch.randint(3, (2, 16, 16), dtype=torch.uint8)
    plain = {"dice": functional.dice_loss, "lovasz": functional.lovasz_softmax_loss}
    expected = plain.get(name.split("_")[0], torch.nn.functional.cross_entropy)
    expected = expected(logits, target.long(), **RESOLVED.get(name, {}))
    torch.testing.assert_close(loss(logits, target), expected)
    assert np.isfinite(statistics.training["y"]["loss"]).all()


def test_evaluation_reports_what_counting_pixels_gives(trained, data):
    name, model, statistics = trained
    evaluated, predicted, _ = model.evaluate(data, collect_predictions=True)
    true = np.stack([np.array(Image.open(path)) for path in data["y"]])
    images = np.stack([np.moveaxis(np.array(image), 0, -1) for image in predicted["y_predictions"]])
    expected = metrics_by_counting(indices(images), indices(true), [1] if "ignore_index" in LOSSES[name] else [])
    assert {key: value for key, value in evaluated["y"].items() if key != "loss"} == pytest.approx(expected)
    for split in (statistics.training, statistics.validation, statistics.test):
        assert {"mean_iou", "dice_coefficient", "pixel_accuracy", "iou_0"} <= split["y"].keys()


def indices(images: np.ndarray) -> np.ndarray:
    """The class of each pixel ``[..., 3]``."""
    return np.stack([(images == colour).all(-1) for colour in COLOURS.values()]).argmax(0)


def metrics_by_counting(predicted: np.ndarray, true: np.ndarray, ignored: list[int]) -> dict[str, float]:
    counted = ~np.isin(true, ignored)
    predicted, true = predicted[counted], true[counted]
    ious, dices = {}, []
    for c in (c for c in range(3) if c not in ignored):
        both, either = ((predicted == c) & (true == c)).sum(), ((predicted == c) | (true == c)).sum()
        if either:
            ious[f"iou_{c}"] = both / either
            dices.append(2 * both / (both + either))
    return {
        "mean_iou": np.mean(list(ious.values())),
        "dice_coefficient": np.mean(dices),
        "pixel_accuracy": (predicted == true).mean(),
        **ious,
    }


def test_metrics_of_all_images_are_not_the_mean_over_batches_and_follow_their_definitions():
    metric = SegmentationMetric(4, ignored=(3,))
    metric.update(torch.tensor([[[0, 0, 1, 1]]], dtype=torch.uint8), torch.tensor([[[0, 0, 0, 3]]], dtype=torch.uint8))
    metric.update(torch.tensor([[[0, 3, 1, 0]]], dtype=torch.uint8), torch.tensor([[[0, 0, 1, 1]]], dtype=torch.uint8))
    # Class 0: 3 right, 2 missed, 1 wrong; class 1: 1 right, 1 missed, 1 wrong; class 2 is neither there nor predicted.
    values = {name: value.item() for name, value in metric.compute().items()}
    assert values == pytest.approx(
        {
            "iou_0": 3 / 6,
            "iou_1": 1 / 3,
            "mean_iou": (3 / 6 + 1 / 3) / 2,
            "dice_coefficient": (6 / 9 + 2 / 4) / 2,
            "pixel_accuracy": 4 / 7,
        }
    )
    assert metric.counts.numel() == 16


def test_a_class_that_is_only_predicted_counts_and_none_at_all_gives_0():
    metric = SegmentationMetric(3)
    assert {name: value.item() for name, value in metric.compute().items()} == dict.fromkeys(metric.NAMES, 0.0)
    metric.update(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    values = metric.compute()
    assert (values["iou_0"], values["iou_1"]) == (0.5, 0) and values["mean_iou"] == 0.25 and "iou_2" not in values


@pytest.mark.parametrize(
    ("name", "loss"),
    [("mean_iou", "softmax_cross_entropy"), ("dice_coefficient", "dice_loss"), ("pixel_accuracy", "lovasz_softmax")],
)
def test_metrics_are_known_to_training_and_hyperopt(name, loss):
    config = {
        "input_features": [{"name": "x", "type": "image"}],
        "output_features": [{"name": "mask", "type": "image", "loss": {"type": loss}}],
        "trainer": {"validation_metric": name},
        "hyperopt": {"metric": name, "goal": "maximize", "output_feature": "mask", "parameters": {}},
    }
    parsed = ModelConfig.from_dict(config)
    assert (parsed.trainer.validation_field, parsed.trainer.validation_metric) == ("mask", name)
    assert parsed.hyperopt.metric == name
    assert name in get_metrics_for_type("image") and get_metric_objective(name) == "maximize"
    assert not SegmentationMetric.can_report(get_output_type_registry()["image"])


# Of the losses that category features have, too, see test_options.py.
SECOND_VALUES = {
    name: declared.FACTS[name].changes for name, found in declared.SINGLE.items() if found.features == ("image",)
}


@pytest.mark.parametrize("name", SECOND_VALUES)
def test_every_parameter_changes_the_loss(name):
    assert SECOND_VALUES[name].keys() == find(name).parameters.keys() - {"weight"}
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(3, 3, 4, 5, generator=generator), torch.randint(3, (3, 4, 5), generator=generator)

    def loss(**options) -> torch.Tensor:
        return create_loss(get_loss_cls("image", name).from_dict({"type": name, **options}))(logits, target)

    for key, value in SECOND_VALUES[name].items():
        assert (loss(**{key: value}) - loss()).abs() > 1e-4, key


GREY = Feature("mask", classes=["0", "255"], num_classes=2)
MISNAMED = [
    (
        "dice_loss",
        {"ignore_index": 255},
        r"no class with index 255; .*in this order: \['0', '255'\]. Quote the name: '255'",
    ),
    ("dice_loss", {"ignore_index": "254"}, r"unknown \['254'\]. The classes are \['0', '255'\]"),
    ("dice_loss", {"class_weights": {"0": 1}}, r"missing \['255'\]"),
    ("dice_loss", {"class_weights": [1, 2, 3]}, "has 3 numbers, but there are 2 classes"),
    ("dice_loss", {"ignore_index": "255", "include_background": False}, "leave none of the 2 classes"),
    ("lovasz_softmax_loss", {"classes": ["255"], "ignore_index": "255"}, "have 1 in common"),
]


@pytest.mark.parametrize(("name", "options", "expected"), MISNAMED, ids=str)
def test_classes_that_do_not_exist_or_contradict_each_other(name, options, expected):
    loss = get_loss_cls("image", name).from_dict({"type": name, **options})
    with pytest.raises(ValueError, match=rf"loss.* \(output feature 'mask'\): .*{expected}"):
        loss.resolve(GREY)


def test_names_and_words_become_what_the_loss_takes():
    colours = Feature("mask", classes=list(COLOURS), num_classes=3, synonyms={"#0000FF": "#0000ff"})
    for name, options, expected in (
        ("lovasz_softmax_loss", {"classes": "all"}, "all"),
        ("lovasz_softmax_loss", {"classes": ["#0000FF"]}, [1]),
        ("focal_loss", {"alpha": {"#ff0000": 0.5, "#000000": 0.1, "#0000ff": 0.4}}, [0.1, 0.4, 0.5]),
        ("dice", {"ignore_index": ["#ff0000", "#0000FF"]}, [2, 1]),
    ):
        loss = get_loss_cls("image", name).from_dict({"type": name, **options})
        for _ in range(2):  # the second time as in a saved model
            loss.resolve(colours)
            assert getattr(loss, *options) == expected
        create_loss(loss)(torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8))


def test_colours_are_names():
    assert names_of_colours([[0], [255]]) == ["0", "255"]
    assert names_of_colours([[0, 0, 0], [255, 16, 1]]) == ["#000000", "#ff1001"]
    assert names_of_colours([[1, 2, 3, 255]]) == ["#010203ff"]
    assert names_of_colours([]) is names_of_colours(None) is None


def test_a_wrong_colour_stops_the_training(data, tmp_path):
    config = configuration({"type": "dice_loss", "ignore_index": "#00ff00"})
    with pytest.raises(ConfigValidationError, match=r"unknown \['#00ff00'\]. The classes are \['#000000', '#0000ff'"):
        LudwigModel(config).train(data, output_directory=str(tmp_path), skip_save_processed_input=True)
