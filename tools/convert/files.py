"""Reads weight files of other projects as flat dictionaries of arrays: PyTorch's .pth, .safetensors, .npy dictionaries.

PyTorch and safetensors are the extra `convert`. Only this module imports them, inside the functions that need them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tools.checkpoints.file_kinds import kind_of
from tools.convert.npy_dictionary import read_npy_dictionary
from tools.errors import NpyDictionaryError, WeightFileError

logger = logging.getLogger(__name__)

# Keys of weights that were averaged during training.
_AVERAGED_KEYS = ("state_dict_ema", "model_ema")
# Keys under which training checkpoints store the network's tensors.
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "net", *_AVERAGED_KEYS)
_DATA_PARALLEL_PREFIX = "module."

Weights = dict[str, np.ndarray]


def read_weights(path: str) -> Weights:
    """Reads a weight file.

    Args:
        path: a file of PyTorch, safetensors or NumPy, detected from its first bytes; if they are ambiguous, its name
            must end in .pth, .pt, .bin, .safetensors or .npy.

    Returns:
        Arrays by name, floating point as float32. Names in nested dictionaries are joined by `/`; the prefix `module.`,
        which DataParallel adds to all names, is removed.

    Raises:
        WeightFileError: the file does not exist, is of another kind, is damaged, contains no tensors or objects other
            than tensors, or the package that reads it is not installed.
    """
    kind = kind_of(path)
    if kind is not None and kind.reader is None:
        raise WeightFileError(kind.refusal(path, f"a file that ends in {', '.join(_READERS)}"))
    ending = os.path.splitext(path)[1].lower() if kind is None else str(kind.reader)
    if ending not in _READERS:
        raise WeightFileError(f"{path}: expected a file that ends in {', '.join(_READERS)}")
    if not os.path.isfile(path):
        raise WeightFileError(f"{path}: the file does not exist")
    weights = {name: _as_float32(array) for name, array in _READERS[ending](path).items()}
    if not weights:
        raise WeightFileError(f"{path}: found no tensors, expected tensors by name")
    if all(name.startswith(_DATA_PARALLEL_PREFIX) for name in weights):
        weights = {name.removeprefix(_DATA_PARALLEL_PREFIX): array for name, array in weights.items()}
    return weights


def _as_float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _read_pytorch(path: str) -> Weights:
    try:
        import torch
    except ImportError as error:
        raise _missing_package(path, error) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch does not wrap the errors of its unpickler and of the archive
        raise WeightFileError(
            f"{path}: PyTorch cannot read it with weights_only=True ({_first_line(error)}): save only the state_dict"
        ) from error
    while isinstance(content, Mapping):
        found = [key for key in _STATE_DICT_KEYS if isinstance(content.get(key), Mapping)]
        if not found:
            break
        if found[-1] in _AVERAGED_KEYS:
            logger.info("%s: reading '%s' of %s", path, found[0], ", ".join(found))
        content = content[found[0]]
    if not isinstance(content, Mapping):
        raise WeightFileError(f"{path}: found a {type(content).__name__}, expected a state_dict")
    return _arrays({str(name): tensor for name, tensor in content.items() if isinstance(tensor, torch.Tensor)})


def _arrays(tensors: Mapping[str, Any]) -> Weights:
    """Converts PyTorch tensors to NumPy arrays; floating point to float32, because NumPy has no bfloat16."""
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        for name, tensor in tensors.items()
    }


def _read_safetensors(path: str) -> Weights:
    # Through PyTorch, because NumPy has no bfloat16.
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise _missing_package(path, error) from error
    try:
        return _arrays(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightFileError(f"{path}: not a .safetensors file that can be read ({_first_line(error)})") from error


def _read_npy(path: str) -> Weights:
    try:
        content = read_npy_dictionary(path)
    except (NpyDictionaryError, OSError) as error:
        raise WeightFileError(str(error)) from error
    return dict(_flattened(content))


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
}


def _missing_package(path: str, error: ImportError) -> WeightFileError:
    package = error.name or _first_line(error)
    return WeightFileError(f"{path}: the package {package} is needed to read it: install the extra `convert`")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
