"""GeoTIFFs, built and read byte by byte, as the standard describes them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

SCALE, TIES, MATRIX, KEYS, DOUBLES, TEXT = 33550, 33922, 34264, 34735, 34736, 34737
# UTM zone 32N: half a metre per pixel, the upper left corner at 500000 east and 5400000.25 north.
TAGS: dict[int, tuple[str, Any]] = {
    SCALE: ("d", (0.5, 0.5, 0.0)),
    TIES: ("d", (0.0, 0.0, 0.0, 500000.0, 5400000.25, 0.0)),
    KEYS: ("H", (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 1026, 34737, 14, 0, 3072, 0, 1, 32632)),
    DOUBLES: ("d", (6378137.0, 298.257223563)),
    TEXT: ("s", b"UTM zone 32N |\0"),
}
_KINDS = {"s": 2, "H": 3, "I": 4, "d": 12}


def geotiff(path: Path, pixels: np.ndarray, tags: dict[int, tuple[str, Any]], order: str = "<") -> str:
    """Writes an uncompressed TIFF of uint8 [H, W, 3] in one strip; values longer than 4 bytes follow the directory."""
    height, width, channels = pixels.shape
    entries = {
        256: ("I", (width,)), 257: ("I", (height,)), 258: ("H", (8,) * channels), 259: ("H", (1,)), 262: ("H", (2,)),
        273: ("I", (0,)), 277: ("H", (channels,)), 278: ("I", (height,)), 279: ("I", (pixels.size,)), **tags,
    }  # fmt: skip
    after = 8 + 2 + 12 * len(entries) + 4
    rows, more = b"", b""
    packed = {tag: values if kind == "s" else struct.pack(f"{order}{len(values)}{kind}", *values)
              for tag, (kind, values) in entries.items()}  # fmt: skip
    place_of_pixels = after + sum(len(content) for content in packed.values() if len(content) > 4)
    packed[273] = struct.pack(f"{order}I", place_of_pixels)
    for tag in sorted(entries):
        kind, values = entries[tag]
        content = packed[tag]
        rows += struct.pack(f"{order}HHI", tag, _KINDS[kind], len(values))
        rows += content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(f"{order}I", after + len(more))
        more += content if len(content) > 4 else b""
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HIH", 42, 8, len(entries))
    path.write_bytes(head + rows + struct.pack(f"{order}I", 0) + more + pixels.tobytes())
    return str(path)


def tags_in(path: Path) -> dict[int, tuple[str, Any]]:
    """The tags of the first directory of a TIFF."""
    content = path.read_bytes()
    order = {b"II": "<", b"MM": ">"}[content[:2]]
    assert struct.unpack_from(f"{order}H", content, 2) == (42,)
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (number,) = struct.unpack_from(f"{order}H", content, start)
    letters = {kind: letter for letter, kind in _KINDS.items()}
    found = {}
    for index in range(number):
        place = start + 2 + 12 * index
        tag, kind, count = struct.unpack_from(f"{order}HHI", content, place)
        letter = letters[kind]
        form = f"{count}s" if letter == "s" else f"{count}{letter}"
        size = struct.calcsize(f"{order}{form}")
        where = place + 8 if size <= 4 else struct.unpack_from(f"{order}I", content, place + 8)[0]
        values = struct.unpack_from(f"{order}{form}", content, where)
        found[tag] = (letter, values[0] if letter == "s" else values)
    return found
