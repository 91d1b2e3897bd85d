"""Opens the two formats of torch.save without PyTorch: a zip file (since 1.6), and before it several pickles in a row.

Both hold a pickle of the saved object, in which tensors refer to storages by key, and the bytes of each storage.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

from database.errors import in_one_line
from database.regular_files import regular_file
from tools.convert.inert_pickle import load_pickle
from tools.convert.inert_values import Name, Persistent, Pickled, shown
from tools.errors import PickleError, UserError, WeightFileError

# Without the numbers of tensors. That of a large network with optimizer and settings has about 1 MB.
_MOST_PICKLE_BYTES = 64 << 20
# torch.save does not compress; of compressed weights, little is saved.
_MOST_EXPANSION = 16
_ZIP = b"PK\x03\x04"
_DATA = "data.pkl"
# torch/serialization.py
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001

# What zipfile raises for damaged files.
_DAMAGES = (OSError, ValueError, RuntimeError, EOFError, OverflowError, IndexError, zipfile.BadZipFile, zlib.error,
            struct.error)  # fmt: skip

# Bytes per element, by the name of the class of storage in torch and torch.cuda.
STORAGE_ITEM_BYTES = {
    "FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4, "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1, "UntypedStorage": 1,
}  # fmt: skip


def is_of_storage(reference: Persistent) -> bool:
    """Whether a reference is to a storage; others are to the source of a class."""
    identifier = reference.identifier
    return isinstance(identifier, tuple) and len(identifier) in (5, 6) and identifier[0] == "storage"


class Storage:
    """What a pickle says about a storage.

    Attributes:
        kind: name of its class, of `STORAGE_ITEM_BYTES`.
        key: in the file.
        count: number of elements.
        start: first element of the part that the tensor sees.
        seen: number of elements of this part.
    """

    __slots__ = ("count", "key", "kind", "seen", "start")

    def __init__(self, reference: Any) -> None:
        """Checks a reference.

        Raises:
            PickleError: it is not one of a storage.
        """
        if not isinstance(reference, Persistent) or not is_of_storage(reference):
            raise PickleError("has no storage")
        _, kind, key, _, count, *view = reference.identifier
        if not isinstance(kind, Name) or not kind.is_of("torch") or kind.name not in STORAGE_ITEM_BYTES:
            raise PickleError(f"has a storage of {kind if isinstance(kind, Name) else 'an unknown class'}")
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise PickleError("has a storage without key or size")
        self.kind, self.key, self.count = kind.name, key, count
        self.start, self.seen = 0, count
        if view and view[0] is not None:
            self._see(view[0])

    def _see(self, view: Any) -> None:
        _, start, seen = view if isinstance(view, tuple) and len(view) == 3 else (None, None, None)
        if type(start) is not int or type(seen) is not int or not 0 <= start <= start + seen <= self.count:
            raise PickleError(f"has a part of storage {shown(self.key)} that is outside of it")
        self.start, self.seen = start, seen

    @property
    def item_bytes(self) -> int:
        return STORAGE_ITEM_BYTES[self.kind]


class PyTorchFile(Protocol):
    """An open file.

    Attributes:
        pickled: the saved object.
        byte_order: of the numbers in storages, `<` or `>`.
    """

    @property
    def pickled(self) -> Pickled: ...
    @property
    def byte_order(self) -> str: ...

    def read_storage(self, storage: Storage) -> bytes:
        """Reads the bytes of a storage.

        Raises:
            PickleError: it is missing, or of another size.
        """
        ...


@contextmanager
def open_pytorch_file(path: str) -> Iterator[PyTorchFile]:
    """Opens a file for a block.

    Raises:
        WeightFileError: the file is damaged, too large in parts, or was not written by torch.save.
    """
    try:
        with open(path, "rb", opener=regular_file) as file:
            is_zip = file.read(len(_ZIP)) == _ZIP
            file.seek(0)
            if not is_zip:
                yield _LegacyFile(file)
                return
            with zipfile.ZipFile(file) as archive:
                yield _ZipFile(archive, os.fstat(file.fileno()).st_size)
    except PickleError as error:
        raise WeightFileError(f"{path}: not a file of PyTorch that can be read ({error})") from error
    except UserError:
        raise
    except _DAMAGES as error:
        reason = shown(in_one_line(error))
        raise WeightFileError(f"{path}: not a file of PyTorch that can be read ({reason})") from error


class _ZipFile:
    """A folder in a zip file with data.pkl, byteorder, and data/KEY for each storage."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        self._members = {member.filename: member for member in archive.infolist()}
        self._check_members(archive, size)
        roots = [name.removesuffix(_DATA) for name in self._members if name.partition("/")[2] == _DATA]
        if len(roots) != 1:
            raise PickleError(f"it has {len(roots)} files {_DATA}, expected one")
        self._root = roots[0]
        if f"{self._root}constants.pkl" in self._members:
            raise PickleError("it is a TorchScript archive: load it with torch.jit.load and save its state_dict()")
        self._read: dict[str, bytes] = {}
        self.byte_order = self._byte_order()
        if self._members[self._root + _DATA].file_size > _MOST_PICKLE_BYTES:
            raise PickleError(f"its {_DATA} has more than {_MOST_PICKLE_BYTES} bytes")
        self.pickled = load_pickle(io.BytesIO(self._bytes(self._root + _DATA)), _MOST_PICKLE_BYTES)

    def _check_members(self, archive: zipfile.ZipFile, size: int) -> None:
        total = sum(member.file_size for member in self._members.values())
        if len(self._members) != len(archive.infolist()):
            raise PickleError("it has two files of one name")
        if total > _MOST_EXPANSION * size:
            raise PickleError(f"its files have {total} bytes, more than {_MOST_EXPANSION} times its own {size}")
        for member in self._members.values():
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others expand without a limit
                raise PickleError(f"{shown(member.filename)} in it is compressed with method {member.compress_type}")

    def _byte_order(self) -> str:
        name = f"{self._root}byteorder"
        word = self._bytes(name) if name in self._members else b"little"
        if word not in (b"little", b"big"):
            raise PickleError(f"its byte order is {shown(repr(word))}, expected little or big")
        return "<" if word == b"little" else ">"

    def _bytes(self, name: str) -> bytes:
        member = self._members[name]
        if getattr(member, "CRC", None) == 0:
            del member.CRC  # none was written: torch.serialization.set_crc32_options(False)
        with self._archive.open(member) as file:
            return file.read(member.file_size)  # without the number, a bomb would expand at once

    def read_storage(self, storage: Storage) -> bytes:
        name = f"{self._root}data/{storage.key}"
        expected = storage.count * storage.item_bytes
        found = self._members[name].file_size if name in self._members else None
        if found != expected:
            what = "is missing" if found is None else f"has {found} bytes"
            raise PickleError(f"needs storage {shown(storage.key)}, which {what}, expected {expected} bytes")
        if name not in self._read:
            self._read[name] = self._bytes(name)
        return self._read[name]


