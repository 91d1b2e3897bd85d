"""Builds arrays from the tensors in a pickle of PyTorch, see `inert_pickle` and `pytorch_file`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.convert.inert_values import Made, Name, shown
from tools.convert.pytorch_file import PyTorchFile, Storage
from tools.errors import PickleError

# Numbers that NumPy does not have: the upper half of a float32.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])

# NumPy has at most 64 axes; weights of convolutions have 4.
_MOST_AXES = 32
_REBUILD = "_rebuild_"
# Functions of torch._utils and torch._tensor whose first argument is a tensor, and the rest does not change it.
_WRAPPERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
_TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
# Classes of tensors with attributes of their own that hold numbers as plain ones do.
_PLAIN_CLASSES = (
    Name("torch", "Tensor"), Name("torch._tensor", "Tensor"), Name("torch.nn.parameter", "Parameter"),
    Name("torch.nn.parameter", "Buffer"),
)  # fmt: skip

# dtype by the class of the storage, and of the tensors that give it themselves.
_STORAGE_TYPES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"), "DoubleStorage": np.dtype("<f8"), "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": BFLOAT16, "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("i1"), "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"), "ComplexFloatStorage": np.dtype("<c8"), "ComplexDoubleStorage": np.dtype("<c16"),
}  # fmt: skip
_TYPES: dict[str, np.dtype] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4"), "uint64": np.dtype("<u8")}


def is_tensor(value: Any) -> bool:
    """Whether a value of a pickle is a tensor of any kind, also of one that cannot be read."""
    made_by = value.by if isinstance(value, Made) else None
    return isinstance(made_by, Name) and made_by.is_of("torch") and made_by.name.startswith(_REBUILD)


def tensor_array(file: PyTorchFile, value: Made) -> np.ndarray:
    """Returns the numbers of a tensor, without a copy: an expanded one is large only once it is copied.

    Args:
        file: with the storages.
        value: see `is_tensor`.

    Returns:
        Array of the tensor's dtype, or of `BFLOAT16`, in the byte order of the file.

    Raises:
        PickleError: it is sparse, quantized, nested, without numbers or of a class of its own; or it claims numbers
            outside of its storage.
    """
    function, arguments = _unwrapped(value)
    if len(arguments) < 4:
        raise PickleError("is damaged: it lacks storage or shape")
    storage = Storage(arguments[0])
    dtype = _dtype(function, arguments, storage)
    if any(arguments[6 if function == "_rebuild_tensor_v2" else 7 :]):
        raise PickleError("is conjugated or negated: save tensor.resolve_conj().resolve_neg()")
    offset, shape, strides = arguments[1:4]
    if not _are_sizes(shape) or not _are_sizes(strides) or len(shape) != len(strides) or not _are_sizes((offset,)):
        raise PickleError(f"is damaged: its shape and strides are not numbers, one for each of up to {_MOST_AXES} axes")
    numbers = _numbers(file, storage, dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= len(numbers):
        raise PickleError(f"claims number {last} of a storage of {len(numbers)}")
    try:
        return _view(numbers[offset:], shape, strides)
    except (ValueError, OverflowError) as error:  # expanded or empty
        raise PickleError("is damaged: its shape is larger than an array can be") from error


def _unwrapped(value: Made) -> tuple[str, tuple]:
    """Returns the function that builds the tensor itself, and its arguments."""
    function, arguments = value.by.name, value.arguments
    for _ in range(2):  # a parameter with attributes holds a tensor with attributes
        if function in _WRAPPERS and arguments and is_tensor(arguments[0]):
            function, arguments = arguments[0].by.name, arguments[0].arguments
        elif function == "_rebuild_from_type_v2" and _is_plain(arguments):
            function, arguments = arguments[0].name, arguments[2]
    if function not in _TENSORS:
        raise PickleError(f"is made by PyTorch's {shown(function)}, expected a dense tensor of numbers: save "
                          "tensor.to_dense(), tensor.dequantize() or another plain tensor")  # fmt: skip
    return function, arguments


def _is_plain(arguments: tuple) -> bool:
    """Whether the arguments of `_rebuild_from_type_v2` are a function, a class like `Tensor`, and arguments."""
    return (
        len(arguments) > 2
        and isinstance(arguments[0], Name)
        and isinstance(arguments[1], Name)
        and arguments[1] in _PLAIN_CLASSES
        and isinstance(arguments[2], tuple)
    )


def _dtype(function: str, arguments: tuple, storage: Storage) -> np.dtype:
    name: str = storage.kind
    dtype = _STORAGE_TYPES.get(name)
    if function == "_rebuild_tensor_v3":
        given = arguments[6] if len(arguments) > 6 else None
        name = given.name if isinstance(given, Name) else "an unknown class"
        dtype = _TYPES.get(name)
    if dtype is None:
        raise PickleError(f"is of the type {Name('torch', name)}, expected numbers: save tensor.float()")
    return dtype


def _are_sizes(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= _MOST_AXES
        and all(type(value) is int and value >= 0 for value in values)
    )


def _numbers(file: PyTorchFile, storage: Storage, dtype: np.dtype) -> np.ndarray:
    """Returns the part of a storage that a tensor sees, with 1 axis."""
    first, last = storage.start * storage.item_bytes, (storage.start + storage.seen) * storage.item_bytes
    raw = memoryview(file.read_storage(storage))[first:last]
    if len(raw) % dtype.itemsize:
        raise PickleError(f"has a storage of {len(raw)} bytes, expected numbers of {dtype.itemsize} bytes")
    return np.frombuffer(raw, dtype if file.byte_order == "<" else dtype.newbyteorder(">"))


def _view(numbers: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    if 0 in shape:
        return np.zeros(shape, numbers.dtype)
    # An axis of size 1 may have any stride, also one that is too large for an address.
    steps = [stride * numbers.itemsize if size > 1 else 0 for size, stride in zip(shape, strides, strict=True)]
    return np.lib.stride_tricks.as_strided(numbers, shape, steps, writeable=False)
