"""Writes files of PyTorch from parts of pickles, without PyTorch: also such as torch.save would never write."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


def encode(value: Any) -> bytes:
    """The operations that put a value on the stack; bytes are such operations already."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(value, (list, tuple)):
        content = b"".join(map(encode, value))
        return b"(" + content + (b"t" if isinstance(value, tuple) else b"l")
    if isinstance(value, dict):
        return b"}(" + b"".join(encode(key) + encode(part) for key, part in value.items()) + b"u"
    return pickle.dumps(value, 2)[2:-1]  # numbers, None


def name(module: str, attribute: str) -> bytes:
    """A class or a function."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def call(module: str, attribute: str, *arguments: Any) -> bytes:
    """A call of a function."""
    return name(module, attribute) + encode(arguments) + b"R"


def storage(key: Any = "0", kind: str = "FloatStorage", count: Any = 6, view: Sequence[Any] = ()) -> bytes:
    """A reference to a storage."""
    return encode(("storage", name("torch", kind), key, "cpu", count, *view)) + b"Q"


def tensor(
    storage: Any,
    shape: Any,
    strides: Any,
    offset: Any = 0,
    function: str = "_rebuild_tensor_v2",
    more: Sequence[Any] = (),
) -> bytes:
    """A tensor that sees a part of a storage."""
    return call(
        "torch._utils", function, storage, offset, shape, strides, False, call("collections", "OrderedDict"), *more
    )


def of_array(array: np.ndarray, key: str = "0") -> bytes:
    """A contiguous tensor of float32."""
    strides = tuple(step // 4 for step in array.strides)
    return tensor(storage(key, count=array.size), array.shape, strides)


def pickled(value: Any) -> bytes:
    """A pickle of protocol 2."""
    return b"\x80\x02" + encode(value) + b"."


def zip_bytes(
    content: bytes,
    storages: Mapping[str, bytes] | None = None,
    members: Mapping[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """A file of PyTorch 1.6 or later.

    Args:
        content: the pickle.
        storages: bytes by key.
        members: further files in it, by name.
        compression: of all of them.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("w/data.pkl", content)
        for key, numbers in (storages or {}).items():
            archive.writestr(f"w/data/{key}", numbers)
        for member, text in (members or {}).items():
            archive.writestr(member, text)
    return stream.getvalue()


def legacy_bytes(
    content: bytes,
    storages: Mapping[str, bytes] | None = None,
    item_bytes: int = 4,
    header: Sequence[Any] = (MAGIC_NUMBER, PROTOCOL_VERSION, {"little_endian": True}),
) -> bytes:
    """A file of PyTorch before 1.6.

    Args:
        content: the pickle.
        storages: bytes by key.
        item_bytes: of their elements.
        header: the pickles before.
    """
    storages = storages or {}
    ends = [struct.pack("<q", len(numbers) // item_bytes) + numbers for numbers in storages.values()]
    return b"".join([*map(pickled, header), content, pickled(list(storages)), *ends])


def write(path: Path, content: bytes) -> str:
    """Writes bytes, and returns the path as text."""
    path.write_bytes(content)
    return str(path)
