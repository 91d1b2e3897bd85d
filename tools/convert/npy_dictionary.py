"""Reads dictionaries of arrays from .npy files without executing code from the file.

NumPy stores a dictionary as a pickle, and a pickle may call any function of any module. Here nothing is called, see
`inert_pickle`; arrays of numbers are built from their bytes.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from database.errors import in_one_line
from database.regular_files import regular_file
from tools.convert.inert_pickle import load_pickle
from tools.convert.inert_values import Items, Made, Name
from tools.convert.numpy_values import (
    LARGEST_INTEGER,
    decode_array,
    decode_bytes,
    decode_scalar,
    decode_type,
    is_array,
    is_encoded,
    is_scalar,
    kind_of_value,
    of_numpy,
)
from tools.errors import NpyDictionaryError, PickleError

# Real dictionaries nest two or three levels.
_LONGEST_FAULT = 200  # characters of an error in a message
_DEEPEST = 100

_NAMES = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("_codecs", "encode"),
        ("__builtin__", "bytes"),  # empty ones
        ("builtins", "bytes"),
        ("collections", "OrderedDict"),
    }
)


def read_npy_dictionary(path: str) -> dict[str, Any]:
    """Reads a dictionary that `numpy.save` wrote under Python 2 or 3.

    Args:
        path: of the file.

    Returns:
        The dictionary: keys are strings; values are arrays of numbers, dictionaries, lists, strings and numbers.

    Raises:
        NpyDictionaryError: the file is not a .npy file, is damaged, contains anything but such a dictionary, or
            repeats lists more often than real files do.
        OSError: the file cannot be opened.
    """
    with open(path, "rb", opener=regular_file) as file:
        try:
            _skip_header(file)
            pickled = load_pickle(file, os.fstat(file.fileno()).st_size, _check_name)
            content = _Values(pickled.most_values).plain(pickled.value, 0)
        except (NpyDictionaryError, PickleError) as error:
            raise NpyDictionaryError(f"{path}: {in_one_line(error)[:_LONGEST_FAULT]}") from error
        except Exception as error:  # NumPy does not wrap the errors of a damaged header
            raise NpyDictionaryError(
                f"{path}: not a .npy file that can be read ({in_one_line(error)[:_LONGEST_FAULT]})"
            ) from error
    if not isinstance(content, dict):
        raise NpyDictionaryError(f"{path}: holds {kind_of_value(content)}, expected a dictionary of arrays")
    return content


def _skip_header(file: BinaryIO) -> None:
    """Reads the header, up to the pickle."""
    version = npy_format.read_magic(file)
    read_header = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}.get(version)
    if read_header is None:
        raise NpyDictionaryError(f"found .npy format {version}, expected 1.0 or 2.0")
    _, _, dtype = read_header(file)
    if dtype != np.dtype(object):
        raise NpyDictionaryError(f"holds an array of {dtype}, expected a dictionary of arrays")


def _check_name(module: str, name: str) -> None:
    if (module.replace("numpy._core", "numpy.core"), name) not in _NAMES:
        raise NpyDictionaryError(f"asks for {Name(module, name)}, but only arrays, dictionaries, lists, strings and "
                                 "numbers are read")  # fmt: skip


class _Values:
    """Replaces the inert values by arrays and numbers, and counts them."""

    def __init__(self, most_values: int) -> None:
        self._left = self._most_values = most_values

    def plain(self, value: Any, depth: int) -> Any:
        """Replaces a value and those in it."""
        self._left -= 1
        if self._left < 0:
            raise NpyDictionaryError(f"repeats lists, more than {self._most_values} values in all, expected arrays")
        if depth > _DEEPEST:
            raise NpyDictionaryError(f"is nested more than {_DEEPEST} levels deep, expected a dictionary of arrays")
        if isinstance(value, Items):
            if value.has_other_keys:
                raise NpyDictionaryError("holds a dictionary whose keys are not strings")
            return {key: self.plain(element, depth + 1) for key, element in value.items()}
        if isinstance(value, list):
            return [self.plain(element, depth + 1) for element in value]
        if isinstance(value, Made):
            return self._decoded(value, depth)
        if isinstance(value, (str, float)) or isinstance(value, int) and abs(value) < LARGEST_INTEGER:
            return value
        raise NpyDictionaryError(
            f"holds {kind_of_value(value)}, expected arrays, dictionaries, lists, strings and numbers"
        )

    def _decoded(self, value: Made, depth: int) -> Any:
        if is_array(value):
            elements = decode_array(value)
            if not isinstance(elements, list):
                return elements
            is_single = value.state[1] == () and len(elements) == 1
            return self.plain(elements[0] if is_single else elements, depth + 1)
        if is_scalar(value):
            return decode_scalar(value)
        found: Any = value
        if is_encoded(value):
            found = decode_bytes(value)
        elif of_numpy(value, "dtype"):
            decode_type(value)
        raise NpyDictionaryError(
            f"holds {kind_of_value(found)}, expected arrays, dictionaries, lists, strings and numbers"
        )
