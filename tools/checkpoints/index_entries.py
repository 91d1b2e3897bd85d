"""Checks the `.index` of a checkpoint before TensorFlow opens it, which aborts the process on impossible entries."""

from __future__ import annotations

import functools
import glob
import math
import os
from collections.abc import Mapping

import tensorflow.compat.v1 as tf

from database.regular_files import read_regular_file, regular_file
from tools.checkpoints.index_messages import Entry, Extent, decode_entry, decode_header
from tools.checkpoints.index_table import read_table
from tools.errors import IndexTableError
from tools.runtime.printable import printable

# Checkpoints of ten thousand variables have an index of 1 MB.
_LARGEST_INDEX = 256 * 2**20
_MOST_DIMENSIONS = 254  # TensorFlow's
_MOST_ELEMENTS = 2**63
_MOST_SHARDS = 99_999  # five digits in the names of the files
_HEADER = b""  # key of the header
_PART = b"\0"  # first byte of the keys of parts
# Tensors without a size that follows from their shape.
_UNSIZED = frozenset({tf.string, tf.variant, tf.resource})


def index_fault(prefix: str) -> str | None:
    """Checks that every entry of a checkpoint's index is a tensor that can be inside the checkpoint's files.

    Args:
        prefix: of the checkpoint; one without an `.index`, of TensorFlow before 0.12, is not checked.

    Returns:
        The first fault, or None. Checksums are left to TensorFlow.

    Raises:
        OSError: the index cannot be read, or is a pipe or a device.
        IndexTableError: it is not a table.
    """
    path = prefix + ".index"
    if not os.path.exists(path):
        return None
    with open(path, "rb", opener=regular_file) as file:
        found = os.fstat(file.fileno())
        if found.st_size > _LARGEST_INDEX:
            return f"its index has {found.st_size} bytes, expected at most {_LARGEST_INDEX}"
    return _fault_of_files(prefix, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns), _data_sizes(prefix))


@functools.lru_cache(maxsize=8)
def _fault_of_files(prefix: str, index: tuple[int, ...], data: tuple[tuple[str, int], ...]) -> str | None:
    """Checks the entries; a start opens the same checkpoint several times, and 1,500 variables take 0.1 s."""
    return _entries_fault(prefix, dict(read_table(read_regular_file(f"{prefix}.index", _LARGEST_INDEX))))


def _data_sizes(prefix: str) -> tuple[tuple[str, int], ...]:
    paths = sorted(glob.glob(glob.escape(prefix) + ".data-*"))
    return tuple((path, os.stat(path).st_size) for path in paths)


def _entries_fault(prefix: str, entries: dict[bytes, bytes]) -> str | None:
    if _HEADER not in entries:
        return "its index has no header"
    shards = decode_header(entries.pop(_HEADER))
    if not 1 <= shards <= _MOST_SHARDS:
        return f"its index names {shards} files of data"
    sizes = _sizes(prefix, shards)
    decoded = {}
    for key, value in entries.items():
        try:
            decoded[key] = decode_entry(value)
        except IndexTableError as error:
            raise IndexTableError(f"its entry of {_shown(key)} does not describe a tensor: {error}") from error
    for key, entry in decoded.items():
        fault = _entry_fault(entry, sizes)
        if fault is not None:
            return f"its index says of {_shown(key)}: {fault}"
    return _parts_fault(decoded)


def _parts_fault(entries: Mapping[bytes, Entry]) -> str | None:
    """Compares the tensors that were written in parts with the entries of these parts."""
    parts: dict[bytes, list[Entry]] = {key: [] for key, entry in entries.items() if entry.slices}
    for key, entry in entries.items():
        if key.startswith(_PART):
            parts.setdefault(_name_of_part(key), []).append(entry)
    for name, found in parts.items():
        whole = entries.get(name)
        if whole is None or whole.shape is None or not whole.slices:
            return f"its index has parts of {_shown(name)}, which is not in parts"
        places = [_place_of_part(part, whole.shape) for part in whole.slices]
        if len(set(places)) < len(places):
            return f"its index says of {_shown(name)}: a part is listed twice"
        shapes = [tuple(length for _, length in place) for place in places]
        of_whole = sorted((shape, whole.dtype) for shape in shapes)
        if any(part.slices for part in found) or sorted((part.shape, part.dtype) for part in found) != of_whole:
            return f"its index says of {_shown(name)}: its parts have other types or shapes, or some are missing"
    return None


def _place_of_part(part: tuple[Extent, ...], shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Returns start and length along each axis."""
    return tuple(
        (extent.start, size - extent.start if extent.length is None else extent.length)
        for extent, size in zip(part, shape, strict=True)
    )


def _name_of_part(key: bytes) -> bytes:
    """Returns the tensor's name in the key of a part; TensorFlow escapes two bytes, and its place follows."""
    name = key[len(_PART) :].partition(b"\0\1")[0]
    return name.replace(b"\0\xff", b"\0").replace(b"\xff\0", b"\xff")


def _sizes(prefix: str, shards: int) -> dict[int, int]:
    """Returns the sizes in bytes of those files of data that exist, by number."""
    paths = {shard: f"{prefix}.data-{shard:05d}-of-{shards:05d}" for shard in range(shards)}
    return {shard: os.path.getsize(path) for shard, path in paths.items() if os.path.exists(path)}


def _entry_fault(entry: Entry, sizes: dict[int, int]) -> str | None:
    """Checks one entry; `sizes` as `_sizes` returns them."""
    try:
        dtype = tf.as_dtype(entry.dtype)
    except TypeError:
        return f"the type has number {entry.dtype}, which TensorFlow does not know"
    if dtype != dtype.base_dtype:
        return f"the type has number {entry.dtype}, which no tensor in a file has"
    if entry.shape is None or len(entry.shape) > _MOST_DIMENSIONS:
        return f"the shape has {'unknown' if entry.shape is None else len(entry.shape)} dimensions"
    count = math.prod(entry.shape)
    if any(size < 0 for size in entry.shape) or count >= _MOST_ELEMENTS:
        return f"the shape is {list(entry.shape)}"
    if entry.slices:  # the values of the parts are in entries of their own
        return next(filter(None, (_part_fault(part, entry.shape) for part in entry.slices)), None)
    if dtype not in _UNSIZED and count * dtype.size != entry.size:
        return f"{entry.size} bytes, expected {count * dtype.size} for the shape {list(entry.shape)}"
    return _place_fault(entry, sizes)


def _place_fault(entry: Entry, sizes: dict[int, int]) -> str | None:
    if entry.shard not in sizes:
        return f"the file of data with number {entry.shard} does not exist"
    if not 0 <= entry.offset <= entry.offset + entry.size <= sizes[entry.shard]:
        return f"{entry.size} bytes at {entry.offset}, but its file has {sizes[entry.shard]}"
    return None


def _part_fault(part: tuple[Extent, ...], shape: tuple[int, ...]) -> str | None:
    """Checks a part of a tensor that was written in parts."""
    if len(part) != len(shape):
        return f"a part has {len(part)} dimensions, expected {len(shape)}"
    for (start, length), size in zip(_place_of_part(part, shape), shape, strict=True):
        if not 0 <= start <= start + length <= size:
            return f"a part reaches from {start} over {length} of {size}"
    return None


def _shown(key: bytes) -> str:
    return printable(key.decode("utf-8", "backslashreplace"))
