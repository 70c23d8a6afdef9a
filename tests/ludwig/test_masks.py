"""The classes of masks: found in the whole of the training data, and the same for all that is evaluated after it."""

from __future__ import annotations

import copy
import itertools
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from ludwig.api import LudwigModel
from ludwig.features.image_feature import ImageFeatureMixin
from ludwig.schema.features.preprocessing.image import ImageOutputPreprocessingConfig
from PIL import Image

from ludwig_losses.comparison import candidates
from ludwig_losses.host import dry_run
from ludwig_losses.host.data import colours, masks

BLACK, BLUE, RED, GREEN = (0, 0, 0), (0, 0, 255), (255, 0, 0), (0, 255, 0)
CLASSES = [BLACK, BLUE, RED]
# The colours of each mask, of which the first has all.
COLOURS = [CLASSES, [BLACK], [BLACK, RED], [BLACK, BLUE]]
DICE = {"type": "dice_loss"}
# Ludwig 0.11 makes this of an error in preprocessing.
REFUSALS = (ValueError, RuntimeError)


def mask_of(colours: list, size: int = 16) -> np.ndarray:
    """A mask of stripes, whose first colour is the frequent one."""
    stripes = np.zeros((size, size), dtype=int)
    for index in range(1, len(colours)):
        stripes[4 * index : 4 * index + 2 + index] = index
    return np.array(colours, dtype=np.uint8)[stripes]


