"""Reading and writing image and label files with Pillow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from database.atomic import written_atomically
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
from database.regular_files import regular_file
from database.rgb_decoding import is_deep_grey, rgb_converter

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


def read_image(path: str, content: bytes | None = None, input_range: InputRange | None = None) -> np.ndarray:
    """Reads an image file as RGB, upright by its EXIF orientation.

    Grey is repeated into three channels, 16-bit grey keeps its upper 8 bits, other integer and floating-point
    grey is rounded and clipped to 0..255, palettes are looked up, CMYK is converted, transparency is dropped. Where
    `input_range` names a number for white, grey of more than 8 bits is scaled from 0 to that number.

    Args:
      path: a file in any format that Pillow reads, but PostScript, which would be run.
      content: the file's bytes, where they are at hand; the path then names them in messages and is not opened.
      input_range: see `input_range.InputRange`, which also warns of numbers that do not suit it.

    Returns:
      uint8 [height, width, 3], 0..255, read-only.

    Raises:
      ImageError: the path is missing, a folder, no image, truncated, damaged or has too many pixels; or it holds NaN,
        infinity or numbers that are no brightness, see `input_range.InputRange.fault_of`; or has colours of 16 bits
        that are all below 256, and not all 0.
    """
    return read_first_rows(path, content, input_range=input_range)[0]


def read_first_rows(
    path: str,
    content: bytes | None = None,
    rows_of: Callable[[int], int] = all_rows,
    input_range: InputRange | None = None,
) -> tuple[np.ndarray, int]:
    """As `read_image`, up to a row; damage that comes after it is not met.

    Args:
      path, content, input_range: see `read_image`.
      rows_of: from the height of the image to how many of its rows are wanted, 1 or more.

    Returns:
      uint8 [rows, width, 3], and the height of the image.

    Raises:
      ImageError: see `read_image`.
    """
    with decode_errors_named(path):
        converter_of = partial(rgb_converter, path=path, input_range=input_range, content=content)
        return decode(path, content, rows_of, converter_of, is_deep_grey)


def read_label(path: str, content: bytes | None = None, colors: ColorTable | None = None) -> np.ndarray:
    """Reads a label file as the ids stored in it, upright by its EXIF orientation.

    A palette image gives its palette indices, never its colours; grey of any number of bits the stored numbers. With
    `colors`, the colour table of a palette image may not contradict these, see `ColorTable.check_indices`.

    Args:
      path: a single-channel image file; or with `colors`, also one of opaque colours.
      content: see `read_image`.
      colors: the ids that colours stand for.

    Returns:
      [height, width]: uint8, or int32 where the file stores more than 8 bits; read-only.

    Raises:
      ImageError: as `read_image`, and where the file is of a lossy format, holds colours or fractions in place of ids,
        has several pages or packs its ids in a way that is not known to give back what is stored.
      DatasetError: a colour stands for no id, or the colour table of a palette image contradicts `colors`.
    """
    return read_first_label_rows(path, content, colors=colors)[0]


def read_label_with_table(
    path: str, content: bytes | None = None, colors: ColorTable | None = None
) -> tuple[np.ndarray, list[Color]]:
    """As `read_label`, with the colour table of a palette image.

    Returns:
      The ids, and the colour of each index; none for files of other kinds and for a table that is a grey ramp, which
      says nothing about what an index stands for.
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

    with decode_errors_named(path):
        ids, _ = decode(path, content, all_rows, converter_of)
    return ids, [] if is_grey_ramp(table) else table


def read_first_label_rows(
    path: str,
    content: bytes | None = None,
    rows_of: Callable[[int], int] = all_rows,
    colors: ColorTable | None = None,
) -> tuple[np.ndarray, int]:
    """As `read_label`, up to a row: see `read_first_rows`.

    Returns:
      [rows, width], and the height of the label.
    """
    with decode_errors_named(path):
        return decode(path, content, rows_of, partial(ids_converter, path=path, colors=colors))


def image_size(path: str, content: bytes | None = None) -> tuple[int, int]:
    """Reads (height, width) in pixels from a file's header, as `read_image` and `read_label` would return it.

    Args:
      path, content: see `read_image`.

    Raises:
      ImageError: the path is missing, a folder, no image or has too many pixels; these are not looked at.
    """
    with decode_errors_named(path), opened(path, content) as (image, orientation):
        width, height = upright_size(image, orientation)
    return height, width


def file_format(path: str, content: bytes | None = None) -> str:
    """The format of a file by its header, in Pillow's words and lower case: `png`, `jpeg`, `tiff`.

    Args:
      path, content: see `read_image`.

    Raises:
      ImageError: as `image_size`.
    """
    with decode_errors_named(path), opened(path, content) as (image, _):
        return str(image.format).lower()


def has_palette(path: str, content: bytes | None = None) -> bool:
    """Whether the pixels of a file are indices into a palette of colours, by its header.

    Args:
      path, content: see `read_image`.

    Raises:
      ImageError: as `image_size`.
    """
    with decode_errors_named(path), opened(path, content) as (image, _):
        return bool(image.mode == "P")


def read_bytes(path: str) -> bytes:
    """The bytes of an image or label file, as they are.

    Raises:
      ImageError: the path is missing, a folder or cannot be read.
    """
    with decode_errors_named(path), open(path, "rb", opener=regular_file) as file:
        return file.read()


def write_image(path: str, array: np.ndarray, palette: Sequence[tuple[int, int, int]] | None = None) -> None:
    """Writes a PNG file, creating its folder where needed; the final name never holds a half-written file.

    Args:
      path: the file to write or to replace.
      array: uint8 [height, width, 3] RGB, or uint8 or uint16 [height, width] grey or ids.
      palette: colours, up to 256, in which programs are to show ids; the file holds these and the ids.

    Raises:
      ImageError: the array is of another type or shape, or the file cannot be written.
    """
    fits = array.ndim in (2, 3) and array.shape[2:] in ((), (3,)) and array.size > 0
    if not fits or array.dtype not in ((np.uint8, np.uint16) if array.ndim == 2 else (np.uint8,)):
        raise ImageError(
            f"{path}: cannot write {array.dtype} {list(array.shape)} as an image; expected uint8 [H, W, 3] or [H, W]"
        )
    try:
        with written_atomically(path) as partial_path:
            image = Image.fromarray(array)
            if palette is not None:
                image.putpalette([channel for color in palette for channel in color])
            image.save(partial_path, format="PNG")
    except OSError as error:
        raise ImageError(f"{path}: image cannot be written ({error.strerror or error})") from error
