"""Files of PyTorch that are well-formed and whose parts do not fit each other, which changed bits do not reach."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.tools.convert.pytorch_files import (
    MAGIC_NUMBER,
    call,
    encode,
    legacy_bytes,
    name,
    pickled,
    storage,
    tensor,
    zip_bytes,
)

ITEM_BYTES = {"FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8,
              "BoolStorage": 1, "QInt8Storage": 1, "UntypedStorage": 1, "OtherStorage": 4}  # fmt: skip
_SIZES = (0, 1, 1, 2, 2, 3, 6, -1, 7, 1 << 28, 1 << 31, 1 << 63, 1 << 80, 1.0, True, "2", None)
_TYPES = ("uint16", "float32", "float8_e5m2", "nothing")
_FUNCTIONS = (
    "_rebuild_tensor", "_rebuild_tensor_v3", "_rebuild_sparse_tensor", "_rebuild_qtensor", "_rebuild_parameter",
    "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor", "_rebuild_wrapper_subclass",
)  # fmt: skip
_COUNT = 6


def _one_of(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[rng.integers(len(values))]


def _rarely(rng: np.random.Generator, odd: Callable[[], Any], usual: Any, chance: float = 0.08) -> Any:
    return odd() if rng.random() < chance else usual


def _tensor(rng: np.random.Generator, kind: str, key: str) -> bytes:
    shape, strides = _one_of(rng, [((2, 3), (3, 1)), ((3, 2), (1, 3)), ((6,), (1,)), ((), ()), ((1, 6), (6, 1))])
    shape = tuple(_rarely(rng, lambda: _one_of(rng, _SIZES), size) for size in shape)
    strides = tuple(_rarely(rng, lambda: _one_of(rng, _SIZES), step) for step in strides)
    reference = storage(
        _rarely(rng, lambda: _one_of(rng, ["1", "../0", "", 0, None]), key, 0.05),
        _rarely(rng, lambda: _one_of(rng, list(ITEM_BYTES)), kind, 0.1),
        _rarely(rng, lambda: _one_of(rng, _SIZES), _COUNT, 0.1),
        _rarely(rng, lambda: [("v", _one_of(rng, _SIZES), _one_of(rng, _SIZES))], (), 0.03),
    )
    made = tensor(
        _rarely(rng, lambda: _one_of(rng, ["storage", encode(("storage", 1)) + b"Q", None]), reference, 0.05),
        _rarely(rng, lambda: _one_of(rng, [None, 2, [2], (1,) * 70]), shape, 0.05),
        strides,
        _rarely(rng, lambda: _one_of(rng, _SIZES), 0),
        _rarely(rng, lambda: _one_of(rng, _FUNCTIONS), "_rebuild_tensor_v2", 0.1),
        _rarely(rng, lambda: [_one_of(rng, [name("torch", _one_of(rng, _TYPES)), {"neg": True}, 1])], (), 0.05),
    )
    return _rarely(rng, lambda: call("torch._utils", "_rebuild_parameter", made, True, {}), made)


def _around(rng: np.random.Generator, content: Any) -> Any:
    """Puts a state_dict into what it may be in, in itself among others."""
    memo = b"}q\x00" + encode("state_dict")
    return _one_of(rng, [
        content, content, content, {"state_dict": content}, {"model": {"state_dict": content}, "epoch": 1},
        {"state_dict": content, "args": call("argparse", "Namespace"), "hub": call("mine", "Hub", 1) + b"}b"},
        {"meta": b"K\x01" + b"2\x86" * 60, "state_dict": content}, memo + b"h\x00s", memo + b"]q\x01h\x01as",
        {"meta": b"]" * 5000 + b"a" * 4999, **content}, {"meta": b")" + b"\x85" * 5000, **content}, [content],
        call("mine", "Network", content), call("collections", "OrderedDict") + encode("a") + encode(content) + b"s",
        {b"N": 1, b"K\x01": content, b")": 2}, {"state_dict": "text", "model": name("os", "system"), **content},
    ])  # fmt: skip


def impossible_file(rng: np.random.Generator) -> bytes:
    """A file with some tensors, of which about half are as PyTorch would write them."""
    kind = _one_of(rng, list(ITEM_BYTES)[:6])
    keys = [str(index) for index in range(rng.integers(1, 4))]
    numbers = {key: rng.integers(0, 60, _COUNT * ITEM_BYTES[kind], np.uint8).tobytes() for key in keys}
    if kind == "BoolStorage":
        numbers = {key: bytes(byte % 2 for byte in content) for key, content in numbers.items()}
    if rng.random() < 0.1:
        numbers[keys[0]] = numbers[keys[0]][: rng.integers(8)]
    content = pickled(_around(rng, {f"layer.{key}": _tensor(rng, kind, key) for key in keys}))
    if rng.random() < 0.4:
        header = _rarely(rng, lambda: (MAGIC_NUMBER, _one_of(rng, _SIZES), {}), (MAGIC_NUMBER, 1001, {}), 0.1)
        return legacy_bytes(content, numbers, ITEM_BYTES[kind], header)
    order = _one_of(rng, [b"little"] * 5 + [b"big"] * 4 + [b"none"])
    members = {"w/version": b"3\n", "w/byteorder": order}
    members |= _rarely(rng, lambda: {_one_of(rng, ["v/data.pkl", "w/constants.pkl", "data.pkl"]): content}, {}, 0.1)
    members |= _rarely(rng, lambda: {"w/data/9": bytes(1 << 20)}, {}, 0.05)
    packing = _one_of(rng, [zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED] * 2 + [zipfile.ZIP_BZIP2])
    return zip_bytes(content, numbers, members, packing)
