"""Decides by their suffix which files are images or labels, for training, prediction and inference alike."""

from __future__ import annotations

import functools
import os

from PIL import Image, ImageFile

from database.image_opening import PROGRAM_FORMATS

# Pillow recognizes these formats by their headers but cannot decode them.
_HEADERS_ALONE = ("MPEG",)


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Returns the suffixes of formats that Pillow decodes, in lower case with the dot; PostScript is excluded."""
    Image.init()
    decoded = {
        kind
        for kind, (factory, _) in Image.OPEN.items()
        if kind not in (*PROGRAM_FORMATS, *_HEADERS_ALONE)
        and not (isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile))
    }
    return frozenset(suffix.lower() for suffix, kind in Image.registered_extensions().items() if kind in decoded)


def has_image_suffix(name: str) -> bool:
    """Returns whether a file's name ends with one of `image_suffixes`, in upper or lower case."""
    return os.path.splitext(name)[1].lower() in image_suffixes()
