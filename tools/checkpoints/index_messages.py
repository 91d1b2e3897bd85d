"""Decodes the messages in a checkpoint's index in Python, because TensorFlow's public interface does not have them.

They are protocol buffers (https://protobuf.dev/programming-guides/encoding), defined in TensorFlow's
`tensor_bundle.proto`, `tensor_shape.proto` and `tensor_slice.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tools.checkpoints.index_table import varint
from tools.errors import IndexTableError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MOST_SIGNED = 2**63


class Extent(NamedTuple):
    """A part of an axis; a length of None reaches to its end."""

    start: int
    length: int | None


class Entry(NamedTuple):
    """The description of a tensor.

    Attributes:
        dtype: number of the type, `tf.DType.as_datatype_enum`.
        shape: sizes of the axes; None if their number is unknown.
        shard: number of the file of data.
        offset, size: place in that file, in bytes.
        slices: parts that the values are in, as extents along each axis; empty if the values are in one piece.
    """

    dtype: int
    shape: tuple[int, ...] | None
    shard: int
    offset: int
    size: int
    slices: tuple[tuple[Extent, ...], ...]


def decode_header(message: bytes) -> int:
    """Returns the number of files of data in a `BundleHeaderProto`.

    Raises:
        IndexTableError: the message is malformed.
    """
    return _number(_values(message), 1)


def decode_entry(message: bytes) -> Entry:
    """Decodes a `BundleEntryProto`.

    Raises:
        IndexTableError: the message is malformed.
    """
    values = _values(message)
    shapes = [_values(shape) for shape in _messages(values, 2)]
    sizes = tuple(_number(_values(axis), 1) for shape in shapes for axis in _messages(shape, 2))
    is_unknown = any(_number(shape, 3) for shape in shapes)
    slices = tuple(tuple(_extent(extent) for extent in _messages(_values(part), 1)) for part in _messages(values, 7))
    return Entry(
        dtype=_number(values, 1),
        shape=None if is_unknown else sizes,
        shard=_number(values, 3),
        offset=_number(values, 4),
        size=_number(values, 5),
        slices=slices,
    )


def _extent(message: bytes) -> Extent:
    values = _values(message)
    return Extent(_number(values, 1), _number(values, 2) if 2 in values else None)


_Values = dict[int, list[int | bytes]]


def _values(message: bytes) -> _Values:
    """Returns the values in a message by the numbers of their fields."""
    values: _Values = {}
    for number, value in _fields(message):
        values.setdefault(number, []).append(value)
    return values


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    place = 0
    while place < len(message):
        key, place = varint(message, place)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, place = varint(message, place)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, place = varint(message, place)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise IndexTableError(f"a field has the unknown wire type {wire_type}")
        if place + size > len(message):
            raise IndexTableError("a field is longer than its message")
        yield number, message[place : place + size]
        place += size


def _number(values: _Values, field: int) -> int:
    """Returns a signed number, 0 if it is absent."""
    found = values.get(field, [0])
    number = found[-1]
    if len(found) > 1 or not isinstance(number, int):
        raise IndexTableError(f"field {field} is not one number")
    return number - 2 * _MOST_SIGNED if number >= _MOST_SIGNED else number


def _messages(values: _Values, field: int) -> list[bytes]:
    found = [value for value in values.get(field, []) if isinstance(value, bytes)]
    if len(found) != len(values.get(field, [])):
        raise IndexTableError(f"field {field} is not a message")
    return found
