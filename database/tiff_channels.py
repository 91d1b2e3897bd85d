"""Finds TIFFs with channels that Pillow does not decode, so that none is dropped unnoticed.

Pillow decodes the first channel of a TIFF that stores its channels one after the other as if it were the only one, and
drops channels that are neither colours nor alpha.
"""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from database.errors import ImageError
from database.image_opening import warnings_silenced
from database.multiband_tiff import is_tiff, number_type, read_layout
from database.regular_files import regular_file

_CHANNELS = 277
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError)


def channels_not_decoded(image: Image.Image) -> tuple[int, str] | None:
    """Returns the number of channels of an opened TIFF and their type if Pillow decodes fewer; None for other files."""
    tags: Any = getattr(image, "tag_v2", None)
    count = None if tags is None else tags.get(_CHANNELS)
    if isinstance(count, int) and count > len(image.getbands()):
        return count, number_type(tags)
    return None


def check_all_decoded(image: Image.Image, path: str) -> None:
    """Rejects an opened TIFF with more channels than Pillow decodes; other files pass.

    Args:
        image: as Pillow opened it.
        path: for the message.

    Raises:
        ImageError: Pillow decodes only some of the channels.
    """
    found = channels_not_decoded(image)
    if found is not None:
        raise ImageError(_message(path, *found))


def check_not_multiband(path: str, content: bytes | None, *, is_label: bool) -> None:
    """Rejects a file that Pillow does not identify with a message on its channels if `read_channels` would read it.

    Args:
        path: of the file.
        content: its bytes, if already read.
        is_label: whether it is a label, which needs one channel; Pillow's message is right if it has one.

    Raises:
        ImageError: the file is a TIFF that `channel_reading` reads; or its size or layout is not supported.
    """
    try:
        with (
            warnings_silenced(),
            open(path, "rb", opener=regular_file) if content is None else io.BytesIO(content) as file,
        ):
            layout = read_layout(path, file) if is_tiff(file) else None
    except ImageError:
        raise
    except _DAMAGE:  # Pillow's error stands
        return
    if layout is not None and not (is_label and layout.channels == 1):
        raise ImageError(_message(path, layout.channels, layout.dtype.name))


def _message(path: str, count: int, kind: str) -> str:
    channels = "1 channel" if count == 1 else f"{count} channels"
    return (
        f"{path}: the TIFF has {channels} ({kind}), expected grey or RGB, or a label of one channel: to use all "
        f"channels of images, train with --input_channels {count}; otherwise save grey or RGB of 8 bits"
    )