def write(folder, masks_to_write: list[np.ndarray]) -> pd.DataFrame:
    """Images that show their masks, and the masks."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number, mask in enumerate(masks_to_write):
        picture = mask if mask.ndim == 2 else mask.max(axis=2)
        for kind, image in (("image", picture), ("mask", mask)):
            Image.fromarray(image).save(folder / f"{kind}{number}.png")
        paths = {name: str(folder / f"{kind}{number}.png") for name, kind in (("x", "image"), ("y", "mask"))}
        rows.append({**paths, "split": 0})
    return pd.DataFrame(rows)


def config_of(loss=DICE, num_channels=1, **preprocessing) -> dict:
    unet, size = {"type": "unet", "conv_norm": None}, {"height": 16, "width": 16}
    x = {"name": "x", "type": "image", "encoder": unet, "preprocessing": {**size, "num_channels": num_channels}}
    y = {"name": "y", "type": "image", "decoder": {**unet, "num_fc_layers": 0}, "loss": dict(loss)}
    return {
        "input_features": [x],
        "output_features": [{**y, "preprocessing": {**size, "num_channels": 3, "num_classes": 3, **preprocessing}}],
        "preprocessing": {"split": {"type": "fixed"}},
        "trainer": {"epochs": 1, "batch_size": 4, "eval_batch_size": 4},
    }


def prepared(data, loss=DICE, folder=None, metadata=None, **preprocessing):
    """The masks ``[B, H, W]`` of data as they are trained on, and what is known of them."""
    backend = {"type": "local"} if folder is None else {"type": "local", "cache_dir": str(folder)}
    model = LudwigModel(config_of(loss, **preprocessing), logging_level=logging.ERROR, backend=backend)
    data = {"dataset": data} if not isinstance(data, dict) else data
    result = model.preprocess(**data, skip_save_processed_input=folder is None)
    return targets(model, result.training_set), result.training_set_metadata


def targets(model: LudwigModel, dataset) -> np.ndarray:
    column = next(feature for feature in model.config_obj.to_dict()["output_features"])["proc_column"]
    return np.asarray(dataset.get(column))


def expected(masks_: list[np.ndarray], classes=CLASSES) -> np.ndarray:
    return np.stack([np.stack([(mask == colour).all(-1) for colour in classes]).argmax(0) for mask in masks_])


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> pd.DataFrame:
    return write(tmp_path_factory.mktemp("four"), list(map(mask_of, COLOURS)))


@pytest.fixture(scope="module")
def trained(four, tmp_path_factory) -> tuple[LudwigModel, str]:
    folder = tmp_path_factory.mktemp("trained")
    model = LudwigModel(config_of(), logging_level=logging.ERROR)
    model.train(four, output_directory=str(folder), skip_save_processed_input=True, skip_save_model=True)
    model.save(str(folder / "saved"))
    return model, str(folder / "saved")


def evaluate(model: LudwigModel, data: pd.DataFrame) -> dict[str, float]:
    statistics, _, _ = model.evaluate(data, skip_save_unprocessed_output=True)
    return statistics["y"]


def test_every_order_of_the_rows_is_evaluated_with_the_classes_of_the_model(trained, four):
    model, saved = trained
    reloaded = LudwigModel.load(saved, logging_level=logging.ERROR)
    known = copy.deepcopy(model.training_set_metadata["y"]["preprocessing"]["channel_class_map"])
    assert known == [list(colour) for colour in CLASSES]
    first = evaluate(model, four)
    assert 0 < first["mean_iou"] < 1, "not so well or badly trained that an order could not be seen"
    for order in ([1, 2, 3, 0], [3, 2, 1, 0], [2, 0, 3, 1], [0, 1, 2, 3]):
        for again in (model, reloaded):
            assert evaluate(again, four.iloc[order]) == pytest.approx(first, abs=1e-5), order
            assert again.training_set_metadata["y"]["preprocessing"]["channel_class_map"] == known


def test_every_order_of_the_rows_has_the_targets_of_the_model(trained, four):
    from ludwig.data.preprocessing import preprocess_for_prediction

    model, _ = trained
    everything = expected(list(map(mask_of, COLOURS)))
    for order in map(list, itertools.permutations(range(4))):
        dataset, _ = preprocess_for_prediction(
            model.config_obj.to_dict(), four.iloc[order], training_set_metadata=model.training_set_metadata
        )
        assert (targets(model, dataset) == everything[order]).all(), order


def test_a_colour_that_the_model_does_not_know_is_an_error_also_after_a_reload(trained, four, tmp_path):
    model, saved = trained
    strange = write(tmp_path / "strange", list(map(mask_of, [CLASSES, [BLACK, GREEN], [BLACK]])))
    for again in (model, LudwigModel.load(saved, logging_level=logging.ERROR)):
        with pytest.raises(
            ValueError, match=r"mask1.png has the colour '#00ff00', which is none.* data: \['#000000', '#0000ff', '#ff0"
        ):
            evaluate(again, strange)
        predictions, _ = again.predict(strange.drop(columns="y"))
        assert {tuple(pixel) for image in predictions["y_predictions"] for pixel in np.reshape(image, (3, -1)).T} <= {
            *CLASSES
        }
    assert evaluate(model, four)["mean_iou"] > 0


LACKING = {
    "one class": [[BLACK, RED], [BLACK, BLUE], [BLACK]],
    "all but the background": [[BLACK], [BLACK, BLUE], [BLACK, RED]],
    "the background": [[RED], [RED, BLUE], [BLACK]],
}


@pytest.mark.parametrize("lacking", LACKING)
def test_the_first_mask_may_lack_classes(lacking, tmp_path):
    pictures = list(map(mask_of, LACKING[lacking]))
    data = write(tmp_path, pictures)
    found, metadata = prepared(data)
    assert (found == expected(pictures)).all() and found.dtype in (np.uint8, np.float32)
    assert metadata["y"]["preprocessing"]["num_classes"] == 3
    data.to_csv(tmp_path / "data.csv", index=False)
    (line,) = dry_run.resolve(config_of(), str(tmp_path / "data.csv"))
    assert line == "output feature 'y': dice_loss, classes in this order: ['#000000', '#0000ff', '#ff0000']."


def test_an_empty_first_mask_of_two_classes_trains(tmp_path):
    data = write(tmp_path, [mask[..., 0] for mask in map(mask_of, [[BLACK], [BLACK, RED], [BLACK]])])
    config = config_of({"type": "focal_loss"}, num_classes=2)
    config["output_features"][0]["preprocessing"]["num_channels"] = 1
    model = LudwigModel(config, logging_level=logging.ERROR)
    model.train(data, output_directory=str(tmp_path), skip_save_processed_input=True, skip_save_model=True)
    assert evaluate(model, data).keys() >= {"iou_0", "iou_1"}


def test_splits_in_files_of_their_own_have_the_same_classes(tmp_path):
    parts = {"training_set": [[BLACK, RED]] * 3, "validation_set": [[BLACK, BLUE]] * 3, "test_set": [[RED]] * 3}
    files = {}
    for part, colours_ in parts.items():
        files[part] = str(tmp_path / f"{part}.csv")
        write(tmp_path / part, list(map(mask_of, colours_))).to_csv(files[part], index=False)
    model = LudwigModel(config_of(), logging_level=logging.ERROR)
    *datasets, _ = model.preprocess(**files, skip_save_processed_input=True)
    for (_, colours_), dataset in zip(parts.items(), datasets, strict=True):
        assert (targets(model, dataset) == expected(list(map(mask_of, colours_)))).all()


def test_a_cached_run_has_the_same_classes_and_not_those_of_another_loss(tmp_path):
    pictures = list(map(mask_of, COLOURS))
    write(tmp_path / "images", pictures).to_csv(tmp_path / "data.csv", index=False)
    keys = set()
    (tmp_path / "cache").mkdir()
    for loss in ({"type": "softmax_cross_entropy"}, DICE, DICE):
        found, metadata = prepared(str(tmp_path / "data.csv"), loss, folder=tmp_path / "cache")
        # Ludwig 0.11 shuffles what it reads from its cache.
        assert sorted(map(bytes, found.astype(np.uint8))) == sorted(map(bytes, expected(pictures).astype(np.uint8)))
        keys.add(metadata["checksum"])
    assert len(keys) == 2


def test_a_cache_that_another_model_has_left_is_no_data_for_this_one(trained, tmp_path):
    model, _ = trained
    metadata = copy.deepcopy(model.training_set_metadata)
    metadata["y"]["preprocessing"]["channel_class_map"] = [[0, 0, 0], [0, 255, 0]]
    with pytest.raises(
        ValueError, match=r"classes \['#000000', '#00ff00'\], but those of the model are \['#000000', '#0"
    ):
        masks.preprocess_masks_for_evaluation(
            lambda config, training_set_metadata: (None, metadata),
            model.config_obj,
            training_set_metadata=model.training_set_metadata,
        )


def test_masks_in_memory_are_read_as_files_are(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pictures = list(map(mask_of, COLOURS))
    data = pd.DataFrame({"x": pictures, "y": pictures, "split": 0})
    for order in ([0, 1, 2, 3], [1, 2, 3, 0]):
        model = LudwigModel(config_of(num_channels=3), logging_level=logging.ERROR)
        result = model.preprocess(data.iloc[order].reset_index(drop=True), skip_save_processed_input=True)
        assert (targets(model, result.training_set) == expected(pictures)[order]).all()
        column = config_column(model, "input_features")
        shown = np.asarray(result.training_set.get(column)) * 255
        assert (shown.round() == np.moveaxis(np.stack(pictures)[order], 3, 1)).all()


MODES = ["eager", "lazy", "lazy_cached"] if "mode" in ImageOutputPreprocessingConfig.get_valid_field_names() else []


@pytest.mark.parametrize("mode", MODES)
def test_data_with_as_many_rows_is_not_taken_for_other_data(mode, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pictures = list(map(mask_of, COLOURS))
    for order in ([0, 1, 2, 3], [1, 2, 3, 0]):
        found, _ = prepared(write(tmp_path / str(order), [pictures[index] for index in order]), mode=mode)
        assert (found == expected(pictures)[order]).all()


def config_column(model: LudwigModel, features: str) -> str:
    return model.config_obj.to_dict()[features][0]["proc_column"]


REFUSED = {
    "fewer classes": (
        [[BLACK, RED]] * 5,
        {},
        r"num_classes is 3, but only 2 were found in 5 masks: \['#000000', '#ff0000'\]. Write num_classes: 2, or add",
    ),
    "nothing but background": (
        [[BLACK]] * 3,
        {"num_classes": 2},
        r"only 1 was found in 3 masks: \['#000000'\]. Add masks",
    ),
    "more classes in one": (
        [[BLACK, RED], [*CLASSES, GREEN]],
        {},
        r"mask1.png has 4 colours, \['#000000', '#0000ff', '#00ff00', '#ff0000'\], which makes 4 with those of the 1 mask",
    ),
    "no number": ([[BLACK, RED]], {"num_classes": None}, r"preprocessing.num_classes is missing"),
    "too small a sample": (
        [[BLACK], [BLACK, RED]],
        {"num_classes": None, "infer_image_num_classes": True, "infer_image_sample_size": 1},
        r"only 1 was found in 1 mask: \['#000000'\]. Write preprocessing.num_classes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_masks_that_do_not_have_the_declared_classes_are_refused(case, tmp_path):
    colours_, preprocessing, message = REFUSED[case]
    with pytest.raises(REFUSALS, match=rf"output feature 'y': .*{message}"):
        prepared(write(tmp_path, list(map(mask_of, colours_))), **preprocessing)


def test_the_dry_run_reads_all_masks(tmp_path):
    data = write(tmp_path, [*map(mask_of, [CLASSES] * 3), mask_of([BLACK, GREEN])])
    data.to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(ValueError, match=r"mask3.png has the colour '#00ff00'"):
        dry_run.resolve(config_of(), str(tmp_path / "data.csv"))


def test_a_sample_of_the_masks_has_the_classes_where_they_are_to_be_inferred(tmp_path):
    pictures = list(map(mask_of, LACKING["one class"]))
    found, metadata = prepared(write(tmp_path, pictures), num_classes=None, infer_image_num_classes=True)
    assert (found == expected(pictures)).all() and metadata["y"]["preprocessing"]["num_classes"] == 3


def test_a_mask_that_cannot_be_read_is_an_error(tmp_path):
    data = write(tmp_path, list(map(mask_of, [CLASSES, [BLACK], [BLACK]])))
    (tmp_path / "mask1.png").write_text("no image")
    data.to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(ValueError, match=r"mask1.png cannot be read"):
        dry_run.resolve(config_of(), str(tmp_path / "data.csv"))


def test_masks_of_ludwigs_own_losses_are_left_to_ludwig(four, monkeypatch):
    ours, metadata = prepared(four, {"type": "softmax_cross_entropy"})
    for name in ("add_feature_data", "_finalize_preprocessing_parameters", "_read_image_if_bytes_obj_and_resize"):
        original = getattr(ImageFeatureMixin, name).__wrapped__
        monkeypatch.setattr(ImageFeatureMixin, name, staticmethod(original))
    theirs, plain = prepared(four, {"type": "softmax_cross_entropy"})
    assert (ours == theirs).all() and metadata["y"] == plain["y"]


def test_data_that_was_prepared_for_ludwigs_own_losses_is_refused(four, tmp_path):
    data = LudwigModel(config_of({"type": "softmax_cross_entropy"}), logging_level=logging.ERROR).preprocess(
        four, skip_save_processed_input=True
    )
    with pytest.raises(ValueError, match=r"'y': the data was preprocessed for another loss.*type: dice_loss"):
        LudwigModel(config_of(), logging_level=logging.ERROR).train(
            training_set=data.training_set,
            training_set_metadata=data.training_set_metadata,
            output_directory=str(tmp_path),
        )


def test_a_comparison_prepares_the_data_for_a_loss_that_looks_at_all_masks():
    losses = {"softmax_cross_entropy": {"type": "softmax_cross_entropy"}, "Dice": DICE, "focal": {"type": "focal_loss"}}
    assert candidates.mask_reading_loss(config_of(), 0, losses) == "Dice"
    assert candidates.mask_reading_loss(config_of(), 0, {"a": losses["softmax_cross_entropy"]}) is None


def grey(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(1, 1, -1)


def test_greys_are_rounded_as_ludwig_rounds_them_unless_that_leaves_one():
    assert colours.find([grey(0), grey(0, 3, 200, 254)], 1, 2, 1) == [[0], [255]]
    assert colours.find([grey(0), grey(0, 1)], 1, 2, 1) == [[0], [1]]
    with pytest.raises(
        colours.BadMasksError, match=r"only 1 was found in 2 masks: \['0'\]. Add .* nearer of 0 and 255"
    ):
        colours.find([grey(0), grey(0, 1, 2)], 1, 2, 1)
    black_and_white = torch.tensor([[0], [255]], dtype=torch.uint8)
    classes = colours.classes_of(grey(0, 127, 128, 255), black_and_white, (1, 4), "interpolate")
    assert classes.tolist() == [[0, 0, 1, 1]]
    classes = colours.classes_of(grey(0, 1), torch.tensor([[0], [1]], dtype=torch.uint8), (1, 2), "interpolate")
    assert classes.tolist() == [[0, 1]]


def test_looking_stops_when_all_classes_are_found(monkeypatch):
    looked_at = []
    monkeypatch.setattr(colours, "read", lambda mask, channels: looked_at.append(mask) or grey(*range(mask + 1)))
    assert colours.find(range(1000), 1, 3, 1) == [[0], [1], [2]]
    assert len(looked_at) <= 2 * colours.MASKS_AT_ONCE


def test_resizing_does_not_mix_colours():
    wide = torch.from_numpy(mask_of([BLACK, BLUE, RED], 48)).permute(2, 0, 1)
    known = torch.tensor(CLASSES, dtype=torch.uint8)
    for method in ("interpolate", "crop_or_pad"):
        assert colours.classes_of(wide, known, (16, 16), method).shape == (16, 16)
    assert set(colours.classes_of(wide, known, (31, 17), "interpolate").flatten().tolist()) == {0, 1, 2}


def test_grey_files_have_grey_classes_whatever_they_are_read_as(tmp_path):
    Image.fromarray(np.array([[0, 7], [7, 255]], dtype=np.uint8)).save(tmp_path / "grey.png")
    found = colours.find([str(tmp_path / "grey.png")], 3, 3, 1)
    assert found == [[0], [7], [255]]
    image = colours.read(str(tmp_path / "grey.png"), 3)
    assert image.shape == (3, 2, 2)
    classes = colours.classes_of(image, torch.tensor(found, dtype=torch.uint8), (2, 2), "interpolate")
    assert classes.tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (256, "256"), (-1, "-1")])
def test_masks_are_of_whole_numbers(value, shown):
    with pytest.raises(colours.BadMasksError, match=rf"has the value {shown}; masks have whole numbers from 0 to 255"):
        colours.read(torch.tensor([[[0, value]]]), 1)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_classes_have_the_order_that_ludwig_gives_them(channels):
    from ludwig.utils.image_utils import get_class_mask_from_image, get_unique_channels

    generator = torch.Generator().manual_seed(channels)
    image = (torch.randint(3, (channels, 9, 11), generator=generator) * 100).to(torch.uint8)
    known = get_unique_channels([image], channels)
    assert colours.find([image], channels, len(known), 1) == known.tolist()
    found = colours.classes_of(image, known, (9, 11), "interpolate")
    assert (found == get_class_mask_from_image(known, image)).all()
