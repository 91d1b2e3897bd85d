"""Reads weights of other projects as flat dictionaries of arrays.

They are in PyTorch's .pth files, .safetensors, .npy dictionaries, Keras's .h5 files and TensorFlow checkpoints.

The package safetensors is in the extra `convert`. Only this module imports it, inside the function that needs it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from database.regular_files import regular_file
from tools.checkpoints.file_kinds import CHECKPOINT, kind_of
from tools.convert.hdf5_file import read_hdf5
from tools.convert.inert_values import Items, Made, shown
from tools.convert.npy_dictionary import read_npy_dictionary
from tools.convert.numpy_values import decode_array, is_array, kind_of_value
from tools.convert.plain_values import plain_items
from tools.convert.pytorch_file import PyTorchFile, open_pytorch_file
from tools.convert.pytorch_tensors import BFLOAT16, is_tensor, tensor_array
from tools.convert.tensorflow_checkpoint import is_checkpoint, read_checkpoint
from tools.errors import NpyDictionaryError, PickleError, WeightFileError

logger = logging.getLogger(__name__)

# Keys of weights that were averaged during training.
_AVERAGED_KEYS = ("state_dict_ema", "model_ema")
# Keys under which training checkpoints store the network's tensors.
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "net", *_AVERAGED_KEYS)
_DATA_PARALLEL_PREFIX = "module."

# State_dicts in one another, as in {"model": {"state_dict": ...}}.
_DEEPEST_STATE_DICT = 8
# A network has up to some thousand tensors, with names of up to some hundred characters.
_MOST_TENSORS = 100_000
_LONGEST_NAME = 500
# Of the arrays, by the size of the file: half precision doubles, tensors that share a storage are in it once, and what
# is compressed or expanded (stride 0) is small in the file.
_MOST_EXPANSION = 16
_SMALLEST_LIMIT = 1 << 20

_STRIP = (
    "if you trust the file, load it in its own project and save only the tensors: "
    "torch.save(network.state_dict(), 'weights.pth')"
)
# dtype by safetensors' name.
_SAFETENSORS_TYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": BFLOAT16, "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip

Weights = dict[str, np.ndarray]


def read_weights(path: str) -> Weights:
    """Reads a weight file.

    Args:
        path: a file of PyTorch, safetensors, NumPy or Keras, detected from its first bytes; if they are ambiguous, its
            name must end in .pth, .pt, .bin, .safetensors, .npy or .h5. Or a TensorFlow checkpoint: its prefix, one of
            its files or its folder.

    Returns:
        Arrays by name, floating point as float32. Names in nested dictionaries are joined by `/`; the prefix `module.`,
        which DataParallel adds to all names, is removed.

    Raises:
        WeightFileError: the file does not exist, is of another kind, is damaged, contains no tensors or tensors that
            are not dense numbers, or the package that reads it is not installed; or it is small and its arrays large.
    """
    ending = _ending(path)
    arrays = _READERS[ending](path)
    if not arrays:
        raise WeightFileError(f"{path}: found no tensors, expected tensors by name")
    _check_name(path, max(arrays, key=len), len(arrays))
    if ending != CHECKPOINT.reader:  # the index of a checkpoint was compared with its data
        _check_sizes(path, arrays)
    weights = {name: _converted(array) for name, array in arrays.items()}
    if all(name.startswith(_DATA_PARALLEL_PREFIX) for name in weights):
        weights = {name.removeprefix(_DATA_PARALLEL_PREFIX): array for name, array in weights.items()}
    return weights


def read_meta(path: str) -> Mapping[str, Any]:
    """Reads what a training checkpoint of PyTorch holds beside its tensors.

    Args:
        path: see `read_weights`.

    Returns:
        Text, numbers, booleans, lists and dictionaries by key, such as mmsegmentation's `meta`; see `plain_items`.
        Everything else, tensors included, is left out. Empty for files of other kinds.

    Raises:
        WeightFileError: see `read_weights`.
    """
    if _READERS[_ending(path)] is not _read_pytorch:
        return {}
    with open_pytorch_file(path) as file:
        items = _items(file.pickled.value)
        return {} if items is None else plain_items(items, file.pickled.most_values)


def _ending(path: str) -> str:
    """Returns the ending of the files that are read like this one."""
    kind = kind_of(path)
    if is_checkpoint(path) and kind in (None, CHECKPOINT):
        return str(CHECKPOINT.reader)
    if kind is not None and kind.reader is None:
        raise WeightFileError(kind.refusal(path, f"a file that ends in {', '.join(_READERS)}"))
    ending = os.path.splitext(path)[1].lower() if kind is None else str(kind.reader)
    if ending not in _READERS:
        raise WeightFileError(f"{path}: expected a file that ends in {', '.join(_READERS)}")
    if not os.path.isfile(path):
        raise WeightFileError(f"{path}: the file does not exist")
    return ending


def _check_sizes(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Rejects arrays that would not fit into memory, before they are copied."""
    total = sum(array.size * max(4, array.itemsize) for array in arrays.values())
    limit = _most_bytes(path)
    if total > limit:
        largest = max(arrays, key=lambda name: arrays[name].size)
        raise WeightFileError(
            f"{path}: its tensors have {total} bytes, more than {limit} can be in a file of its size; the largest is "
            f"'{shown(largest)}' of shape {list(arrays[largest].shape)[:8]}: save contiguous copies (tensor.clone())"
        )


