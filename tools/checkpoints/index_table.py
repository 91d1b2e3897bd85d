"""Reads the keys and values of a TensorFlow table file, the format of a checkpoint's `.index`, in Python.

The format is LevelDB's (https://github.com/google/leveldb/blob/main/doc/table_format.md): data blocks, an index block
with the place of each data block, and a footer with the place of the index block. Checksums of blocks are not compared,
because TensorFlow does that; what is read here is everything that TensorFlow trusts after that. TensorFlow reads the
entries in turn and also searches them, from places that each block lists (restarts): a table is rejected if that could
find others.
"""

from __future__ import annotations

from collections.abc import Iterator

from tools.errors import IndexTableError

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_TRAILER = 5  # a block's type of compression, and its checksum
_RESTART = 4
_UNCOMPRESSED = 0
_LONGEST_VARINT = 10
_MOST = 2**64 - 1


def read_table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Reads a table.

    Args:
        content: of the file.

    Yields:
        Keys and values, in the order of the file, which is that of the keys.

    Raises:
        IndexTableError: the table is malformed, its keys do not rise, or it is compressed, which TensorFlow's writers
            do not do.
    """
    if len(content) < _FOOTER or not content.endswith(_MAGIC):
        raise IndexTableError("its end is missing")
    footer = content[-_FOOTER:]
    _, place = _handle(footer, 0)  # of the metaindex block, which TensorFlow does not use
    index, _ = _handle(footer, place)
    before = None
    for _, handle in _entries(*_block(content, index)):
        for key, value in _entries(*_block(content, _handle(handle, 0)[0])):
            if before is not None and key <= before:
                raise IndexTableError("its keys do not rise")
            before = key
            yield key, value


def varint(content: bytes, place: int) -> tuple[int, int]:
    """Decodes a number in groups of seven bits, the lowest first.

    Args:
        content: bytes.
        place: of the number's first byte.

    Returns:
        The number, below 2**64, and the place behind it.

    Raises:
        IndexTableError: the number is cut off or too long.
    """
    number = 0
    for count in range(_LONGEST_VARINT):
        if place + count >= len(content):
            break
        byte = content[place + count]
        number |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return number & _MOST, place + count + 1
    raise IndexTableError("a number in it is cut off or too long")


def _handle(content: bytes, place: int) -> tuple[tuple[int, int], int]:
    """Returns a block's offset and size, and the place behind them."""
    offset, place = varint(content, place)
    size, place = varint(content, place)
    return (offset, size), place


def _block(content: bytes, handle: tuple[int, int]) -> tuple[bytes, list[int]]:
    """Returns the entries of a block, and the restarts: the places from which they can be read."""
    offset, size = handle
    end = offset + size
    if end + _TRAILER > len(content) or size < _RESTART:
        raise IndexTableError(f"a block of {size} bytes at {offset} is not inside the file")
    if content[end] != _UNCOMPRESSED:
        raise IndexTableError(f"the block at {offset} is compressed")
    block = content[offset:end]
    restarts = int.from_bytes(block[-_RESTART:], "little")
    behind_entries = size - _RESTART * (restarts + 1)
    if behind_entries < 0:
        raise IndexTableError(f"the block at {offset} has {restarts} restarts in {size} bytes")
    return block[:behind_entries], [
        int.from_bytes(block[place : place + _RESTART], "little")
        for place in range(behind_entries, size - _RESTART, _RESTART)
    ]


def _entries(block: bytes, restarts: list[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yields keys and values of a block.

    Raises:
        IndexTableError: an entry is malformed, or a restart is no entry's place or that of a key without its beginning.
    """
    if restarts[:1] != [0]:
        raise IndexTableError("a block does not begin with its first entry")
    place, key, met = 0, b"", 0
    while place < len(block):
        is_restart = met < len(restarts) and restarts[met] == place
        met += is_restart
        shared, place = varint(block, place)
        unshared, place = varint(block, place)
        length, place = varint(block, place)
        if shared > (0 if is_restart else len(key)) or place + unshared + length > len(block):
            raise IndexTableError("an entry is longer than its block")
        key = key[:shared] + block[place : place + unshared]
        place += unshared
        yield key, block[place : place + length]
        place += length
    if block and met < len(restarts):
        raise IndexTableError(f"a block lists an entry at {restarts[met]}, where there is none")
