"""Checks the `.index` of a checkpoint before TensorFlow opens it, which aborts the process on impossible entries."""

from __future__ import annotations

import math
import os
from typing import Any

import tensorflow.compat.v1 as tf

from database.regular_files import regular_file
from tools.checkpoints.index_table import TableError, read_table

# Checkpoints of ten thousand variables have an index of 1 MB.
_LARGEST_INDEX = 256 * 2**20
_MOST_DIMENSIONS = 254  # TensorFlow's
_MOST_SHARDS = 99_999  # five digits in the names of the files
_HEADER = b""  # key of the header
# Tensors without a size that follows from their shape.
_UNSIZED = frozenset({tf.string, tf.variant, tf.resource})


def index_fault(prefix: str) -> str | None:
    """Checks that every entry of a checkpoint's index is a tensor that can be inside the checkpoint's files.

    Args:
        prefix: of the checkpoint; one without an `.index`, of TensorFlow before 0.12, is not checked.

    Returns:
        The first fault, or None. Checksums are left to TensorFlow.
    """
    path = prefix + ".index"
    if not os.path.exists(path):
        return None
    try:
        with open(path, "rb", opener=regular_file) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _LARGEST_INDEX:
                return f"its index has {size} bytes, expected at most {_LARGEST_INDEX}"
            entries = dict(read_table(file.read()))
        return _entries_fault(prefix, entries)
    except TableError as error:
        return f"its index is damaged: {error}"


def _entries_fault(prefix: str, entries: dict[bytes, bytes]) -> str | None:
    # The messages are not in TensorFlow's public interface.
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import tensor_bundle_pb2

    if _HEADER not in entries:
        return "its index has no header"
    try:
        header = tensor_bundle_pb2.BundleHeaderProto.FromString(entries.pop(_HEADER))
        if not 1 <= header.num_shards <= _MOST_SHARDS:
            return f"its index names {header.num_shards} files of data"
        sizes = _sizes(prefix, header.num_shards)
        for key, value in entries.items():
            fault = _entry_fault(tensor_bundle_pb2.BundleEntryProto.FromString(value), sizes)
            if fault is not None:
                return f"its index says of {_shown(key)}: {fault}"
    except DecodeError:
        return "an entry of its index is no description of a tensor"
    return None


def _sizes(prefix: str, shards: int) -> dict[int, int]:
    """Returns the sizes in bytes of those files of data that exist, by number."""
    paths = {shard: f"{prefix}.data-{shard:05d}-of-{shards:05d}" for shard in range(shards)}
    return {shard: os.path.getsize(path) for shard, path in paths.items() if os.path.exists(path)}


def _entry_fault(entry: Any, sizes: dict[int, int]) -> str | None:
    """Checks one entry; `sizes` as `_sizes` returns them."""
    try:
        dtype = tf.as_dtype(entry.dtype)
    except TypeError:
        return f"the type has number {entry.dtype}, which TensorFlow does not know"
    if entry.dtype == 0 or dtype != dtype.base_dtype:
        return f"the type has number {entry.dtype}, which no tensor in a file has"
    shape = [dimension.size for dimension in entry.shape.dim]
    if entry.shape.unknown_rank or len(shape) > _MOST_DIMENSIONS:
        return f"the shape has {'unknown' if entry.shape.unknown_rank else len(shape)} dimensions"
    if any(size < 0 for size in shape) or math.prod(shape) >= 2**63:
        return f"the shape is {shape}"
    if entry.slices:  # the values of the parts are in entries of their own
        return _slices_fault(entry, shape)
    if dtype not in _UNSIZED and math.prod(shape) * dtype.size != entry.size:
        return f"{entry.size} bytes, expected {math.prod(shape) * dtype.size} for the shape {shape}"
    if entry.shard_id not in sizes:
        return f"the file of data with number {entry.shard_id} does not exist"
    if not 0 <= entry.offset <= entry.offset + entry.size <= sizes[entry.shard_id]:
        return f"{entry.size} bytes at {entry.offset}, but its file has {sizes[entry.shard_id]}"
    return None


def _slices_fault(entry: Any, shape: list[int]) -> str | None:
    """Checks the parts of a tensor that was written in parts."""
    for part in entry.slices:
        if len(part.extent) != len(shape):
            return f"a part has {len(part.extent)} dimensions, expected {len(shape)}"
        for extent, size in zip(part.extent, shape, strict=True):
            length = extent.length if extent.HasField("length") else size - extent.start
            if not 0 <= extent.start <= extent.start + length <= size:
                return f"a part reaches from {extent.start} over {length} of {size}"
    return None


def _shown(key: bytes) -> str:
    text = key.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else ascii(text)
