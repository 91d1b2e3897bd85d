"""Decodes label files to their stored ids, and rejects formats and packings that do not preserve these.

Pillow stretches, inverts or converts some of what it decodes. Ids are read only from the packings listed here, which
are tested to return the stored numbers; every other file is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from PIL import Image, ImageFile

from database.color_masks import ColorTable, segments_hint
from database.errors import ImageError
from database.image_opening import Converter, correct_byte_order, raw_mode
from database.pages import page_count, pages_fault
from database.tiff_channels import check_all_decoded

_PNG = {
    ("1", "1"): 1, ("L", "L;2"): 85, ("L", "L;4"): 17, ("L", "L"): 1, ("I;16", "I;16B"): 1,
    ("P", "P;1"): 1, ("P", "P;2"): 1, ("P", "P;4"): 1, ("P", "P"): 1,
}  # fmt: skip
_TIFF = {
    ("1", "1"): 1, ("1", "1;R"): 1, ("L", "L;2"): 85, ("L", "L;2R"): 85, ("L", "L;4"): 17, ("L", "L;4R"): 17,
    ("L", "L"): 1, ("L", "L;R"): 1, ("I;16", "I;12"): 1, ("I;16", "I;16"): 1, ("I;16", "I;16N"): 1,
    ("I;16", "I;16R"): 1, ("I;16B", "I;16B"): 1, ("I;16B", "I;16N"): 1, ("I", "I;16S"): 1, ("I", "I;16BS"): 1,
    ("I", "I;16NS"): 1, ("I", "I;32N"): 1, ("I", "I;32S"): 1, ("I", "I;32B"): 1, ("I", "I;32BS"): 1, ("I", "I;32NS"): 1,
    ("P", "P;1"): 1, ("P", "P;1R"): 1, ("P", "P;2"): 1, ("P", "P;2R"): 1, ("P", "P;4"): 1, ("P", "P;4R"): 1,
    ("P", "P"): 1, ("P", "P;R"): 1,
}  # fmt: skip

# By format, then by Pillow's mode and raw mode: the factor by which Pillow stretches the stored numbers.
_STEPS = {
    "PNG": _PNG,
    "TIFF": _TIFF,
    # Binary and plain; `_check_ppm` keeps Pillow from stretching them by their maxval.
    "PPM": {("L", "L"): 1, ("I", "L"): 1, ("I", "I;16B"): 1},
    "BMP": {("1", "1"): 1, ("P", "P;1"): 1, ("P", "P;4"): 1, ("P", "P"): 1, ("L", "L"): 1},
    "GIF": {(mode, str(bits)): 1 for mode in "LP" for bits in range(1, 9)},
    "TGA": {("L", "L"): 1, ("P", "P"): 1},
    "PCX": {("L", "L"): 1, ("P", "P"): 1},
}

# Packings of colours by format: Pillow's mode and raw mode.
_COLORS = {
    "PNG": {("RGB", "RGB"), ("RGBA", "RGBA")},
    "TIFF": {("RGB", "RGB"), ("RGBA", "RGBA")},
    "PPM": {("RGB", "RGB")},
    "BMP": {("RGB", "BGR"), ("RGB", "BGRX"), ("RGBA", "BGRA")},
    "TGA": {("RGB", "BGR"), ("RGBA", "BGRA")},
    "PCX": {("RGB", "RGB;L")},
}

_SAVE_AS = "save labels as PNG, in 8-bit or 16-bit grey or with a palette"

# What labels contain in Pillow's modes other than one channel of whole numbers, and what to do.
_NO_COLORS = {
    **dict.fromkeys(("LA", "La"), "grey with transparency: save only its grey channel, in 8-bit grey"),
    "PA": "palette indices with transparency: save it as a palette PNG without transparency",
    "F": "fractions: save whole numbers, in 8-bit or 16-bit grey",
}
_LOSSY = "is lossy, so its pixels are not the ids that were drawn"
_UNFIT_FORMATS = {
    "JPEG": f"JPEG {_LOSSY}",
    "MPO": f"JPEG {_LOSSY}",
    "AVIF": f"AVIF {_LOSSY}",
    "JPEG2000": "JPEG 2000 may be lossy, so its pixels may not be the ids that were drawn",
    "WEBP": "WebP stores colours and may be lossy",
}

_LOSSLESS_TIFF = (
    "raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "lzma", "zstd",
)  # fmt: skip
_MIN_IS_WHITE, _SIGNED = 0, 2
_TAG_PHOTOMETRIC, _TAG_SAMPLE_FORMAT = 262, 339

_BMP_BITS = {"1": 1, "P;1": 1, "P;4": 4, "P": 8, "L": 8}


def ids_converter(image: Image.Image, path: str, colors: ColorTable | None = None) -> Converter:
    """Checks how a label file packs its ids, before they are decoded.

    Args:
      image: the opened file; changed so that the stored numbers are decoded.
      path: path of the file, for messages.
      colors: maps colours to ids, if there is a palette; palette images are checked against it.

    Returns:
      A function that turns the decoded image into uint8 or int32 [H, W], the stored ids or those of the colours. It
      raises DatasetError if a colour has no id, or if the colour table of a palette image contradicts the palette.

    Raises:
      ImageError: the file is lossy, stores colours or fractions, has channels that Pillow does not decode, or packs its
        ids in a way that is not known to be read back exactly.
    """
    if image.format in _UNFIT_FORMATS:
        _refuse(path, _UNFIT_FORMATS[image.format])
    check_all_decoded(image, path)
    _FORMAT_CHECKS.get(str(image.format), _no_check)(image, path)
    _check_extent(image, path)
    _check_pages(image, path)
    packing = image.mode, raw_mode(image)
    if packing in _COLORS.get(str(image.format), ()) and colors is not None:
        return lambda decoded: colors.read(path, _opaque_rgb(decoded, path))
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise ImageError(
            f"{path}: found mode {image.mode}, expected labels of single-channel class ids"
            f"{_advice_on_channels(image, path, colors)}"
        )
    step = _STEPS.get(str(image.format), {}).get(packing)
    if step is None:
        _refuse(path, f"ids packed as {image.format} {packing[1]} may not be read exactly")
    dtype = _dtype(image)
    if image.mode == "P" and colors is not None:
        return lambda decoded: _checked_indices(decoded, path, colors, dtype)
    return lambda decoded: _ids(decoded, dtype, step)


def _advice_on_channels(image: Image.Image, path: str, colors: ColorTable | None) -> str:
    """Describes what a file has instead of a channel of ids, and what to do."""
    if image.mode in _NO_COLORS:
        return f"; that is {_NO_COLORS[image.mode]}"
    if colors is not None:
        return f"; colours packed as {image.format} {raw_mode(image)} are not supported: save it as an 8-bit RGB PNG"
    hint = segments_hint(path)
    if hint is not None:
        return f"; {hint}"
    return (
        "; convert its colours to ids, in 8-bit grey or a palette PNG; if each colour is a class, use --database "
        "custom with --palette, a file of the colours; if colours number segments, as in COCO's panoptic format, take "
        "the classes from its JSON"
    )


def _checked_indices(decoded: Image.Image, path: str, colors: ColorTable, dtype: type[np.integer]) -> np.ndarray:
    def used() -> list[int]:
        return [index for index, pixels in enumerate(decoded.histogram()) if pixels]

    colors.check_indices(path, decoded.getpalette("RGB") or [], used)
    return _ids(decoded, dtype, 1)


def _ids(decoded: Image.Image, dtype: type[np.integer], step: int) -> np.ndarray:
    if decoded.mode == "1":
        return np.asarray(decoded, dtype=np.uint8)
    ids = np.asarray(decoded)
    if dtype is np.int8:
        return ids.view(np.int8).astype(np.int32)
    ids = ids.astype(dtype, copy=False)
    return ids if step == 1 else ids // np.uint8(step)


def _dtype(image: Image.Image) -> type[np.integer]:
    """Returns the dtype of the ids; int8 if Pillow returns signed bytes as unsigned."""
    if image.mode not in ("1", "L", "P"):
        return np.int32
    signed = image.format == "TIFF" and _SIGNED in _tag(image, _TAG_SAMPLE_FORMAT, (1,))
    # An 8-bit mode fits all numbers of the file, except in plain PGM.
    return np.int8 if signed else np.uint8


def _opaque_rgb(image: Image.Image, path: str) -> np.ndarray:
    """Returns uint8 [H, W, 3] of an image of colours, and rejects transparent pixels."""
    pixels = np.asarray(image)
    if pixels.shape[2] == 4 and (pixels[:, :, 3] != 255).any():
        row, column = np.argwhere(pixels[:, :, 3] != 255)[0]
        _refuse(path, f"pixel x {column}, y {row} is transparent, so its colour has no id")
    return pixels[:, :, :3]


def _refuse(path: str, why: str) -> NoReturn:
    raise ImageError(f"{path}: {why}: {_SAVE_AS}")


def _no_check(image: Image.Image, path: str) -> None:
    """Checks nothing: for most formats, Pillow's mode says everything."""


