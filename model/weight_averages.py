"""Keeps an exponential moving average of the weights beside them (Polyak & Juditsky 1992; EMA).

The average of the last steps often scores higher than the weights of the last step. It contains the running statistics
of batch normalization too, so that it can be used for prediction as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from model.companion_variables import companion

# The average of the variable `x` is the variable `x/average`.
_AVERAGE = "average"
SUFFIX = f"/{_AVERAGE}"


class WeightAverages:
    """One float32 variable per averaged variable, on its device; snapshots store them."""

    def __init__(self, variables: Sequence[tf.Variable], decay: float) -> None:
        """Creates the averages.

        Args:
            variables: float32, the variables of the network.
            decay: part of the average that a step keeps, in (0, 1).
        """
        self._decay = decay
        self._pairs = [(variable, companion(variable, _AVERAGE)) for variable in variables]

    def update(self, finished_steps: tf.Tensor) -> list[tf.Operation]:
        """Builds `average += (1 - d) * (variable - average)` for every variable; run it after the update of a step.

        With t steps finished before, d is min(decay, t / (9 + t)), as in `tf.train.ExponentialMovingAverage`. The first
        step copies the weights, so the averages need no other initial value.

        Args:
            finished_steps: number of steps before this one, an int64 scalar.
        """
        steps = tf.cast(finished_steps, tf.float32)
        kept = tf.minimum(self._decay, steps / (9.0 + steps))
        return [_moved(average, variable, kept) for variable, average in self._pairs]


def _moved(average: tf.Variable, variable: tf.Variable, kept: tf.Tensor) -> tf.Operation:
    with tf.device(average.device):
        step = (1.0 - kept) * (average.read_value() - variable.read_value())
        return average.assign_sub(step, read_value=False)
