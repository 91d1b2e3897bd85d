"""Reads all channels of an image as the numbers that its file stores, in their full precision."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from database.errors import ImageError
from database.image_opening import (
    Converter,
    all_rows,
    decode,
    decode_errors_named,
    opened,
    raw_mode,
    upright_size,
    warnings_silenced,
)
from database.input_range import InputRange
from database.multiband_tiff import TiffLayout, described, is_tiff, read_layout, read_pixels
from database.regular_files import regular_file
from database.rgb_decoding import is_deep_grey, is_sixteen_bit_grey, swap_bytes
from database.tiff_channels import channels_not_decoded

# The channels of Pillow's modes. A palette stands for colours, black and white for 0 and 255.
_CHANNELS_OF_MODE = {"1": 1, "L": 1, "I": 1, "F": 1, "LA": 2, "P": 3, "RGB": 3, "RGBA": 4, "CMYK": 4}
_CONVERTED = {"1": "L", "P": "RGB"}
_WHITE_OF_BYTES, _WHITE_OF_16_BITS = 255.0, 65535.0
_NOT_READ = (
    "is not read, expected 8, 16, 32 or 64 bits, all of one type, and no compression, LZW, deflate, packbits or zstd: "
    "convert it, for example with gdal_translate -co COMPRESS=DEFLATE"
)


def read_channels(
    path: str,
    count: int,
    content: bytes | None = None,
    rows_of: Callable[[int], int] = all_rows,
    input_range: InputRange | None = None,
) -> tuple[np.ndarray, int]:
    """Reads the first rows of an image with all its channels, scaled so that white is 255.

    White is 255 in files of 8 bits. In others it is the number of `input_range`; without one, 65535 in whole numbers
    of 16 bits without sign, and 255 in others. Numbers below 0 and above white are kept.

    Args:
        path: a TIFF of whole numbers or fractions of 8 to 64 bits, or a file in any format that Pillow reads.
        count: the number of channels that the file must have; alpha is a channel.
        content, rows_of, input_range: see `images.read_first_rows`.

    Returns:
        float32 [rows, width, count], finite, and the height of the image.

    Raises:
        ImageError: the file has another number of channels, numbers that are not finite or pixels without data, or is
            stored in a way that is not read; see also `images.read_image`.
    """
    with decode_errors_named(path):
        layout = _layout_of(path, content)
        if layout is None:
            numbers, height, white = _decoded_by_pillow(path, content, rows_of, count)
        else:
            _check_count(path, layout.channels, count, layout.dtype.name)
            with _file(path, content) as file:
                numbers = read_pixels(path, file, layout)
            white = _usual_white(numbers.dtype)
            _check_data(path, numbers, layout.no_data, _white_in_use(numbers.dtype, white, input_range))
            height = layout.height
            numbers = numbers[: rows_of(height)]
        return _scaled(path, numbers, white, input_range or InputRange()), height


def channels_of_array(name: str, array: np.ndarray, count: int, input_range: InputRange | None = None) -> np.ndarray:
    """Converts an array of the numbers that a file would store to what `read_channels` returns for the file.

    Args:
        name: of the image, for messages.
        array: [H, W, count], or [H, W] for one channel, of whole numbers or fractions.
        count, input_range: see `read_channels`.

    Returns:
        float32 [H, W, count], a copy, finite, scaled so that white is 255.

    Raises:
        ImageError: the array has another type or shape, or numbers that are not finite.
    """
    found = f"{array.dtype} {list(array.shape)}"
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or array.shape[2] != count or array.dtype.kind not in "uif":
        raise ImageError(f"{name}: found {found}, expected numbers [H, W, {count}], as the checkpoint was trained with")
    return _scaled(name, array, _usual_white(array.dtype), input_range or InputRange())


def _usual_white(dtype: np.dtype) -> float:
    return _WHITE_OF_16_BITS if dtype.name == "uint16" else _WHITE_OF_BYTES


def _white_in_use(dtype: np.dtype, usual: float, input_range: InputRange | None) -> float:
    return usual if input_range is None or input_range.white is None or dtype == np.uint8 else input_range.white


def number_kind(path: str, content: bytes | None = None) -> tuple[str, float]:
    """Reads the type of the numbers of a file from its header, and returns it with the default number for white.

    Raises:
        ImageError: see `images.image_size`.
    """
    with decode_errors_named(path):
        layout = _layout_of(path, content)
        if layout is not None:
            return layout.dtype.name, _usual_white(layout.dtype)
        with opened(path, content) as (image, _):
            if _has_deep_colors(image) or is_sixteen_bit_grey(image):
                return "uint16", _WHITE_OF_16_BITS
            return {"I": "int32", "F": "float32"}.get(image.mode, "uint8"), _WHITE_OF_BYTES


def channel_image_size(path: str, content: bytes | None = None) -> tuple[int, int]:
    """Reads (height, width) from the header of a file that `read_channels` reads, with any number of channels.

    Raises:
        ImageError: see `images.image_size`.
    """
    with decode_errors_named(path):
        layout = _layout_of(path, content)
        if layout is not None:
            return layout.height, layout.width
        with opened(path, content) as (image, orientation):
            width, height = upright_size(image, orientation)
    return height, width


def pixels_without_data(path: str) -> tuple[float, np.ndarray] | None:
    """Finds the pixels of a TIFF that have no data by GDAL's tag: those whose channels all have its number.

    Args:
        path: of an image that was read before.

    Returns:
        The number, and a mask [height, width]; None if the file has no such tag or no such pixel.

    Raises:
        ImageError: see `images.read_image`.
    """
    with decode_errors_named(path):
        layout = _layout_of(path, None)
        if layout is None or layout.no_data is None or not _fits(layout.no_data, layout.dtype):
            return None
        with _file(path, None) as file:
            numbers = read_pixels(path, file, layout)
    mask = (numbers == numbers.dtype.type(layout.no_data)).all(axis=2)
    return (layout.no_data, mask) if mask.any() else None


def is_multiband_tiff(path: str, content: bytes | None = None) -> bool:
    """Returns whether a file is a TIFF that is read without Pillow's help in understanding it."""
    with decode_errors_named(path):
        return _layout_of(path, content) is not None