def _check_ppm(image: Image.Image, path: str) -> None:
    """Makes Pillow decode a PGM as stored, instead of stretching it by its maxval."""
    if image.mode == "1":
        _refuse(path, "PBM stores black as 1 and white as 0, which programs read in different ways")
    if isinstance(image, ImageFile.ImageFile) and isinstance(image.tile[0].args, tuple):
        packing, maxval, *rest = image.tile[0].args
        if image.mode == "RGB" and maxval != 255:
            _refuse(path, f"the PPM stores white as {maxval}, expected 255")
        if isinstance(maxval, int) and image.mode in ("L", "I"):
            most = 255 if maxval < 256 else 65535
            image.tile = [image.tile[0]._replace(args=(packing, most, *rest))]


def _check_tiff(image: Image.Image, path: str) -> None:
    compression = str(image.info.get("compression"))
    if compression not in _LOSSLESS_TIFF:
        _refuse(path, f"the TIFF compression {compression} is lossy or only stores black and white")
    if _tag(image, _TAG_PHOTOMETRIC, _MIN_IS_WHITE) == _MIN_IS_WHITE:
        _refuse(path, "the TIFF stores white as 0 (MinIsWhite), which programs read in different ways")
    correct_byte_order(image)


def _check_bmp(image: Image.Image, path: str) -> None:
    """Rejects grey palettes for which Pillow assumes another bit depth than the file's."""
    assert isinstance(image, ImageFile.ImageFile)
    packing = raw_mode(image)
    if packing not in _BMP_BITS:
        return
    if image.tile[0].codec_name == "bmp_rle":
        is_misread = image.mode == "1"
    else:
        assert image.fp is not None
        image.fp.seek(14)
        header = image.fp.read(16)
        bits = int.from_bytes(header[10:12] if header[0] == 12 else header[14:16], "little")
        is_misread = bits != _BMP_BITS[packing]
    if is_misread:
        _refuse(path, "the BMP has a palette of only greys, and fewer than its bits allow")


_FORMAT_CHECKS: dict[str, Callable[[Image.Image, str], None]] = {
    "PPM": _check_ppm,
    "TIFF": _check_tiff,
    "BMP": _check_bmp,
}


def _check_extent(image: Image.Image, path: str) -> None:
    """Rejects a GIF whose first frame does not cover all pixels."""
    tiles = getattr(image, "tile", None)
    if image.format == "GIF" and tiles and tiles[0].extents != (0, 0, *image.size):
        _refuse(path, "the frame of the GIF is smaller than the image, so some pixels have no id")


def _check_pages(image: Image.Image, path: str) -> None:
    """Rejects further frames or pages, unless they are smaller copies or masks of the first."""
    pages = page_count(image)
    if pages > 1:
        _refuse(path, pages_fault(image.format, pages))


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    return image.tag_v2.get(number, default)  # type: ignore[attr-defined]
