"""Accumulates the gradients of several batches before one update of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from model.companion_variables import companion


class Accumulation:
    """Sums of the gradients of a step's batches except the last: one untrained local variable per trained variable.

    Snapshots do not store the sums, because they are written between steps, when all sums are zero.

    Attributes:
        batches: of a step.
        number: see `batch_number`.
    """

    def __init__(self, variables: Sequence[tf.Variable], batches: int, number: tf.Tensor) -> None:
        """Creates the sums on the devices of the variables.

        Args:
            variables: trained variables, float32.
            batches: of a step, at least 2.
            number: see `batch_number`.
        """
        self.number = number
        self.batches = batches
        self._sums = [companion(v, "accumulated", [tf.GraphKeys.LOCAL_VARIABLES]) for v in variables]

    @staticmethod
    def batch_number(batches: int) -> tf.Tensor:
        """Returns the number of the batch in its step, an int64 scalar to be fed: 0 to `batches` - 1, the default."""
        return tf.placeholder_with_default(tf.constant(batches - 1, tf.int64), [], "batch_of_step")

    def add(self, gradients: Sequence[tf.Tensor]) -> list[tf.Operation]:
        """Builds the operations that add the gradients of a batch, in the order of the variables, to the sums."""
        operations = []
        for total, gradient in zip(self._sums, gradients, strict=True):
            with tf.device(total.device):
                operations.append(total.assign_add(gradient, read_value=False))
        return operations

    def mean(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Computes the mean of the gradients of all batches of a step, given those of the last batch."""
        means = []
        for total, gradient in zip(self._sums, gradients, strict=True):
            with tf.device(total.device):
                means.append((total.read_value() + gradient) * (1.0 / self.batches))
        return means

    def clear(self) -> list[tf.Operation]:
        """Builds the operations that set the sums to zero; run them after `mean` has been computed."""
        operations = []
        for total in self._sums:
            with tf.device(total.device):
                operations.append(total.assign(tf.zeros(total.shape), read_value=False))
        return operations