def _most_bytes(path: str) -> int:
    return max(_SMALLEST_LIMIT, _MOST_EXPANSION * os.path.getsize(path))


def _check_name(path: str, name: str, count: int) -> None:
    if count > _MOST_TENSORS:
        raise WeightFileError(f"{path}: holds more than {_MOST_TENSORS} tensors, expected those of one network")
    if len(name) > _LONGEST_NAME:
        raise WeightFileError(
            f"{path}: the name '{shown(name)}' has {len(name)} characters, expected at most {_LONGEST_NAME}"
        )


def _converted(array: np.ndarray) -> np.ndarray:
    """Returns floating point as float32, all others as they are, in the byte order of this machine."""
    if array.dtype.names == BFLOAT16.names:  # the upper half of a float32
        return (array["bfloat16"].astype(np.uint32) << 16).view(np.float32)
    dtype = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # too large for float32 are infinite, and rejected as such
        return array.astype(dtype, copy=False)


def _read_pytorch(path: str) -> Weights:
    with open_pytorch_file(path) as file:
        tensors = _state_dict(path, file.pickled.value)
        return {name: _tensor(path, name, file, tensor) for name, tensor in tensors.items()}


def _items(value: Any) -> Items | None:
    """Returns the entries of a dictionary or of an object of a class of dictionaries; None for others."""
    return value.items if isinstance(value, Made) else value if isinstance(value, Items) else None


def _state_dict(path: str, content: Any) -> dict[str, Made]:
    """Finds the tensors of the network in what torch.save saved; arrays of NumPy count as tensors."""
    for _ in range(_DEEPEST_STATE_DICT):
        entries = _items(content)
        found = [key for key in _STATE_DICT_KEYS if entries is not None and _items(entries.get(key)) is not None]
        if entries is None or not found:
            break
        if found[-1] in _AVERAGED_KEYS:
            logger.info("%s: reading '%s' of %s", path, found[0], ", ".join(found))
        content = entries[found[0]]
    else:
        raise WeightFileError(f"{path}: '{found[0]}' is nested more than {_DEEPEST_STATE_DICT} levels deep or contains "
                              "itself, expected a state_dict")  # fmt: skip
    if entries is None:
        kind = "a Tensor" if is_tensor(content) else kind_of_value(content)
        raise WeightFileError(f"{path}: found {kind}, expected a state_dict: {_STRIP}")
    collected = _Tensors(path)
    collected.add(entries)
    tensors = collected.found
    others = [key for key, value in entries.items() if isinstance(value, Made) and not is_tensor(value)]
    if others and not tensors:
        key = next((key for key in _STATE_DICT_KEYS if key in others), others[0])
        raise WeightFileError(
            f"{path}: '{shown(key)}' is {kind_of_value(entries[key])}, expected a state_dict: {_STRIP}"
        )
    return tensors


