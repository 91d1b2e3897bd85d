"""Reads dictionaries of arrays from .npy files without executing code from the file.

NumPy stores a dictionary as a pickle, and a pickle may call any function of any module. Here it can only call
stand-ins, which build arrays of numbers from bytes.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.lib import format as npy_format

from database.regular_files import regular_file
from tools.errors import NpyDictionaryError

_NUMBER_TYPE = re.compile(r"[fiu][1248]|b1")
_OBJECT_TYPE = re.compile(r"O\d*")
_BYTE_ORDERS = "<>=|"
_MEMO_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")


def read_npy_dictionary(path: str) -> dict[str, Any]:
    """Reads a dictionary that `numpy.save` wrote under Python 2 or 3.

    Args:
        path: of the file.

    Returns:
        The dictionary: keys are strings; values are arrays of numbers, dictionaries, lists, strings and numbers.

    Raises:
        NpyDictionaryError: the file is not a .npy file, is damaged, or contains anything but such a dictionary.
        OSError: the file cannot be opened.
    """
    with open(path, "rb", opener=regular_file) as file:
        try:
            _skip_header(file)
            _check_memo(file)
            content = _plain(_RestrictedUnpickler(file, encoding="latin1").load())
        except NpyDictionaryError as error:
            raise NpyDictionaryError(f"{path}: {_in_one_line(error)}") from error
        except Exception as error:  # a damaged or malicious pickle may raise any exception
            raise NpyDictionaryError(f"{path}: not a .npy file that can be read ({_in_one_line(error)})") from error
    if not isinstance(content, dict):
        raise NpyDictionaryError(f"{path}: holds {_kind(content)}, expected a dictionary of arrays")
    return content


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _skip_header(file: BinaryIO) -> None:
    """Reads the header, up to the pickle."""
    version = npy_format.read_magic(file)
    read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}.get(version)
    if read_header is None:
        raise NpyDictionaryError(f"found .npy format {version}, expected 1.0 or 2.0")
    _, _, dtype = read_header(file)
    if dtype != np.dtype(object):
        raise NpyDictionaryError(f"holds an array of {dtype}, expected a dictionary of arrays")


def _check_memo(file: BinaryIO) -> None:
    """Checks the memo indices of the pickle and rewinds: pickle would allocate a table as long as a damaged one."""
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name in _MEMO_OPCODES and (argument or 0) > count:
            raise NpyDictionaryError(f"the pickle is damaged, as its part {count} has the number {argument}")
    file.seek(start)


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        stand_in = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None:
            raise NpyDictionaryError(f"asks for {module}.{name}, but only arrays, dictionaries, lists, strings and "
                                     "numbers are read")  # fmt: skip
        return stand_in


class _StandIn:
    """A function that a pickle may call; it rejects a state."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *arguments: Any) -> Any:
        return self._build(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        raise NpyDictionaryError("gives a function a state")


class _Type:
    """A dtype of numbers, or of objects for the array that contains the dictionary."""

    __slots__ = ("_byte_order", "is_object", "name")

    def __init__(self, name: str, *flags: Any) -> None:
        if not isinstance(name, str) or not (_NUMBER_TYPE.fullmatch(name) or _OBJECT_TYPE.fullmatch(name)):
            raise NpyDictionaryError(f"holds an array of type {name!r}, expected numbers")
        self.name = name
        self.is_object = _OBJECT_TYPE.fullmatch(name) is not None
        self._byte_order = "="

    def __setstate__(self, state: Any) -> None:
        _, byte_order, *_ = state
        if byte_order not in tuple(_BYTE_ORDERS):
            raise NpyDictionaryError(f"holds an array of byte order {byte_order!r}")
        self._byte_order = byte_order

    def array(self, data: Any) -> np.ndarray:
        """Decodes the numbers in bytes."""
        if self.is_object:
            raise NpyDictionaryError("holds objects in the place of numbers")
        raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 writes a string
        return np.frombuffer(raw, np.dtype(self._byte_order + self.name))


class _Array:
    """An array that is filled by the state after it in the pickle."""

    __slots__ = ("value",)

    def __init__(self, *arguments: Any) -> None:
        self.value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        if dtype.is_object:
            self.value = data[0] if shape == () and len(data) == 1 else list(data)
        else:
            self.value = dtype.array(data).reshape(shape, order="F" if is_fortran else "C")


def _scalar(dtype: _Type, data: Any) -> Any:
    return dtype.array(data)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    """Returns bytes, as Python 3 writes them with pickle protocols before 3."""
    if not isinstance(text, str) or encoding != "latin1":
        raise NpyDictionaryError(f"encodes {_kind(text)} as {encoding!r}")
    return text.encode("latin1")


def _new_dictionary() -> dict:
    return {}


_STAND_INS = {
    ("numpy", "ndarray"): _StandIn(_Array),
    ("numpy", "dtype"): _StandIn(_Type),
    ("numpy.core.multiarray", "_reconstruct"): _StandIn(_Array),
    ("numpy.core.multiarray", "scalar"): _StandIn(_scalar),
    ("_codecs", "encode"): _StandIn(_encode),
    ("collections", "OrderedDict"): _StandIn(_new_dictionary),
}


def _plain(value: Any) -> Any:
    """Replaces the stand-ins in the unpickled values by their arrays."""
    if isinstance(value, _Array):
        return value.value if isinstance(value.value, np.ndarray) else _plain(value.value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise NpyDictionaryError("holds a dictionary whose keys are not strings")
        return {key: _plain(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, (str, int, float)):
        return value
    raise NpyDictionaryError(f"holds {_kind(value)}, expected arrays, dictionaries, lists, strings and numbers")


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
