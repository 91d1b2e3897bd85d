"""From image files in any of Pillow's modes to RGB of 8 bits."""

from __future__ import annotations

import numpy as np
from PIL import Image

from database.image_opening import Converter

# The formats whose mode "I" holds 0..65535; in the others it holds numbers of any size.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")


def rgb_converter(image: Image.Image) -> Converter:
    """What turns the image, when its pixels are decoded, into uint8 [H, W, 3]."""
    file_format = image.format
    return lambda decoded: _to_rgb(decoded, file_format)


def _to_rgb(image: Image.Image, file_format: str | None) -> np.ndarray:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image)
        if image.mode == "F":
            grey = np.rint(np.nan_to_num(grey, nan=0.0, posinf=255.0, neginf=0.0))
        elif image.mode != "I" or file_format in _SIXTEEN_BIT_FORMATS:
            grey = grey >> 8
        grey = np.clip(grey, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    image.info.pop("transparency", None)  # transparency is dropped, and Pillow warns about some kinds of it
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
