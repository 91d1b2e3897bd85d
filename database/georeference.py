"""Copies the georeference of a GeoTIFF to the label ids that are predicted for it.

Source: OGC GeoTIFF Standard 1.1 (19-008r4), sections 7.1 and 7.2, for the tags.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from database.atomic import written_atomically
from database.errors import ImageError
from database.image_opening import check_pixels, decode_errors_named, opened, warnings_silenced
from database.multiband_tiff import is_tiff, read_directory, size_in
from database.regular_files import regular_file, writable_file

logger = logging.getLogger(__name__)

_SUFFIXES = (".tif", ".tiff")
_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION = 33550, 33922, 34264
_GEO_KEYS, _GEO_DOUBLES, _GEO_TEXT = 34735, 34736, 34737
_TEXT, _SHORT, _DOUBLE = 2, 3, 12
# The type of each tag.
_TYPES: Mapping[int, int] = {
    _PIXEL_SCALE: _DOUBLE,
    _TIE_POINTS: _DOUBLE,
    _TRANSFORMATION: _DOUBLE,
    _GEO_KEYS: _SHORT,
    _GEO_DOUBLES: _DOUBLE,
    _GEO_TEXT: _TEXT,
}
_PLACES = (_TIE_POINTS, _TRANSFORMATION)  # a georeference has one of them
_MOST_VALUES = 65535


class Georeference(NamedTuple):
    """The tags that place the pixels of an image on the earth.

    Attributes:
      tags: values by the number of the tag.
      size: (height, width) of the image in pixels.
    """

    tags: Mapping[int, Any]
    size: tuple[int, int]


def read_georeference(path: str) -> Georeference | None:
    """Reads the georeference of a TIFF, by its suffix.

    Returns:
      The georeference; None if the file is no TIFF or has none, or if its tags are damaged or its pixels are stored in
      a turned order, for which a warning is logged.

    Raises:
      ImageError: the file cannot be opened.
    """
    if not path.lower().endswith(_SUFFIXES):
        return None
    with decode_errors_named(path):
        with warnings_silenced(), open(path, "rb", opener=regular_file) as file:
            directory = read_directory(file) if is_tiff(file) else None
        if directory is None:
            with opened(path, None):  # an image of another format
                return None
        tags = {tag: directory[tag] for tag in _TYPES if tag in directory}
        types = {tag: directory.tagtype[tag] for tag in tags}
        orientation = directory.get(ExifTags.Base.Orientation, 1)
        size = size_in(directory)
        check_pixels(path, *size)
    if not any(tag in tags for tag in _PLACES):
        return None
    if orientation != 1:
        logger.warning("%s: its pixels are turned by orientation %s, so the georeference is dropped", path, orientation)
        return None
    damaged = [tag for tag, value in tags.items() if types[tag] != _TYPES[tag] or not _is_possible(tag, value)]
    if damaged:
        logger.warning("%s: the tag %d is not as in GeoTIFF, so the georeference is dropped", path, damaged[0])
        return None
    return Georeference(tags, size)


def _is_possible(tag: int, value: Any) -> bool:
    count = len(value) if isinstance(value, str | tuple) else 1
    if tag == _TRANSFORMATION and count != 16:
        return False
    return 0 < count <= _MOST_VALUES and (isinstance(value, str) or bool(np.all(np.isfinite(value))))


def write_geotiff(path: str, ids: np.ndarray, georeference: Georeference) -> None:
    """Writes ids as a GeoTIFF, compressed without loss; a partly written file never has the final name.

    Args:
      path: the file to write or to replace.
      ids: uint8 or uint16 [height, width].
      georeference: of an image of the same size.

    Raises:
      ImageError: the sizes differ, or the file cannot be written.
    """
    if ids.shape != georeference.size or ids.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{path}: cannot write {ids.dtype} {list(ids.shape)}, expected uint8 or uint16 {list(georeference.size)} "
            "like the image"
        )
    try:
        with (
            written_atomically(path) as partial_path,
            open(partial_path, "wb", opener=writable_file) as file,
        ):
            _save(file, ids, georeference)
    except OSError as error:
        raise ImageError(f"{path}: the image cannot be written ({error.strerror or error})") from error


def georeference_file(georeference: Georeference) -> bytes:
    """Returns a GeoTIFF of one pixel with the georeference, for libraries that interpret the tags."""
    file = io.BytesIO()
    _save(file, np.zeros((1, 1), np.uint8), georeference)
    return file.getvalue()


def _save(file: IO[bytes], ids: np.ndarray, georeference: Georeference) -> None:
    directory = ImageFileDirectory_v2()
    for tag, value in georeference.tags.items():
        directory.tagtype[tag] = _TYPES[tag]
        directory[tag] = value
    Image.fromarray(ids).save(file, format="TIFF", compression="tiff_adobe_deflate", tiffinfo=directory)
