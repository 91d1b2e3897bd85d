"""Decodes the arrays and numbers that NumPy wrote into a pickle, from the values of `inert_pickle`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tools.convert.inert_values import Made, Name, Persistent, shown
from tools.errors import PickleError

_NUMBER_TYPE = re.compile(r"[fiu][1248]|b1")
_OBJECT_TYPE = re.compile(r"O\d*")
_BYTE_ORDERS = ("<", ">", "=", "|")
_OBJECTS = np.dtype(object)
LARGEST_INTEGER = 1 << 64


def of_numpy(value: Any, *names: str) -> bool:
    """Whether a value is made by one of NumPy's functions, such as `dtype` and `core.multiarray.scalar`."""
    made_by = value.by if isinstance(value, Made) else None
    if not isinstance(made_by, Name):
        return False
    module = made_by.module.replace("numpy._core", "numpy.core")
    return f"{module}.{made_by.name}" in [f"numpy.{name}" for name in names]


def is_array(value: Any) -> bool:
    """Whether a value is an array of NumPy."""
    return of_numpy(value, "ndarray", "core.multiarray._reconstruct")


def is_scalar(value: Any) -> bool:
    """Whether a value is a number of NumPy."""
    return of_numpy(value, "core.multiarray.scalar")


def is_encoded(value: Any) -> bool:
    """Whether a value is bytes as Python 3 writes them with pickle protocols before 3."""
    return isinstance(value, Made) and value.by in (Name("_codecs", "encode"), *_BYTES)


def decode_bytes(value: Made) -> bytes:
    """Decodes what `is_encoded`.

    Raises:
        PickleError: it is not bytes.
    """
    if value.by in _BYTES:  # empty ones
        return b""
    text, encoding = value.arguments if len(value.arguments) == 2 else (None, None)
    if not isinstance(text, str) or encoding != "latin1":
        raise PickleError(f"encodes {kind_of_value(text)} as {shown(str(encoding))!r}")
    return text.encode("latin1")


_BYTES = (Name("builtins", "bytes"), Name("__builtin__", "bytes"))


def decode_type(value: Any) -> np.dtype:
    """Decodes a dtype of numbers, or of objects.

    Raises:
        PickleError: it is another dtype, or none.
    """
    name = value.arguments[0] if of_numpy(value, "dtype") and value.arguments else None
    if not isinstance(name, str) or not (_NUMBER_TYPE.fullmatch(name) or _OBJECT_TYPE.fullmatch(name)):
        found = name if isinstance(name, (str, int)) else kind_of_value(name)
        raise PickleError(f"holds an array of type {shown(repr(found))}, expected numbers")
    if _OBJECT_TYPE.fullmatch(name):
        return _OBJECTS
    state = value.state if isinstance(value.state, tuple) else ()
    byte_order = state[1] if len(state) > 1 else "="
    if byte_order not in _BYTE_ORDERS:
        raise PickleError(f"holds an array of byte order {shown(repr(byte_order))}")
    return np.dtype(byte_order + name)


def decode_array(value: Made) -> np.ndarray | list:
    """Decodes an array of numbers; or returns the elements of an array of objects.

    Raises:
        PickleError: it is an array of something else, or its numbers do not have its shape.
    """
    if not isinstance(value.state, tuple) or len(value.state) != 5:
        raise PickleError("holds an array without numbers")
    _, shape, dtype_value, is_fortran, data = value.state
    dtype = decode_type(dtype_value)
    if not isinstance(shape, tuple) or not all(type(size) is int for size in shape):
        raise PickleError("holds an array without a shape")
    if dtype == _OBJECTS:
        if not isinstance(data, list):
            raise PickleError("holds bytes in the place of objects")
        return data
    try:
        return _numbers(data, dtype).reshape(shape, order="F" if is_fortran is True else "C")
    except ValueError as error:
        raise PickleError(f"holds an array that is damaged ({shown(str(error))})") from error


def decode_scalar(value: Made) -> Any:
    """Decodes a number of NumPy as one of Python.

    Raises:
        PickleError: it is no number.
    """
    if len(value.arguments) != 2:
        raise PickleError("holds a number without digits")
    dtype_value, data = value.arguments
    dtype = decode_type(dtype_value)
    if dtype == _OBJECTS:
        raise PickleError("holds objects in the place of numbers")
    numbers = _numbers(data, dtype)
    if len(numbers) != 1:
        raise PickleError(f"holds {len(numbers)} numbers in the place of one")
    return numbers[0].item()


def _numbers(data: Any, dtype: np.dtype) -> np.ndarray:
    if is_encoded(data):
        data = decode_bytes(data)
    raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 writes a string
    if not isinstance(raw, (bytes, bytearray)):
        raise PickleError(f"holds {kind_of_value(data)} in the place of numbers")
    if len(raw) % dtype.itemsize:
        raise PickleError(f"holds {len(raw)} bytes, expected numbers of {dtype.itemsize} bytes")
    return np.frombuffer(raw, dtype)


def kind_of_value(value: Any) -> str:
    """Returns the kind of a value of a pickle in words, with an article."""
    if isinstance(value, Made):
        return f"an object of the class {value.class_name}"
    if isinstance(value, Name):
        return f"the class or function {value}"
    if isinstance(value, Persistent):
        return "a reference to something outside of the pickle"
    if type(value) is int and abs(value) >= LARGEST_INTEGER:
        return "an integer of more than 64 bits"
    name = "dict" if isinstance(value, dict) else type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
