"""Converts images that Python code passes, as arrays, PIL images or paths, to the pixels that a network gets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from database.channel_reading import channels_of_array
from database.channels import Channels
from database.errors import ImageError
from database.image_opening import decode_errors_named
from database.images import read_image
from database.input_range import InputRange
from database.rgb_decoding import rgb_converter
from database.tiff_channels import check_all_decoded

_EXPECTED = "a NumPy array uint8 [H, W, 3] in RGB, a PIL image or a path"

# Where the channels of an array are, by their number: grey is repeated, transparency is dropped.
_GREY, _RGB, _RGBA = 1, 3, 4


def is_one_image(value: Any) -> bool:
    """Returns whether a value is an image, as opposed to several: an array of 4 axes is several."""
    if isinstance(value, np.ndarray):
        return value.ndim != 4
    return isinstance(value, str | bytes | os.PathLike | Image.Image) or not isinstance(value, Iterable)


def named_images(images: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yields each of several images with its name for messages, such as `images[3]`."""
    for index, image in enumerate(images):
        yield f"images[{index}]", image


def image_pixels(
    image: Any, name: str, input_range: InputRange, channels: Channels | None = None
) -> tuple[np.ndarray, str | None]:
    """Converts an image to RGB pixels, or to the channels that a network gets.

    Args:
        image: an array uint8 [H, W, 3], [H, W, 4], of which the last channel is dropped, or [H, W] or [H, W, 1], which
            is repeated; a PIL image, turned upright by its EXIF orientation as a file is; or the path of a file.
            With `channels`, an array of the numbers that a file would store, see `channels_of_array`, or a path.
        name: of the image, for messages.
        input_range, channels: see `database.images.read_image`.

    Returns:
        uint8 [H, W, 3], or with `channels` float32 [H, W, channels.count], read-only, and the path; None without one.

    Raises:
        ImageError: the image is of another type or shape, has no pixels, or cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        path = os.fsdecode(image)
        return read_image(path, input_range=input_range, channels=channels), path
    image = _plain_array(image, name)
    if channels is not None:
        if not isinstance(image, np.ndarray):
            raise ImageError(
                f"{name}: found {type(image).__name__}, expected a path or a NumPy array [H, W, {channels.count}], as "
                "the checkpoint was trained with the channels of files"
            )
        pixels = channels_of_array(name, image, channels.count, input_range)
    elif isinstance(image, Image.Image):
        pixels = _of_pil(image, name, input_range)
    elif isinstance(image, np.ndarray):
        pixels = _of_array(image, name)
    else:
        raise ImageError(f"{name}: found {type(image).__name__}, expected {_EXPECTED}")
    if not pixels.size:
        raise ImageError(f"{name}: {_shown(pixels)} has no pixels, expected 1x1 or more")
    pixels.setflags(write=False)
    return pixels, None


def _plain_array(image: Any, name: str) -> Any:
    """Returns an array without a class such as np.matrix, which has its own rules on axes; other images unchanged."""
    if isinstance(image, np.ma.MaskedArray):
        raise ImageError(f"{name}: found a masked array, and pixels cannot be left out: give image.filled(0)")
    return np.asarray(image) if isinstance(image, np.ndarray) else image


def _of_pil(image: Image.Image, name: str, input_range: InputRange) -> np.ndarray:
    with decode_errors_named(name):
        check_all_decoded(image, name)  # `upright` has lost the tags
        image.load()
        upright = ImageOps.exif_transpose(image)
        return np.array(rgb_converter(upright, name, input_range)(upright))


def _of_array(array: np.ndarray, name: str) -> np.ndarray:
    """Returns a copy of an array, because results keep it."""
    if array.dtype != np.uint8:
        example = "(255 * image).round().astype('uint8') if 1 is white"
        advice = f", such as {example}" if np.issubdtype(array.dtype, np.floating) else ""
        raise ImageError(f"{name}: found {_shown(array)}, expected uint8 with values 0..255: convert it{advice}")
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (_GREY, _RGB, _RGBA):
        first = array.ndim == 3 and array.shape[0] in (_GREY, _RGB, _RGBA)
        advice = ": move the channels to the end with image.transpose(1, 2, 0)" if first else ""
        raise ImageError(f"{name}: found {_shown(array)}, expected {_EXPECTED}{advice}")
    return np.repeat(array, 3, axis=2) if array.shape[2] == _GREY else np.array(array[..., :3])


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"
