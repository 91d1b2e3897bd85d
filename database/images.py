"""Reads and writes image and label files with Pillow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from PIL import Image, UnidentifiedImageError

from database.atomic import written_atomically
from database.channel_reading import channel_image_size, is_multiband_tiff, read_channels
from database.channels import Channels
from database.color_masks import Color, ColorTable, is_grey_ramp
from database.errors import ImageError
from database.image_opening import (
    MAX_PIXELS,
    PROGRAM_FORMATS,
    Converter,
    all_rows,
    decode,
    decode_errors_named,
    opened,
    set_max_pixels,
    upright_size,
)
from database.input_range import InputRange
from database.label_decoding import ids_converter
from database.regular_files import regular_file, writable_file
from database.rgb_decoding import is_deep_grey, rgb_converter
from database.tiff_channels import check_not_multiband

__all__ = [
    "MAX_PIXELS",
    "PROGRAM_FORMATS",
    "ImageError",
    "all_rows",
    "file_format",
    "has_palette",
    "image_size",
    "read_bytes",
    "read_first_label_rows",
    "read_first_rows",
    "read_image",
    "read_label",
    "read_label_with_table",
    "set_max_pixels",
    "write_image",
]


@contextmanager
def _decode_errors_explained(path: str, content: bytes | None, *, is_label: bool = False) -> Iterator[None]:
    """Works like `decode_errors_named`, and names the channels of a TIFF that only `channel_reading` reads."""
    with decode_errors_named(path):
        try:
            yield
        except UnidentifiedImageError:
            check_not_multiband(path, content, is_label=is_label)
            raise


def read_image(
    path: str,
    content: bytes | None = None,
    input_range: InputRange | None = None,
    channels: Channels | None = None,
) -> np.ndarray:
    """Reads an image file as RGB, upright by its EXIF orientation; or its channels, see `channel_reading`.

    Grey is repeated into three channels, 16-bit grey keeps its upper 8 bits, other integer and floating-point grey is
    rounded and clipped to 0..255, palettes are looked up, CMYK is converted, transparency is dropped. If `input_range`
    has a number for white, grey of more than 8 bits is scaled so that this number becomes 255.

    Args:
      path: a file in any format that Pillow reads, except PostScript, which would be executed.
      content: the file's bytes, if already read; the path is then used only in messages.
      input_range: see `input_range.InputRange`, which also warns about numbers that do not fit.
      channels: of the images that are read as they are stored; None for RGB.

    Returns:
      uint8 [height, width, 3], 0..255, read-only; with `channels`, float32 [height, width, channels.count].

    Raises:
      ImageError: the path is missing, a folder or not an image; the image is truncated, damaged or has too many pixels;
        it has NaN, infinity or numbers that are no brightness, see `input_range.InputRange.fault_of`; or it has 16-bit
        colours that are all below 256, and not all 0.
    """
    return read_first_rows(path, content, input_range=input_range, channels=channels)[0]


def read_first_rows(
    path: str,
    content: bytes | None = None,
    rows_of: Callable[[int], int] = all_rows,
    input_range: InputRange | None = None,
    channels: Channels | None = None,
) -> tuple[np.ndarray, int]:
    """Reads the first rows of an image as `read_image` does; damage after them is not detected.

    Args:
      path, content, input_range, channels: see `read_image`.
      rows_of: maps the height of the image to the number of rows wanted, 1 or more.

    Returns:
      uint8 [rows, width, 3], or float32 [rows, width, channels.count], and the height of the image.

    Raises:
      ImageError: see `read_image`; also if the file has other channels.
    """
    if channels is not None:
        return read_channels(path, channels.count, content, rows_of, input_range)
    with _decode_errors_explained(path, content):
        converter_of = partial(rgb_converter, path=path, input_range=input_range, content=content)
        return decode(path, content, rows_of, converter_of, is_deep_grey)


def read_label(path: str, content: bytes | None = None, colors: ColorTable | None = None) -> np.ndarray:
    """Reads a label file as the ids stored in it, upright by its EXIF orientation.

    A palette image gives its palette indices, never its colours; grey of any bit depth gives the stored numbers. With
    `colors`, the colour table of a palette image must agree with them, see `ColorTable.check_indices`.

    Args:
      path: a single-channel image file; with `colors`, also one with opaque colours.
      content: see `read_image`.
      colors: maps colours to ids.

    Returns:
      [height, width]: uint8, or int32 if the file stores more than 8 bits; read-only.

    Raises:
      ImageError: as `read_image`; also if the file is of a lossy format, stores colours or fractions instead of ids,
        has several pages, or packs its ids in a way that is not known to be read back exactly.
      DatasetError: a colour has no id, or the colour table of a palette image contradicts `colors`.
    """
    return read_first_label_rows(path, content, colors=colors)[0]


def read_label_with_table(
    path: str, content: bytes | None = None, colors: ColorTable | None = None
) -> tuple[np.ndarray, list[Color]]:
    """Reads a label as `read_label` does, and also the colour table of a palette image.

    Returns:
      The ids, and the colour of each index. The table is empty for other kinds of files, and if it is a grey ramp,
      which says nothing about the classes.
    """
    table: list[Color] = []

    def converter_of(image: Image.Image) -> Converter:
        ids_of = ids_converter(image, path, colors)
        is_indexed = image.mode == "P"

        def ids_with_table(decoded: Image.Image) -> np.ndarray:
            if is_indexed:
                numbers = decoded.getpalette("RGB") or []
                table.extend(zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=False))
            return ids_of(decoded)

        return ids_with_table

    with _decode_errors_explained(path, content, is_label=True):
        ids, _ = decode(path, content, all_rows, converter_of)
    return ids, [] if is_grey_ramp(table) else table


def read_first_label_rows(
    path: str,
    content: bytes | None = None,
    rows_of: Callable[[int], int] = all_rows,
    colors: ColorTable | None = None,
) -> tuple[np.ndarray, int]:
    """Reads the first rows of a label as `read_label` does, see `read_first_rows`.

    Returns:
      [rows, width], and the height of the label.
    """
    with _decode_errors_explained(path, content, is_label=True):
        return decode(path, content, rows_of, partial(ids_converter, path=path, colors=colors))


def image_size(path: str, content: bytes | None = None, channels: Channels | None = None) -> tuple[int, int]:
    """Reads (height, width) in pixels from a file's header, as `read_image` and `read_label` would return it.

    Args:
      path, content, channels: see `read_image`.

    Raises:
      ImageError: the path is missing, a folder or not an image, or has too many pixels. The pixels are not decoded.
    """
    if channels is not None:
        return channel_image_size(path, content)
    with _decode_errors_explained(path, content), opened(path, content) as (image, orientation):
        width, height = upright_size(image, orientation)
    return height, width


def file_format(path: str, content: bytes | None = None, channels: Channels | None = None) -> str:
    """Returns the format of a file by its header, Pillow's name in lower case: `png`, `jpeg`, `tiff`.

    Args:
      path, content, channels: see `read_image`.

    Raises:
      ImageError: as `image_size`.
    """
    if channels is not None and is_multiband_tiff(path, content):
        return "tiff"
    with _decode_errors_explained(path, content), opened(path, content) as (image, _):
        return str(image.format).lower()


def has_palette(path: str, content: bytes | None = None) -> bool:
    """Returns whether the pixels of a file are indices into a palette of colours, by its header.

    Args:
      path, content: see `read_image`.

    Raises:
      ImageError: as `image_size`.
    """
    with _decode_errors_explained(path, content, is_label=True), opened(path, content) as (image, _):
        return bool(image.mode == "P")


def read_bytes(path: str) -> bytes:
    """Reads the raw bytes of an image or label file.

    Raises:
      ImageError: the path is missing, a folder or cannot be read.
    """
    with decode_errors_named(path), open(path, "rb", opener=regular_file) as file:
        return file.read()


def write_image(path: str, array: np.ndarray, palette: Sequence[tuple[int, int, int]] | None = None) -> None:
    """Writes a PNG file, and its folder if necessary; a partly written file never has the final name.

    Args:
      path: the file to write or to replace.
      array: uint8 [height, width, 3] RGB, or uint8 or uint16 [height, width] grey or ids.
      palette: up to 256 colours in which viewers show the ids; the file stores both.

    Raises:
      ImageError: the array has another type or shape, or the file cannot be written.
    """
    fits = array.ndim in (2, 3) and array.shape[2:] in ((), (3,)) and array.size > 0
    if not fits or array.dtype not in ((np.uint8, np.uint16) if array.ndim == 2 else (np.uint8,)):
        raise ImageError(
            f"{path}: cannot write {array.dtype} {list(array.shape)} as an image, expected uint8 [H, W, 3] or [H, W]"
        )
    try:
        with written_atomically(path) as partial_path:
            image = Image.fromarray(array)
            if palette is not None:
                image.putpalette([channel for color in palette for channel in color])
            with open(partial_path, "wb", opener=writable_file) as file:
                image.save(file, format="PNG")
    except OSError as error:
        raise ImageError(f"{path}: the image cannot be written ({error.strerror or error})") from error
