"""Writes TIFFs of several channels, with the encodings of GDAL, as the TIFF 6.0 specification describes them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {"B": 1, "s": 2, "H": 3, "I": 4, "d": 12, "Q": 16}
_KINDS = {"u": 1, "i": 2, "f": 3}
DEFLATE = 8


def differences(block: np.ndarray) -> bytes:
    """Predictor 2: each number less the one before it in its row and channel."""
    whole = block.astype(block.dtype.newbyteorder("=")).view(f"u{block.itemsize}")
    before = np.concatenate([np.zeros_like(whole[:, :1]), whole[:, :-1]], axis=1)
    return (whole - before).astype(f"{block.dtype.byteorder}u{block.itemsize}").tobytes()


def fraction_differences(block: np.ndarray) -> bytes:
    """Predictor 3: the most significant bytes of a row first, as differences."""
    rows = []
    for row in block:
        numbers = row.astype(row.dtype.newbyteorder(">")).reshape(-1)
        planes = np.frombuffer(numbers.tobytes(), np.uint8).reshape(-1, block.itemsize).T.reshape(-1)
        channels = block.shape[2]
        rows.append(planes - np.concatenate([np.zeros(channels, np.uint8), planes[:-channels]]))
    return np.concatenate(rows).tobytes()


_ENCODERS = {1: np.ndarray.tobytes, 2: differences, 3: fraction_differences}


def write_tiff(
    path: Path,
    image: np.ndarray,
    *,
    predictor: int = 1,
    compression: int = DEFLATE,
    planar: bool = False,
    rows: int = 3,
    tile: int | None = None,
    big: bool = False,
    changes: Mapping[int, tuple[str, Any] | None] | None = None,
) -> str:
    """Writes [H, W, C] in the byte order of its type.

    Args:
        path: of the file.
        image: numbers.
        predictor, compression: as in the file; 1 (none) or `DEFLATE`.
        planar: whether channels are stored one after the other.
        rows: of a strip.
        tile: side of a tile; None for strips.
        big: whether to write a BigTIFF.
        changes: entries to replace or, by None, to remove: (type, values, or bytes of a text) by tag.
    """
    height, width, channels = image.shape
    order = ">" if image.dtype.byteorder == ">" else "<"
    blocks = []
    for plane in np.split(image, channels, axis=2) if planar else [image]:
        if tile is None:
            parts = [plane[top : top + rows] for top in range(0, height, rows)]
        else:
            padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)), "edge")
            parts = [
                padded[top : top + tile, left : left + tile]
                for top in range(0, height, tile)
                for left in range(0, width, tile)
            ]
        blocks += [_ENCODERS[predictor](np.ascontiguousarray(part)) for part in parts]
    if compression == DEFLATE:
        blocks = [zlib.compress(block) for block in blocks]
    start = 16 if big else 8
    offsets = np.cumsum([start, *map(len, blocks)])
    places = {"tag": (324, 325)} if tile else {"tag": (273, 279)}
    entries: dict[int, tuple[str, Any] | None] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8 * image.itemsize] * channels),
        259: ("H", [compression]), 262: ("H", [1]), 277: ("H", [channels]), 284: ("H", [2 if planar else 1]),
        317: ("H", [predictor]), 339: ("H", [_KINDS[image.dtype.kind]] * channels),
        places["tag"][0]: ("I", offsets[:-1].tolist()), places["tag"][1]: ("I", [len(block) for block in blocks]),
        **({322: ("I", [tile]), 323: ("I", [tile])} if tile else {278: ("I", [rows])}),
        **(changes or {}),
    }  # fmt: skip
    directory = _directory(
        {tag: entry for tag, entry in sorted(entries.items()) if entry}, int(offsets[-1]), order, big
    )
    version = struct.pack(f"{order}HHHQ", 43, 8, 0, offsets[-1]) if big else struct.pack(f"{order}HI", 42, offsets[-1])
    path.write_bytes((b"II" if order == "<" else b"MM") + version + b"".join(blocks) + directory)
    return str(path)


def _directory(entries: dict[int, tuple[str, Any]], start: int, order: str, big: bool) -> bytes:
    count, room = ("Q", 8) if big else ("I", 4)
    table = struct.pack(f"{order}{'Q' if big else 'H'}", len(entries))
    after, lists = start + len(table) + len(entries) * (4 + 2 * room) + room, b""
    for tag, (kind, values) in entries.items():
        packed = values if kind == "s" else struct.pack(f"{order}{len(values)}{kind}", *values)
        length = len(packed) if kind == "s" else len(values)
        if len(packed) > room:
            packed, lists = struct.pack(f"{order}{count}", after + len(lists)), lists + packed
        table += struct.pack(f"{order}HH{count}", tag, _TYPES[kind], length) + packed.ljust(room, b"\0")
    return table + bytes(room) + lists
