"""Counts the frames and pages of image files.

Of a moving image, the first frame is read. Pages of a TIFF are images of their own, of which none is dropped, except
smaller copies and masks of the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from database.errors import ImageError
from database.image_opening import DECODE_ERRORS

_TAG_SUBFILE = 254
_REDUCED_OR_MASK = 1 | 4  # flags of a page's subfile type


def is_copy(tags: Mapping[int, Any]) -> bool:
    """Returns whether a page of a TIFF is a smaller copy or a mask of another, by its tags."""
    subfile = tags.get(_TAG_SUBFILE, 0)
    return isinstance(subfile, int) and bool(subfile & _REDUCED_OR_MASK)


def page_count(image: Image.Image) -> int:
    """Returns the number of frames or pages of an opened file that are images of their own."""
    pages = getattr(image, "n_frames", 1)
    if pages == 1 or image.format != "TIFF":
        return pages
    own = 1
    for page in range(1, pages):
        image.seek(page)
        own += not is_copy(image.tag_v2)  # type: ignore[attr-defined]
    image.seek(0)
    return own


def pages_fault(kind: str | None, pages: int) -> str:
    """Describes a file of several frames or pages, for messages."""
    return f"the {kind} has {pages} frames or pages, expected 1: split it into files"


def check_one_page(image: Image.Image, path: str) -> None:
    """Rejects an opened TIFF of several pages, all but the first of which would be dropped; other files pass.

    Raises:
      ImageError: it has several.
    """
    if image.format != "TIFF":
        return
    try:
        pages = page_count(image)
    except DECODE_ERRORS:  # damage behind the first page does not make it unreadable
        image.seek(0)
        return
    if pages > 1:
        raise ImageError(f"{path}: {pages_fault(image.format, pages)}")