def _file(path: str, content: bytes | None) -> AbstractContextManager[IO[bytes]]:
    return open(path, "rb", opener=regular_file) if content is None else io.BytesIO(content)


def _layout_of(path: str, content: bytes | None) -> TiffLayout | None:
    """Returns the layout of a TIFF; None for other formats, and for TIFFs that only Pillow reads.

    Raises:
        ImageError: neither this package nor Pillow reads the TIFF.
    """
    with warnings_silenced(), _file(path, content) as file:
        if not is_tiff(file):
            return None
        layout = read_layout(path, file)
        found = "" if layout is not None else described(file)
    if layout is None:
        try:
            with opened(path, content):
                pass
        except UnidentifiedImageError as error:
            raise ImageError(f"{path}: a TIFF of {found} {_NOT_READ}") from error
    return layout


def _check_count(path: str, found: int, expected: int, kind: str) -> None:
    if found != expected:
        raise ImageError(
            f"{path}: the image has {found} channels ({kind}), expected {expected} by --input_channels or by the "
            "checkpoint: give images of one kind, or the number of their channels"
        )


def _check_data(path: str, numbers: np.ndarray, no_data: float | None, white: float) -> None:
    """Rejects pixels without data, unless their number is black or white."""
    if no_data is None or no_data in (0, white):
        return
    count = int(np.count_nonzero(numbers == numbers.dtype.type(no_data))) if _fits(no_data, numbers.dtype) else 0
    if count:
        raise ImageError(
            f"{path}: {count} of {numbers.size} numbers are {no_data:g}, its number for pixels without data, expected "
            f"0 (black) or {white:g} (white): replace them in the file, for example by 0, and let the label ignore "
            "such pixels"
        )


def _fits(number: float, dtype: np.dtype) -> bool:
    if dtype.kind == "f":
        return np.isfinite(number)
    return number.is_integer() and np.iinfo(dtype).min <= number <= np.iinfo(dtype).max


def _decoded_by_pillow(
    path: str, content: bytes | None, rows_of: Callable[[int], int], count: int
) -> tuple[np.ndarray, int, float]:
    """Decodes the first rows of a file with Pillow; returns numbers, height and the default number for white."""
    with opened(path, content) as (image, _):
        hidden = channels_not_decoded(image)
        if hidden is not None:
            raise ImageError(f"{path}: a TIFF of {hidden[0]} channels ({hidden[1]}) {_NOT_READ}")
        mode = "I" if image.mode.startswith("I;16") else image.mode
        _check_count(path, _CHANNELS_OF_MODE.get(mode, 0), count, f"Pillow's {image.mode}")
        is_16_bit_grey = is_sixteen_bit_grey(image)
        is_deep = _has_deep_colors(image)
    numbers, height = decode(path, content, rows_of, lambda image: _stored)
    if is_deep:  # Pillow decodes the upper bytes
        lower, _ = decode(path, content, rows_of, partial(_converter_of_lower_bytes, path=path))
        numbers = numbers.astype(np.uint16) * 256 + lower
    return numbers, height, _WHITE_OF_16_BITS if is_deep or is_16_bit_grey else _WHITE_OF_BYTES


def _has_deep_colors(image: Image.Image) -> bool:
    return not is_deep_grey(image) and ";16" in raw_mode(image)


def _converter_of_lower_bytes(image: Image.Image, path: str) -> Converter:
    if not swap_bytes(image):
        raise ImageError(f"{path}: {image.mode} of 16 bits is read only from TIFF: convert it")
    return _stored


def _stored(image: Image.Image) -> np.ndarray:
    """Returns the numbers of a decoded image, [H, W, channels]."""
    image.info.pop("transparency", None)
    array = np.asarray(image.convert(_CONVERTED[image.mode]) if image.mode in _CONVERTED else image)
    return array if array.ndim == 3 else array[..., np.newaxis]


def _scaled(path: str, numbers: np.ndarray, usual_white: float, input_range: InputRange) -> np.ndarray:
    """Converts to float32 and scales white to 255."""
    if numbers.dtype == np.uint8:
        input_range.check_bytes(path)
        return numbers.astype(np.float32)
    white = usual_white if input_range.white is None else input_range.white
    with np.errstate(over="ignore"):
        scaled = numbers.astype(np.float32)
        if white != _WHITE_OF_BYTES:
            scaled *= np.float32(_WHITE_OF_BYTES / white)
    if not np.isfinite(scaled).all():
        bad = np.argwhere(~np.isfinite(scaled))
        row, column, channel = (int(index) for index in bad[0])
        raise ImageError(
            f"{path}: {len(bad)} of {scaled.size} numbers are not finite (the first in row {row}, column {column}, "
            f"channel {channel}): replace them in the file, by 0 where there is no data, and let the label ignore "
            "such pixels"
        )
    input_range.check_scale(path, numbers, usual_white)
    return scaled