class _LegacyFile:
    """Pickles of a magic number, a version, the system, the saved object and the storages' keys; then the storages."""

    byte_order = "<"  # of every machine: PyTorch swaps the bytes of others

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        if self._next().value != _MAGIC_NUMBER:
            raise PickleError("it is a pickle that torch.save did not write")
        version = self._next().value
        if version != _PROTOCOL_VERSION:
            raise PickleError(f"its version is {shown(repr(version)) if type(version) is int else 'not a number'}, "
                              f"expected {_PROTOCOL_VERSION}")  # fmt: skip
        self._next()
        self.pickled = self._next()
        self._read: dict[str, bytes] = {}
        self._places = self._find_storages(self._next().value)

    def _next(self) -> Pickled:
        return load_pickle(self._file, _MOST_PICKLE_BYTES)

    def _find_storages(self, keys: Any) -> dict[str, tuple[int, int]]:
        """Returns where each storage begins and its number of bytes, without reading it."""
        references = (reference for reference in self.pickled.persistent if is_of_storage(reference))
        storages = {storage.key: storage for storage in map(Storage, references)}
        size = os.fstat(self._file.fileno()).st_size
        places = {}
        for key in keys if isinstance(keys, list) else ():
            storage = storages.get(key) if isinstance(key, str) else None
            if storage is None or storage.key in places:
                raise PickleError("it has a storage that no tensor needs")
            header = self._file.read(8)
            (count,) = struct.unpack("<q", header) if len(header) == 8 else (None,)
            start, length = self._file.tell(), storage.count * storage.item_bytes
            if count != storage.count or start + length > size:
                raise PickleError(f"storage {shown(storage.key)} has {count} numbers, expected {storage.count}: the "
                                  "file is truncated or damaged")  # fmt: skip
            places[storage.key] = start, length
            self._file.seek(start + length)
        return places

    def read_storage(self, storage: Storage) -> bytes:
        start, length = self._places.get(storage.key, (0, -1))
        if length != storage.count * storage.item_bytes:
            what = "is missing" if length < 0 else f"has {length} bytes"
            raise PickleError(f"needs storage {shown(storage.key)}, which {what}")
        if storage.key not in self._read:
            self._file.seek(start)
            self._read[storage.key] = self._file.read(length)
        return self._read[storage.key]
