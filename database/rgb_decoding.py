"""Converts image files in any of Pillow's modes to 8-bit RGB."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from PIL import Image, ImageFile

from database.errors import ImageError
from database.image_opening import Converter, all_rows, correct_byte_order, decode, raw_mode
from database.input_range import InputRange, scaled_to_bytes
from database.pages import check_one_page
from database.tiff_channels import check_all_decoded

# The formats whose mode "I" holds 0..65535; in other formats it holds numbers of any size.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
_WHITE_OF_SIXTEEN_BITS = 65535

# Formats whose fourth channel is often a band, such as near infrared, that GDAL writes as alpha by default.
_FORMATS_OF_BANDS = ("TIFF", "JPEG2000")
_OPAQUE = 255

# Pillow's names of packed pixels. N is the byte order of the machine.
_FOREIGN = "B" if sys.byteorder == "little" else "L"
_OTHER_BYTE_ORDER = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBA", "RGBX")
    for order, other in (("L", "B"), ("B", "L"), ("N", _FOREIGN))
}


def rgb_converter(
    image: Image.Image, path: str, input_range: InputRange | None = None, content: bytes | None = None
) -> Converter:
    """Chooses the conversion to RGB by how a file packs its pixels, before they are decoded.

    Args:
      image: the opened file; changed so that the stored numbers are decoded.
      path: path of the file, for messages.
      input_range: the number that is white in images of more than 8 bits; None for the default.
      content: the file's bytes, if already read.

    Returns:
      A function that turns the decoded image into uint8 [H, W, 3]. It raises ImageError if numbers of the image are
      NaN, infinite or no brightness, see `InputRange.fault_of`; or if 16-bit colours are all below 256, and not all 0.

    Raises:
      ImageError: the file has 16-bit colours, and the number for white is not 65535; it has channels that Pillow does
        not decode; or it is a TIFF of several pages.
    """
    input_range = input_range or InputRange()
    check_all_decoded(image, path)
    check_one_page(image, path)
    correct_byte_order(image)
    maxval = _maxval(image)
    if is_deep_grey(image):
        is_sixteen_bit = is_sixteen_bit_grey(image)
        return partial(_grey, path=path, is_sixteen_bit=is_sixteen_bit, maxval=maxval, input_range=input_range)
    colors: Converter = _colors
    if image.format in _FORMATS_OF_BANDS and image.mode == "RGBA":
        colors = partial(_colors_without_alpha, path=path, input_range=input_range)
    if ";16" in raw_mode(image) or maxval > 255:
        if input_range.white not in (None, _WHITE_OF_SIXTEEN_BITS):
            raise ImageError(
                f"{path}: only the upper 8 bits of 16-bit colours are read, but --input_range is "
                f"{input_range.white:g}: convert the colours to 8 bits or drop --input_range"
            )
        return partial(_deep_colors, path=path, content=content, maxval=maxval, input_range=input_range, colors=colors)
    input_range.check_bytes(path)
    return colors


def is_deep_grey(image: Image.Image) -> bool:
    """Returns whether an image is grey of more than 8 bits: whole numbers or fractions."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def is_sixteen_bit_grey(image: Image.Image) -> bool:
    """Returns whether an image is grey of 0 to 65535."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN_BIT_FORMATS)


def _maxval(image: Image.Image) -> int:
    """Returns the maxval of a PGM or PPM from which Pillow stretches; 0 for other files."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles and image.format == "PPM" else None
    last = arguments[-1] if isinstance(arguments, tuple) and len(arguments) == 2 else 0
    return last if isinstance(last, int) else 0


def _grey(image: Image.Image, *, path: str, is_sixteen_bit: bool, maxval: int, input_range: InputRange) -> np.ndarray:
    """Converts grey of more than 8 bits to three equal channels."""
    numbers = np.asarray(image)
    white = float(_WHITE_OF_SIXTEEN_BITS if is_sixteen_bit else 255)
    stored = numbers
    if is_sixteen_bit and maxval:
        white = float(maxval)
        stored = np.rint(numbers * (maxval / _WHITE_OF_SIXTEEN_BITS))
    kind = "16-bit grey" if is_sixteen_bit else "fractions" if image.mode == "F" else "whole numbers"
    fault = input_range.fault_of(kind, stored, white)
    if fault is not None:
        raise ImageError(f"{path}: {fault}")
    input_range.check(path, kind, stored, white)
    if input_range.white is not None:
        grey = scaled_to_bytes(stored, input_range.white)
    elif is_sixteen_bit:
        grey = np.clip(numbers >> 8, 0, 255).astype(np.uint8)
    else:
        grey = scaled_to_bytes(numbers, 255)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _deep_colors(
    image: Image.Image,
    *,
    path: str,
    content: bytes | None,
    maxval: int,
    input_range: InputRange,
    colors: Converter,
) -> np.ndarray:
    rgb = colors(image)
    # In a PPM, Pillow rounds: 255 of 65535 becomes 1, and among the lower bytes 255 means 255 or more.
    black, bound = (1, 255) if maxval == _WHITE_OF_SIXTEEN_BITS else (0, 256)
    if rgb.max(initial=0) <= black and _are_bytes_in_16_bits(path, content, black, bound):
        raise ImageError(
            f"{path}: all 16-bit colours are below 256, so the image is black, expected 0 (black) to 65535 (white): "
            "save them with 8 bits or multiply them by 257"
        )
    input_range.check_colors(path, int(rgb.max(initial=0)))
    return rgb


def _are_bytes_in_16_bits(path: str, content: bytes | None, black: int, bound: int) -> bool:
    """Returns whether a whole file is black in its upper bytes, which Pillow decodes, but not in its lower bytes."""
    upper, _ = decode(path, content, all_rows, lambda image: _colors)
    if upper.max(initial=0) > black:
        return False
    lower, _ = decode(path, content, all_rows, _converter_of_lower_bytes)
    return bool(0 < lower.max(initial=0) < bound)


def _converter_of_lower_bytes(image: Image.Image) -> Converter:
    """Makes Pillow decode the lower bytes of an image by swapping the byte order; zeros if there is none to swap."""
    if _maxval(image) == _WHITE_OF_SIXTEEN_BITS and isinstance(image, ImageFile.ImageFile):
        image.tile = [tile._replace(args=(image.mode, 256)) for tile in image.tile]  # 255 becomes 254, more 255
        return _colors
    if not swap_bytes(image):
        return lambda decoded: np.zeros((decoded.height, decoded.width, 3), np.uint8)
    return _colors


def swap_bytes(image: Image.Image) -> bool:
    """Makes Pillow decode the lower bytes of 16-bit colours in place of the upper ones, if it can.

    Args:
      image: the opened file; changed.

    Returns:
      Whether it will.
    """
    other = _OTHER_BYTE_ORDER.get(raw_mode(image))
    if other is None or not isinstance(image, ImageFile.ImageFile):
        return False
    image.tile = [
        tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other) for tile in image.tile
    ]
    return True


def _colors_without_alpha(image: Image.Image, *, path: str, input_range: InputRange) -> np.ndarray:
    """Drops alpha, and warns once if it is not opaque everywhere, because it may be a band."""
    if image.getchannel("A").getextrema() != (_OPAQUE, _OPAQUE):
        input_range.warn_of_dropped_channel(path)
    return _colors(image)


def _colors(image: Image.Image) -> np.ndarray:
    image.info.pop("transparency", None)  # transparency is dropped, and Pillow warns about some kinds of it
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
