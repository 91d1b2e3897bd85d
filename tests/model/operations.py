"""Finds the operations that an operation depends on."""

from __future__ import annotations

import tensorflow.compat.v1 as tf


def needed_for(operation: tf.Operation) -> set[tf.Operation]:
    """Returns the operation and all operations that run before it."""
    found: set[tf.Operation] = set()
    waiting = [operation]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [*(x.op for x in op.inputs), *op.control_inputs]
    return found
