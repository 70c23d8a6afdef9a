"""The colours of masks: which ones are classes, and the class of each pixel."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from ludwig.constants import IMAGE_MAX_CLASSES, INTERPOLATE
from ludwig.utils.image_utils import grayscale, read_image_from_bytes_obj, read_image_from_path, resize_image
from torch import Tensor
from torch.nn import functional

from ludwig_losses.parameters import shown

# Usually the first few masks have all classes.
MASKS_AT_ONCE = 16


class BadMasksError(ValueError):
    """Masks do not have the classes that are declared."""


class BadMaskError(BadMasksError):
    """What is wrong with a mask.

    Args:
        problem: what it is, without the name of the mask.
        mask: the name of the mask, where it is known.
        number: the colour that is wrong, see :func:`numbered`.
    """

    def __init__(self, problem: str, mask: str | None = None, number: int | None = None) -> None:
        super().__init__(problem if mask is None else f"{mask} {problem}")
        self.problem, self.mask, self.number = problem, mask, number

    def __reduce__(self) -> tuple:  # Ray pickles errors.
        return type(self), (self.problem, self.mask, self.number)


def names_of_colours(colours: Iterable | None) -> list[str] | None:
    """Name the classes of masks after their pixels: ``'255'`` in grey ones, ``'#ff0000'`` in colour."""
    if not colours:
        return None
    channels = [pixel if isinstance(pixel, (list, tuple)) else [pixel] for pixel in colours]
    return [str(int(c[0])) if len(c) == 1 else "#" + bytes(map(int, c)).hex() for c in channels]


def read(mask: Any, num_channels: int | None) -> Tensor:
    """Read a mask, given as Ludwig takes images, as ``[num_channels, height, width]`` of bytes.

    Raises:
        BadMaskError: it is no image of whole numbers from 0 to 255.
    """
    if isinstance(mask, bytes):
        image = read_image_from_bytes_obj(mask, num_channels)
    elif isinstance(mask, str):
        image = read_image_from_path(mask, num_channels)
    else:
        image = _tensor(mask) if isinstance(mask, np.ndarray) else mask
    if not isinstance(image, Tensor) or image.ndim not in (2, 3):
        raise BadMaskError("cannot be read as an image.")
    image = _bytes(image if image.ndim == 3 else image[None])
    if num_channels is None or image.shape[0] == num_channels:
        return image
    if num_channels == 1:
        return grayscale(image)
    # As Ludwig reads images.
    return functional.pad(image, [0, 0, 0, 0, 0, max(0, num_channels - image.shape[0])])[:num_channels]


def _tensor(mask: np.ndarray) -> Tensor:
    array = np.array(mask, dtype=mask.dtype if mask.dtype == np.uint8 else float)
    return torch.from_numpy(array.transpose(2, 0, 1) if array.ndim == 3 else array)


def _bytes(image: Tensor) -> Tensor:
    if image.dtype != torch.uint8 and (wrong := image != image.to(torch.uint8)).any():
        raise BadMaskError(f"has the value {image[wrong][0].item():g}; masks have whole numbers from 0 to 255.")
    return image.to(torch.uint8)


def numbered(image: Tensor) -> Tensor:
    """Return each colour of an image ``[channels, ...]`` as one number; Ludwig orders classes as these numbers are."""
    numbers = image[0].long()
    for channel in image[1:]:
        numbers = 256 * numbers + channel
    return numbers


def pixels(numbers: Iterable[int], num_channels: int) -> list[list[int]]:
    """Return numbered colours in their order, each as the list of its channels, as Ludwig keeps them."""
    return [list(number.to_bytes(num_channels, "big")) for number in sorted(numbers)]


def _names(numbers: Iterable[int], num_channels: int) -> str:
    names = names_of_colours(pixels(numbers, num_channels)) or []
    return shown(names) if len(names) <= 8 else f"{shown(names[:8])[:-1]}, ...]"


def classes_of(image: Tensor, colours: Tensor, size: tuple[int, int], method: str) -> Tensor:
    """Return the class of each pixel, ``[height, width]``.

    Args:
        image: ``[channels, ...]`` of bytes.
        colours: of the classes, ``[classes, channels]``; with one channel they are grey.
        size: height and width of the result.
        method: how Ludwig is to resize.

    Raises:
        BadMaskError: a colour is none of the classes.
    """
    if image.shape[0] == 1 and colours.flatten().tolist() == [0, 255]:
        # Ludwig takes each grey for black or white, whichever is nearer, when it has resized.
        return (resize_image(image, size, method)[0] > 127).to(torch.uint8)
    if method == INTERPOLATE and image.shape[1:] != size:
        # Interpolation would produce colours that are no class.
        image = functional.interpolate(image[None], size, mode="nearest-exact")[0]
    known = numbered(colours.expand(-1, image.shape[0]).T)
    numbers = numbered(resize_image(image, size, method))
    classes = torch.searchsorted(known, numbers).clamp(max=len(known) - 1)
    unknown = numbers[known[classes] != numbers]
    if unknown.numel():
        number = int(unknown[0])
        raise BadMaskError(
            f"has the colour {_names([number], image.shape[0])[1:-1]}, which is none of the classes of the training "
            f"data: {shown(names_of_colours(colours.tolist()))}. If it is one, train with a mask that has it, and "
            "count it in preprocessing.num_classes; else correct the mask.",
            number=number,
        )
    return classes.to(torch.uint8)


def find(masks: Iterable[Any], num_channels: int, num_classes: int | None, sample_size: int) -> list[list[int]]:
    """Return the colours of the classes in their order, looking at masks until all classes are found.

    Args:
        masks: as Ludwig takes images.
        num_channels: of the masks, as they are read.
        num_classes: how many classes there are; ``None`` to take what a sample of the masks has.
        sample_size: the number of masks to look at if ``num_classes`` is ``None``.

    Raises:
        BadMasksError: there are more classes, or fewer.
    """
    most, found, seen, count, grey = num_classes or IMAGE_MAX_CLASSES, set[int](), set[int](), 0, False
    for count, (mask, name, numbers) in enumerate(_colours_of(masks, num_channels), start=1):
        grey = grey or (count == 1 and num_channels > 1 and read(mask, None).shape[0] == 1)
        seen |= numbers
        found = {255 * (number > 127) for number in seen} if (num_classes, num_channels) == (2, 1) else seen
        if len(found) > most:
            raise BadMaskError(_too_many(numbers, found, num_channels, num_classes, count), name)
        if len(found) == num_classes or (num_classes is None and count == sample_size):
            break
    if len(found) < len(seen) == num_classes:
        found = seen  # Two greys that Ludwig would round to one, such as 0 and 1.
    if len(found) < max(2, num_classes or 2):
        raise BadMasksError(_too_few(found, num_channels, num_classes, count))
    colours = pixels(found, num_channels)
    # Ludwig calls the classes of grey files grey, whatever they are read as.
    return [colour[:1] for colour in colours] if grey and all(len(set(colour)) == 1 for colour in colours) else colours


def _colours_of(masks: Iterable[Any], num_channels: int) -> Iterator[tuple[Any, str, set[int]]]:
    """Yield each mask, its name, and its colours."""

    def look_at(row: int, mask: Any) -> tuple[Any, str, set[int]]:
        name = mask if isinstance(mask, str) else f"the mask of row {row} of the data"
        try:
            numbers = numbered(read(mask, num_channels)).flatten()
        except BadMaskError as error:
            raise BadMaskError(error.problem, name) from error
        # Without equal neighbours, which are most pixels, there is little to sort.
        return mask, name, set(numbers.unique_consecutive().unique().tolist())

    rows = enumerate(masks, start=1)
    with ThreadPoolExecutor() as executor:
        while several := list(itertools.islice(rows, MASKS_AT_ONCE)):
            yield from executor.map(look_at, *zip(*several, strict=True))


def name_of(masks: Iterable[Any], num_channels: int, bad: BadMaskError) -> str | None:
    """Return the name of the first mask that has a colour, or cannot be read."""
    try:
        named = (name for _, name, numbers in _colours_of(masks, num_channels) if bad.number in numbers)
        return next(named, None)
    except BadMaskError as error:
        return error.mask


def _too_many(numbers: set[int], found: set[int], num_channels: int, num_classes: int | None, count: int) -> str:
    before = "" if count == 1 else f", which makes {len(found)} with those of the {count - 1} masks before it"
    most = f"preprocessing.num_classes is {num_classes}" if num_classes else f"Ludwig takes {IMAGE_MAX_CLASSES} at most"
    return (
        f"has {len(numbers)} colours, {_names(numbers, num_channels)}{before}; {most}, and each colour is a class. "
        "Count them all, or save the masks without smoothing and without lossy compression (as PNG)."
    )


def _too_few(found: set[int], num_channels: int, num_classes: int | None, count: int) -> str:
    number = f"{len(found)} {'was' if len(found) == 1 else 'were'} found in {count} mask{'s' * (count > 1)}"
    only = f"but only {number}: {_names(found, num_channels)}."
    if num_classes is None:
        return f"a mask needs two classes, {only} Write preprocessing.num_classes, so that all masks are looked at."
    fewer = f"Write num_classes: {len(found)}, or add" if len(found) > 1 else "Add"
    rounding = " (Ludwig takes greys for the nearer of 0 and 255)" if (num_classes, num_channels) == (2, 1) else ""
    return (
        f"preprocessing.num_classes is {num_classes}, {only} {fewer} masks in which the missing classes are{rounding}."
    )
