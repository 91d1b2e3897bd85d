"""Recognizes the format of annotations by the beginning of a file, for messages about a wrong --format."""

from __future__ import annotations

import glob
import os

from database.regular_files import regular_file

_BYTES = 1 << 16

# Names that a file of each format has near its beginning, and no file of the formats above it.
_MARKS = {
    "cvat": (b"<annotations",),
    "voc": (b"<annotation>",),
    "labelme": (b'"imagePath"', b'"shapes"'),
    "coco": (b'"annotations"', b'"categories"', b'"images"'),
}
_NAMES = {"cvat": "CVAT for images", "voc": "Pascal VOC", "labelme": "labelme", "coco": "COCO"}


def other_format_hint(path: str, given: str) -> str:
    """Returns the end of a message about annotations that cannot be read: the format that they seem to have.

    Args:
        path: a file, or a folder of files, of which one is looked at.
        given: value of --format.

    Returns:
        The text, empty if the format is the given one or unknown.
    """
    files = [path] if os.path.isfile(path) else sorted(glob.glob(f"{glob.escape(path)}/**/*.json", recursive=True))
    try:
        with open(files[0], "rb", opener=regular_file) as file:
            start = file.read(_BYTES)
    except (OSError, IndexError):
        return ""
    found = next((name for name, marks in _MARKS.items() if any(mark in start for mark in marks)), given)
    return "" if found == given else f"; the file looks like one of {_NAMES[found]}: give --format {found}"