class _Tensors:
    """Collects tensors, also those in dictionaries and lists in a state_dict: they may belong to layers."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: set[int] = set()
        self.found: dict[str, Made] = {}

    def add(self, value: Any, name: str = "", depth: int = 0) -> None:
        """Adds the tensors in a value; names in nested dictionaries are joined by `/`."""
        inner = value if isinstance(value, (list, tuple)) else _items(value)
        if is_tensor(value) or is_array(value):
            self.found[name] = value
            _check_name(self._path, name, len(self.found))
        elif inner is not None and id(inner) not in self._seen and depth <= _DEEPEST_STATE_DICT:
            self._seen.add(id(inner))  # lists may contain each other, and themselves
            for key, element in inner.items() if isinstance(inner, Items) else enumerate(inner):
                self.add(element, f"{name}/{key}" if name else str(key), depth + 1)


def _tensor(path: str, name: str, file: PyTorchFile, tensor: Made) -> np.ndarray:
    try:
        return tensor_array(file, tensor) if is_tensor(tensor) else _numbers(decode_array(tensor))
    except PickleError as error:
        raise WeightFileError(f"{path}: the tensor '{shown(name)}' {error}") from error


def _numbers(array: np.ndarray | list) -> np.ndarray:
    if isinstance(array, list):
        raise PickleError("is an array of objects, expected numbers")
    return array


def _read_safetensors(path: str) -> Weights:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise _missing_package(path, error) from error
    try:
        with open(path, "rb", opener=regular_file) as file:
            tensors = deserialize(file.read())
        return {name: _of_safetensors(path, name, tensor) for name, tensor in tensors}
    except (SafetensorError, OSError, OverflowError) as error:
        raise WeightFileError(f"{path}: not a .safetensors file that can be read ({_first_line(error)})") from error


def _of_safetensors(path: str, name: str, tensor: Mapping[str, Any]) -> np.ndarray:
    dtype: Any = _SAFETENSORS_TYPES.get(tensor["dtype"])
    if dtype is None:
        raise WeightFileError(
            f"{path}: the tensor '{shown(name)}' is of the type {shown(tensor['dtype'])}, expected one of "
            f"{', '.join(_SAFETENSORS_TYPES)}"
        )
    try:
        return np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    except ValueError as error:  # of an empty tensor, whose other axes may be of any size
        raise WeightFileError(f"{path}: not a .safetensors file that can be read ({_first_line(error)})") from error


def _read_npy(path: str) -> Weights:
    try:
        content = read_npy_dictionary(path)
    except (NpyDictionaryError, OSError) as error:
        raise WeightFileError(str(error)) from error
    weights: Weights = {}
    for name, array in _flattened(content):
        weights[name] = array
        _check_name(path, name, len(weights))
    return weights


def _flattened(content: Mapping[str, Any] | list, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yields every array with its path; strings, which are not weights, are skipped."""
    items = content.items() if isinstance(content, Mapping) else enumerate(content)
    for key, value in items:
        if isinstance(value, (Mapping, list)):
            yield from _flattened(value, f"{prefix}{key}/")
        elif not isinstance(value, str):
            yield f"{prefix}{key}", np.asarray(value)


_READERS: dict[str, Callable[[str], Weights]] = {
    ".pth": _read_pytorch,
    ".pt": _read_pytorch,
    ".bin": _read_pytorch,
    ".safetensors": _read_safetensors,
    ".npy": _read_npy,
    ".h5": lambda path: read_hdf5(path, _most_bytes(path)),
    str(CHECKPOINT.reader): read_checkpoint,
}


def _missing_package(path: str, error: ImportError) -> WeightFileError:
    package = error.name or _first_line(error)
    return WeightFileError(f"{path}: the package {package} is needed to read it: install the extra `convert`")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return shown(lines[0]) if lines else type(error).__name__
