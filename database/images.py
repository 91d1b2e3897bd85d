"""Reading and writing image and label files with Pillow."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile

from database.atomic import written_atomically
from database.regular_files import regular_file

# Pillow's decoders raise all of these on damaged files, depending on the format and on where the damage is.
_DECODE_ERRORS = (
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

# How an image must be turned to stand upright, by its EXIF orientation.
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

# Pillow stretches grey of 2 and 4 bits to 0..255; dividing by these steps gives back what is stored.
_PACKED_GREY_STEPS = {"L;2": 85, "L;4": 17}

# The formats whose mode "I" holds 0..65535; in the others it holds numbers of any size.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")

# Files of these formats are programs, which Pillow hands to Ghostscript.
PROGRAM_FORMATS = ("EPS",)

MAX_PIXELS = 178_000_000

# Changing the warning filters, or Pillow's limit, is not safe across threads, so only one at a time may do it.
_pillow_settings = threading.Lock()
_max_pixels = MAX_PIXELS


class ImageError(ValueError):
    """An image or label file that cannot be read, cannot be written or is of an unfit kind."""


@contextmanager
def _decode_errors_named(path: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except _DECODE_ERRORS as error:
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "cannot identify image file"
        else:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path}: not an image that can be read ({reason})") from error


def set_max_pixels(number: int) -> None:
    """Sets how many pixels an image or label may have, in this process; `MAX_PIXELS` where it is never called.

    The size is read from the header, before anything is decoded. Like Pillow's own limit, which is set with it, this is
    a setting of the module: a bound on memory, on which nothing depends that is read.

    Args:
      number: 1 or more.
    """
    global _max_pixels
    _max_pixels = number
    # Pillow refuses more than twice its limit, also what is of another size inside of a file than its header says.
    Image.MAX_IMAGE_PIXELS = (number + 1) // 2


set_max_pixels(MAX_PIXELS)


@contextmanager
def _warnings_silenced() -> Iterator[None]:
    with _pillow_settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(path: str, content: bytes | None) -> Iterator[tuple[Image.Image, int]]:
    """The image, its pixels not yet decoded, and the EXIF orientation (1..8) still to be applied to it."""
    # Not by its path, as Pillow would then map grey TIFFs into memory, and those that are to be turned wrongly.
    with open(path, "rb", opener=regular_file) if content is None else io.BytesIO(content) as file:
        with _warnings_silenced():
            image = _opened_within_limit(path, file)
            if image.format in PROGRAM_FORMATS:
                raise ImageError(f"{path}: PostScript, a program that draws an image: convert it to PNG or JPEG")
            orientation = _orientation(image)
        with image:
            yield image, orientation


def _opened_within_limit(path: str, file: IO[bytes]) -> Image.Image:
    """As `Image.open`; the caller holds the lock on Pillow's settings."""
    try:
        image = Image.open(file)
    except Image.DecompressionBombError:  # which does not tell height and width
        guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            file.seek(0)
            image = Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = guard
    width, height = image.size
    if width * height > _max_pixels:
        image.close()
        raise ImageError(
            f"{path}: {height}x{width} (height x width) are {height * width} pixels, and --max_pixels is "
            f"{_max_pixels}: give a smaller image, or raise --max_pixels if there is memory for it"
        )
    return image


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns these itself, in `size` and when it decodes
        return 1
    try:
        # The base class's method: the PNG reader's own decodes the pixels to find metadata after them.
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except _DECODE_ERRORS:  # damaged metadata does not make the pixels unreadable
        return 1


def all_rows(height: int) -> int:
    """For `first_rows`: every row."""
    return height


class _Decoded(NamedTuple):
    image: Image.Image  # the first rows, decoded and upright
    height: int  # of the whole image
    file_format: str | None
    raw_mode: str  # how the file packs its pixels; "" where Pillow does not say


def _decode(path: str, content: bytes | None, rows_of: Callable[[int], int]) -> _Decoded:
    with _opened(path, content) as (image, orientation):
        tiles = getattr(image, "tile", None)
        arguments = tiles[0][3] if tiles else ""
        raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
        width, height = _upright_size(image, orientation)
        rows = rows_of(height)
        if rows < height and orientation == 1:
            _stop_after(image, rows)
        # The TIFF reader looks at more metadata here; the others decode in parallel.
        with _warnings_silenced() if image.format == "TIFF" else nullcontext():
            image.load()
        upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
        if rows < height:
            upright = upright.crop((0, 0, width, rows))
    return _Decoded(upright, height, image.format, str(raw_mode))


def _upright_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    """Width and height."""
    width, height = image.size
    return (height, width) if orientation in _SIDEWAYS else (width, height)


def _stop_after(image: Image.Image, rows: int) -> None:
    """Has a PNG decoded up to a row, which takes that share of the time; other formats are decoded whole."""
    is_plain = image.format == "PNG" and not image.info.get("interlace") and getattr(image, "n_frames", 1) == 1
    if isinstance(image, ImageFile.ImageFile) and is_plain and len(image.tile) == 1:
        image.tile = [image.tile[0]._replace(extents=(0, 0, image.width, rows))]


