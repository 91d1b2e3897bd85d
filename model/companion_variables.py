"""Creates untrained variables that belong to a variable of the network: its pre-trained value, its average, its sum."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow.compat.v1 as tf


def companion(variable: tf.Variable, suffix: str, collections: Sequence[str] | None = None) -> tf.Variable:
    """Creates an untrained resource variable of zeros in the shape and on the device of a variable.

    Args:
        variable: of the network.
        suffix: the new variable's name is that of `variable`, a slash and this.
        collections: of the graph; None for the global variables, which snapshots store.

    Returns:
        A float32 variable.
    """
    with tf.device(variable.device):
        return tf.get_variable(
            f"{variable.op.name}/{suffix}",
            variable.shape,
            initializer=tf.zeros_initializer(),
            trainable=False,
            collections=collections,
            use_resource=True,
        )
