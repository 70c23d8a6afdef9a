"""Photographs, their masks, and what two losses predict: ``python examples/small_objects/masks.py FOLDER``.

Trains ``config.yaml`` with cross-entropy and with Lovász-Softmax, with one seed, and draws the first test pictures,
whatever their results are.
"""

from __future__ import annotations

import logging
import os
import pathlib
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import yaml

matplotlib.use("Agg")

HERE = pathlib.Path(__file__).parent
LOSSES = {"cross-entropy": "softmax_cross_entropy", "Lovász-Softmax": "lovasz_softmax_loss"}
SEED, SHOWN, TEST = 0, 8, 2


def predicted(loss: str, data: pd.DataFrame, folder: pathlib.Path) -> tuple[np.ndarray, float]:
    """Train with a loss; return the masks of the first test pictures, and the IoU of the digits in all of them."""
    from ludwig.api import LudwigModel

    config = yaml.safe_load((HERE / "config.yaml").read_text())
    config["output_features"][0]["loss"] = {"type": loss}
    model = LudwigModel(config, logging_level=logging.ERROR)
    output = str(folder / loss)
    model.train(data, output_directory=output, random_seed=SEED, skip_save_processed_input=True)
    predictions, _ = model.predict(data, split="test", output_directory=output)
    masks = np.stack([np.asarray(mask).squeeze() for mask in predictions["mask_predictions"]])
    return masks[:SHOWN], iou(masks, np.stack([read(path) for path in data[data.split == TEST]["mask"]]))


def read(path: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path))


def iou(masks: np.ndarray, truth: np.ndarray) -> float:
    """Return the intersection over the union of what is not background, over all pictures."""
    return float(((masks > 0) & (truth > 0)).sum() / ((masks > 0) | (truth > 0)).sum())


def draw(rows: dict[str, list[np.ndarray]], path: pathlib.Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), SHOWN, figsize=(SHOWN, 1.08 * len(rows)), layout="constrained")
    for line, (title, pictures) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize="small")
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture if picture.ndim == 3 else picture > 0, cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main(folder: pathlib.Path) -> None:
    os.environ["LUDWIG_LOSSES_PLUGINS"] = str(HERE / "small_unet.py")
    subprocess.run([sys.executable, HERE / "prepare.py", folder], check=True)
    data = pd.read_csv(folder / "data.csv")
    shown = data[data.split == TEST][:SHOWN]
    rows = {"picture": [read(path) for path in shown["picture"]], "true mask": [read(path) for path in shown["mask"]]}
    for name, loss in LOSSES.items():
        masks, found = predicted(loss, data, folder)
        np.save(folder / f"{loss}.npy", masks)
        rows[f"{name}\n(IoU {found:.2f})"] = list(masks)
    draw(rows, folder / "masks.png")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
