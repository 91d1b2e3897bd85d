"""Opens image files with Pillow, within limits, and decodes their first rows upright."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from database.errors import DatasetError, ImageError, TooManyPixelsError, in_one_line
from database.regular_files import regular_file

# Pillow's decoders raise all of these on damaged files, depending on the format and on where the damage is.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)

# The transpose that makes an image upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)

_AS_DECODED_BY_LIBTIFF = {
    "I;16BS": "I;16NS",
    "I;32B": "I;32N",
    "I;32BS": "I;32NS",
    "F;32BF": "F;32NF",
    "F;64BF": "F;64NF",
}

# Files of these formats are programs, which Pillow runs in Ghostscript.
PROGRAM_FORMATS = ("EPS",)

MAX_PIXELS = 178_000_000

# Changing the warning filters, or Pillow's limit, is not thread-safe, so only one thread at a time may do it.
_pillow_settings = threading.Lock()
_max_pixels = MAX_PIXELS

# Turns an image that Pillow decoded into an array.
Converter = Callable[[Image.Image], np.ndarray]


@contextmanager
def decode_errors_named(path: str) -> Iterator[None]:
    """Turns the exceptions of Pillow on a damaged file into an ImageError that names the file."""
    try:
        yield
    except (DatasetError, ImageError):
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except DECODE_ERRORS as error:
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "cannot identify image file"
        else:
            reason = getattr(error, "strerror", None) or in_one_line(error)
        raise ImageError(f"{path}: not an image that can be read ({reason})") from error


def set_max_pixels(number: int) -> None:
    """Sets how many pixels an image or label may have, in this process; the default is `MAX_PIXELS`.

    The size is read from the header, before anything is decoded. This is a setting of the module, like Pillow's limit,
    which is set with it. It bounds memory and does not change what is read.

    Args:
      number: 1 or more.
    """
    global _max_pixels
    _max_pixels = number
    # Pillow rejects more than twice its limit, also for parts of a file whose size differs from the header's.
    Image.MAX_IMAGE_PIXELS = (number + 1) // 2


set_max_pixels(MAX_PIXELS)


@contextmanager
def warnings_silenced() -> Iterator[None]:
    """Silences Pillow's warnings about damaged metadata in a block; one thread at a time."""
    with _pillow_settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _limit_lifted() -> Iterator[None]:
    """Lifts Pillow's limit on pixels in a block; the caller holds the lock on Pillow's settings."""
    guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = guard


def decode_tiff_of_any_size(content: bytes) -> np.ndarray:
    """Decodes a TIFF in memory whose size was checked before."""
    with warnings_silenced(), _limit_lifted(), TiffImageFile(io.BytesIO(content)) as image:
        return np.asarray(image)


@contextmanager
def opened(path: str, content: bytes | None) -> Iterator[tuple[Image.Image, int]]:
    """Yields the image, its pixels not yet decoded, and the EXIF orientation (1..8) still to be applied to it."""
    # The file is not opened by its path: Pillow would then memory-map grey TIFFs, and rotate them wrongly.
    with open(path, "rb", opener=regular_file) if content is None else io.BytesIO(content) as file:
        with warnings_silenced():
            image = _opened_within_limit(path, file)
            if image.format in PROGRAM_FORMATS:
                raise ImageError(f"{path}: PostScript files are programs and are not read: convert it to PNG or JPEG")
            orientation = _orientation(image)
        with image:
            yield image, orientation


def _opened_within_limit(path: str, file: IO[bytes]) -> Image.Image:
    """Works like `Image.open`, with the limit on pixels; the caller holds the lock on Pillow's settings."""
    try:
        image = Image.open(file)
    except Image.DecompressionBombError:  # its message lacks height and width
        with _limit_lifted():
            file.seek(0)
            image = Image.open(file)
    try:
        check_pixels(path, image.height, image.width)
    except ImageError:
        image.close()
        raise
    return image


def check_pixels(path: str, height: int, width: int) -> None:
    """Checks the size of an image, before it is decoded, against the limit; see `set_max_pixels`.

    Raises:
      TooManyPixelsError: it has too many pixels.
    """
    if width * height > _max_pixels:
        raise TooManyPixelsError(
            f"{path}: {height}x{width} (height x width) are {height * width} pixels, and --max_pixels is "
            f"{_max_pixels}: give a smaller image, or raise --max_pixels if there is memory for it"
        )


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow rotates these itself, in `size` and when it decodes
        return 1
    try:
        # The method of the base class: the PNG reader's decodes the pixels to find metadata after them.
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except DECODE_ERRORS:  # damaged metadata does not make the pixels unreadable
        return 1


def all_rows(height: int) -> int:
    """Returns the number of rows for `first_rows` that selects every row."""
    return height


def decode(
    path: str,
    content: bytes | None,
    rows_of: Callable[[int], int],
    converter_of: Callable[[Image.Image], Converter],
    is_judged_whole: Callable[[Image.Image], bool] = lambda image: False,
) -> tuple[np.ndarray, int]:
    """Decodes the first rows of a file.

    Args:
      path: path of the file.
      content: the file's bytes, if already read.
      rows_of: maps the height of the upright image to the number of rows wanted, 1 or more.
      converter_of: called with the image before its pixels are decoded; returns the function that turns the decoded
        image into an array, or raises if the kind of file is unsuitable.
      is_judged_whole: called with the decoded image; returns whether the converter needs all decoded rows, not only
        those that are wanted.

    Returns:
      The array of the first rows, upright, and the height of the whole image.
    """
    with opened(path, content) as (image, orientation):
        # For TIFF, both steps read more metadata, which may cause warnings; other formats decode in parallel.
        with warnings_silenced() if image.format == "TIFF" else nullcontext():
            converter = converter_of(image)
        width, height = upright_size(image, orientation)
        rows = rows_of(height)
        if rows < height and orientation == 1:
            _stop_after(image, rows)
        with warnings_silenced() if image.format == "TIFF" else nullcontext():
            image.load()
        upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
        if rows < height and is_judged_whole(upright):
            return converter(upright)[:rows], height
        if rows < height:
            upright = upright.crop((0, 0, width, rows))
        return converter(upright), height


def upright_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    """Returns the width and height of the upright image."""
    width, height = image.size
    return (height, width) if orientation in _SIDEWAYS else (width, height)


def raw_mode(image: Image.Image) -> str:
    """Returns how the file packs its pixels, as Pillow names it, before they are decoded; "" if Pillow does not say."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def correct_byte_order(image: Image.Image) -> None:
    """Makes Pillow decode compressed numbers with the high byte first as stored; other images stay as they are.

    Libtiff returns numbers in the machine's byte order, which Pillow considers only for unsigned 16 bits.

    Args:
      image: an opened file; changed.
    """
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return
    tile, packing = image.tile[0], raw_mode(image)
    if tile.codec_name == "libtiff" and isinstance(tile.args, tuple) and packing in _AS_DECODED_BY_LIBTIFF:
        image.tile = [tile._replace(args=(_AS_DECODED_BY_LIBTIFF[packing], *tile.args[1:]))]


def _stop_after(image: Image.Image, rows: int) -> None:
    """Stops the decoding of a PNG after some rows, which saves time; other formats are decoded whole."""
    is_plain = image.format == "PNG" and not image.info.get("interlace") and getattr(image, "n_frames", 1) == 1
    if isinstance(image, ImageFile.ImageFile) and is_plain and len(image.tile) == 1:
        image.tile = [image.tile[0]._replace(extents=(0, 0, image.width, rows))]
