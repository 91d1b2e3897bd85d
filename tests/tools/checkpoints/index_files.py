"""Writes the `.index` of a checkpoint entry by entry, with right checksums, so that any entry can be impossible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tensorflow.core.protobuf import tensor_bundle_pb2

_MAGIC = bytes.fromhex("57fb808b247547db")


def crc32c(content: bytes) -> int:
    """RFC 3720, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def varint(number: int) -> bytes:
    digits = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def block(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A block and its trailer; each entry repeats nothing of the one before."""
    content = b""
    restarts = []
    for key, value in entries:
        restarts.append(len(content))
        content += encoded(key, value)
    return block_of(content, restarts or [0])


def block_of(content: bytes, restarts: Sequence[int]) -> bytes:
    """A block of encoded entries, with its list of places from which they can be read, and its trailer."""
    content += b"".join(place.to_bytes(4, "little") for place in (*restarts, len(restarts)))
    crc = crc32c(content + b"\0")
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return content + b"\0" + masked.to_bytes(4, "little")


def encoded(key: bytes, value: bytes) -> bytes:
    """An entry of a block that repeats nothing of the one before."""
    return varint(0) + varint(len(key)) + varint(len(value)) + key + value


def table(entries: dict[bytes, bytes]) -> bytes:
    """A table of one block."""
    return table_of(block(sorted(entries.items())), max(entries, default=b""))


def table_of(data: bytes, last_key: bytes) -> bytes:
    """A table of a block whose last key is known."""
    meta = block([])
    handles = [varint(0) + varint(len(data) - 5), varint(len(data)) + varint(len(meta) - 5)]
    index = block([(last_key, handles[0])])
    footer = handles[1] + varint(len(data) + len(meta)) + varint(len(index) - 5)
    return data + meta + index + footer.ljust(40, b"\0") + _MAGIC


def header(shards: int = 1) -> bytes:
    message = tensor_bundle_pb2.BundleHeaderProto(num_shards=shards)
    message.version.producer = 1
    return message.SerializeToString()


def entry(dtype: int = 1, shape: Iterable[int] = (2, 3), **fields: int) -> bytes:
    """The description of a tensor; by default of six floats at the beginning of the first file."""
    message = tensor_bundle_pb2.BundleEntryProto(dtype=dtype, **{"size": 24, **fields})
    for size in shape:
        message.shape.dim.add(size=size)
    return message.SerializeToString()


def write(folder: Path, entries: dict[str, bytes], shards: int = 1, data: bytes = bytes(24)) -> str:
    """Writes a checkpoint; returns its prefix."""
    prefix = folder / "model"
    content = {b"": header(shards), **{name.encode(): value for name, value in entries.items()}}
    Path(f"{prefix}.index").write_bytes(table(content))
    Path(f"{prefix}.data-00000-of-{shards:05d}").write_bytes(data)
    return str(prefix)
