"""Reads tensors of a checkpoint and checks that a network can compute with them.

TensorFlow reads NaN without an error, and casts integers. Weights with NaN still give labels and scores: if all
classes are NaN, argmax returns class 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow.compat.v1 as tf

from model.utils_mg import BATCH_NORM_EPSILON
from tools.checkpoints.reading import damage_named, linked, variable_shapes
from tools.errors import CheckpointError

_VARIANCE = "moving_variance"
# The reference computes variances as E[x^2] - E[x]^2, which rounding makes slightly negative in a constant channel.
# Above this limit, variance + epsilon is at least 0.99 epsilon: the scale is finite and within 0.6 % of that for 0.
_ROUNDED_VARIANCE = -1e-2 * BATCH_NORM_EPSILON


class TensorReader:
    """Reads and checks tensors by name; created by `open_reader`.

    Attributes:
        shapes: of all tensors, by name.
    """

    def __init__(self, prefix: str, path: str, advice: str) -> None:
        """Opens the checkpoint at `path`; messages name `prefix`, and end with `advice` if values are unusable."""
        self.shapes = variable_shapes(prefix)  # first: it rejects files that are not checkpoints
        self._prefix = prefix
        self._path = path
        self._advice = advice
        with damage_named(prefix, path):
            self._reader = tf.train.NewCheckpointReader(path)
            try:
                self._dtypes = self._reader.get_variable_to_dtype_map()
            except TypeError as error:  # a type without name, in the format before TensorFlow 0.12
                raise CheckpointError(f"{prefix}: the checkpoint is damaged ({error})") from error

    def array(self, name: str) -> np.ndarray:
        """Reads a tensor of the checkpoint in its own dtype.

        Raises:
            CheckpointError: a value is not floating point, not finite in float32, or a variance below 0.
        """
        dtype = self._dtypes[name]
        if not dtype.is_floating:  # TensorFlow cannot read all other dtypes
            raise self._unusable(name, _of_dtype(dtype.name))
        with damage_named(self._prefix, self._path):
            array = np.asarray(self._reader.get_tensor(name))
        fault = fault_of_values(name, array)
        if fault is not None:
            raise self._unusable(name, fault)
        return array

    def _unusable(self, name: str, fault: str) -> CheckpointError:
        return CheckpointError(f"{self._prefix}: '{name}' {fault}: {self._advice}")


def fault_of_values(name: str, array: np.ndarray) -> str | None:
    """Returns what makes an array unusable as a variable of the network; None if it is usable.

    Usable values are floating point and finite in float32; variances are not negative.

    Args:
        name: of the variable; variances are recognized by their names.
        array: its values.
    """
    if not tf.as_dtype(array.dtype).is_floating:
        return _of_dtype(array.dtype.name)
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32, copy=False))
    if not finite.all():
        return f"has {_counted(array, ~finite)}, expected finite numbers"
    if name.endswith(_VARIANCE):
        negative = array < _ROUNDED_VARIANCE
        if negative.any():
            return f"has {_counted(array, negative)}, expected variances of 0 or more"
    return None


def _of_dtype(name: str) -> str:
    return f"is of dtype {name}, expected floating point"


def _counted(array: np.ndarray, bad: np.ndarray) -> str:
    """Returns in words how many values of an array are bad, and the first with its index."""
    place = tuple(int(index) for index in np.argwhere(bad)[0])
    count = np.count_nonzero(bad)
    values = "values" if count > 1 else "value"
    return f"{count} bad {values} of {array.size} (the first is {array[place]:g} at {list(place)})"


@contextmanager
def open_reader(prefix: str, advice: str, kind: type[TensorReader] = TensorReader) -> Iterator[TensorReader]:
    """Opens a checkpoint for a block.

    Args:
        prefix: of the checkpoint.
        advice: what to do about unusable values, for the message.
        kind: class of the reader.

    Raises:
        CheckpointError: it cannot be read or is damaged.
    """
    with linked(prefix) as path:
        yield kind(prefix, path, advice)


def require_usable(prefix: str, variables: Sequence[tf.Variable], advice: str) -> None:
    """Checks the values in a checkpoint for all variables of floating point.

    Args:
        prefix: of the checkpoint, which has all the variables.
        variables: their names are those of the tensors.
        advice: what to do, for the message.

    Raises:
        CheckpointError: the checkpoint cannot be read, or a tensor is unusable; see `TensorReader.array`.
    """
    with open_reader(prefix, advice) as reader:
        for variable in variables:
            if variable.dtype.base_dtype.is_floating:
                reader.array(variable.op.name)
