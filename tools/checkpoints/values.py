"""Reading tensors of a checkpoint that a network can compute with.

TensorFlow reads a NaN as any other number, and casts integers. Scores that follow from such weights look like scores:
the most probable of classes that are all NaN is class 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow.compat.v1 as tf

from model.utils_mg import BATCH_NORM_EPSILON
from tools.checkpoints import checkpoint
from tools.errors import CheckpointError

_VARIANCE = "moving_variance"
# The reference computes variances as E[x^2] - E[x]^2, which rounding takes a little below 0 in a constant channel. Down
# to here the sum with epsilon stays above 0.99 epsilon, so that the scale is finite and within 0.6 % of that of 0.
_ROUNDED_VARIANCE = -1e-2 * BATCH_NORM_EPSILON


class TensorReader:
    """Reads tensors by name and checks each; see `reading`.

    Attributes:
        shapes: of all tensors, by name.
    """

    def __init__(self, prefix: str, path: str, advice: str) -> None:
        """Takes the prefix for messages, the path to read from and what to do about values that are not usable."""
        self.shapes = checkpoint.variable_shapes(prefix)  # first: it refuses what is no checkpoint
        self._prefix = prefix
        self._path = path
        self._advice = advice
        with checkpoint.damage_named(prefix, path):
            self._reader = tf.train.NewCheckpointReader(path)
            self._dtypes = self._reader.get_variable_to_dtype_map()

    def array(self, name: str) -> np.ndarray:
        """Reads the values of a tensor that is there, in its own dtype.

        Raises:
            CheckpointError: they are not floating point, not finite in float32, or variances below 0; names the first.
        """
        dtype = self._dtypes[name]
        if not dtype.is_floating:  # TensorFlow reads not all others
            raise self._unusable(name, _of_dtype(dtype.name))
        with checkpoint.damage_named(self._prefix, self._path):
            array = np.asarray(self._reader.get_tensor(name))
        fault = fault_of_values(name, array)
        if fault is not None:
            raise self._unusable(name, fault)
        return array

    def _unusable(self, name: str, fault: str) -> CheckpointError:
        return CheckpointError(f"{self._prefix}: '{name}' {fault}: {self._advice}")


def fault_of_values(name: str, array: np.ndarray) -> str | None:
    """What makes an array of no use as a variable of the network, in words; None for nothing.

    Args:
        name: of the variable; it tells variances.
        array: floating point that is finite in float32, variances of 0 or more, or else at fault.
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
    """How many values of an array are bad, and the first of them with its place."""
    place = tuple(int(index) for index in np.argwhere(bad)[0])
    count = np.count_nonzero(bad)
    values = "values" if count > 1 else "value"
    return f"{count} bad {values} of {array.size} (the first is {array[place]:g} at {list(place)})"


@contextmanager
def reading(prefix: str, advice: str) -> Iterator[TensorReader]:
    """Opens a checkpoint for a block.

    Args:
        prefix: of the checkpoint.
        advice: what to do about values that are not usable, for the message.

    Raises:
        CheckpointError: it cannot be read or is damaged.
    """
    with checkpoint.linked(prefix) as path:
        yield TensorReader(prefix, path, advice)


def require_usable(prefix: str, variables: Sequence[tf.Variable], advice: str) -> None:
    """Checks the values of a checkpoint for those of the variables that are floating point.

    Args:
        prefix: of the checkpoint, which has all of them.
        variables: by whose names the tensors are found.
        advice: what to do, for the message.

    Raises:
        CheckpointError: it cannot be read, or a tensor is not usable; see `TensorReader.array`.
    """
    with reading(prefix, advice) as reader:
        for variable in variables:
            if variable.dtype.base_dtype.is_floating:
                reader.array(variable.op.name)