def _to_ids(path: str, decoded: _Decoded) -> np.ndarray:
    """uint8 or int32 [rows, W] of an image with one channel of whole numbers."""
    image = decoded.image
    if image.mode == "I" or image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.int32)
    if image.mode not in ("1", "L", "P"):
        raise ImageError(
            f"{path}: labels must be single-channel class ids, this file has mode "
            f"{image.mode}; convert its colours to ids, in 8-bit grey or a palette PNG"
        )
    ids = np.asarray(image, dtype=np.uint8)
    step = _PACKED_GREY_STEPS.get(decoded.raw_mode, 1)
    return ids if step == 1 else ids // step


def _to_rgb(decoded: _Decoded) -> np.ndarray:
    """uint8 [H, W, 3] of an image in any of Pillow's modes."""
    image = decoded.image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image)
        if image.mode == "F":
            grey = np.rint(np.nan_to_num(grey, nan=0.0, posinf=255.0, neginf=0.0))
        elif image.mode != "I" or decoded.file_format in _SIXTEEN_BIT_FORMATS:
            grey = grey >> 8
        grey = np.clip(grey, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    image.info.pop("transparency", None)  # transparency is dropped, and Pillow warns about some kinds of it
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_image(path: str, content: bytes | None = None) -> np.ndarray:
    """Reads an image file as RGB, upright by its EXIF orientation.

    Grey is repeated into three channels, 16-bit grey keeps its upper 8 bits, other integer and floating-point
    grey is rounded and clipped to 0..255, palettes are looked up, CMYK is converted, transparency is dropped.

    Args:
      path: a file in any format that Pillow reads, but PostScript, which would be run.
      content: the file's bytes, where they are at hand; the path then names them in messages and is not opened.

    Returns:
      uint8 [height, width, 3], 0..255, read-only.

    Raises:
      ImageError: the path is missing, a folder, no image, truncated, damaged or has too many pixels.
    """
    return read_first_rows(path, content)[0]


def read_first_rows(
    path: str, content: bytes | None = None, rows_of: Callable[[int], int] = all_rows
) -> tuple[np.ndarray, int]:
    """As `read_image`, up to a row; damage that comes after it is not met.

    Args:
      path, content: see `read_image`.
      rows_of: from the height of the image to how many of its rows are wanted, 1 or more.

    Returns:
      uint8 [rows, width, 3], and the height of the image.

    Raises:
      ImageError: see `read_image`.
    """
    with _decode_errors_named(path):
        decoded = _decode(path, content, rows_of)
        return _to_rgb(decoded), decoded.height


def read_label(path: str, content: bytes | None = None) -> np.ndarray:
    """Reads a label file as the ids stored in it, upright by its EXIF orientation.

    A palette image gives its palette indices, never its colours; 1-, 2- and 4-bit grey the stored numbers.

    Args:
      path: a single-channel image file.
      content: see `read_image`.

    Returns:
      [height, width]: uint8, or int32 where the file stores more than 8 bits; read-only.

    Raises:
      ImageError: as `read_image`, and where the file holds colours or fractions in place of ids.
    """
    return read_first_label_rows(path, content)[0]


def read_first_label_rows(
    path: str, content: bytes | None = None, rows_of: Callable[[int], int] = all_rows
) -> tuple[np.ndarray, int]:
    """As `read_label`, up to a row: see `read_first_rows`.

    Returns:
      [rows, width], and the height of the label.
    """
    with _decode_errors_named(path):
        decoded = _decode(path, content, rows_of)
        return _to_ids(path, decoded), decoded.height


def image_size(path: str, content: bytes | None = None) -> tuple[int, int]:
    """Reads (height, width) in pixels from a file's header, as `read_image` and `read_label` would return it.

    Args:
      path, content: see `read_image`.

    Raises:
      ImageError: the path is missing, a folder, no image or has too many pixels; these are not looked at.
    """
    with _decode_errors_named(path), _opened(path, content) as (image, orientation):
        width, height = _upright_size(image, orientation)
    return height, width


def file_format(path: str, content: bytes | None = None) -> str:
    """The format of a file by its header, in Pillow's words and lower case: `png`, `jpeg`, `tiff`.

    Args:
      path, content: see `read_image`.

    Raises:
      ImageError: as `image_size`.
    """
    with _decode_errors_named(path), _opened(path, content) as (image, _):
        return str(image.format).lower()


def has_palette(path: str, content: bytes | None = None) -> bool:
    """Whether the pixels of a file are indices into a palette of colours, by its header.

    Args:
      path, content: see `read_image`.

    Raises:
      ImageError: as `image_size`.
    """
    with _decode_errors_named(path), _opened(path, content) as (image, _):
        return bool(image.mode == "P")


def read_bytes(path: str) -> bytes:
    """The bytes of an image or label file, as they are.

    Raises:
      ImageError: the path is missing, a folder or cannot be read.
    """
    with _decode_errors_named(path), open(path, "rb", opener=regular_file) as file:
        return file.read()


def write_image(path: str, array: np.ndarray, palette: Sequence[tuple[int, int, int]] | None = None) -> None:
    """Writes a PNG file, creating its folder where needed; the final name never holds a half-written file.

    Args:
      path: the file to write or to replace.
      array: uint8 [height, width, 3] RGB or uint8 [height, width] grey or ids.
      palette: colours, up to 256, in which programs are to show ids; the file holds these and the ids.

    Raises:
      ImageError: the array is of another type or shape, or the file cannot be written.
    """
    fits = array.ndim in (2, 3) and array.shape[2:] in ((), (3,)) and array.size > 0
    if array.dtype != np.uint8 or not fits:
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
