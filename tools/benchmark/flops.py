"""Measures the convolution operations per second of the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from tools.runtime.devices import open_session, tower_devices
from tools.runtime.flops import convolution_flops

# Output size, kernel, input and output channels of layers of PSPNet-50 at 240x240; the fastest one is the ceiling.
_CEILING_SHAPES = ((30, 3, 512, 512), (30, 3, 256, 256), (60, 3, 256, 256), (30, 1, 2048, 512), (30, 1, 1024, 256))
_CALLS_PER_RUN = 8


def ceiling_candidates(stack: ExitStack, dtype: tf.DType, batch_size: int) -> dict[tuple, tuple[Callable, int]]:
    """Returns by shape a run of only convolutions with constant weights, and its number of operations."""
    return {shape: _repeated_convolution(stack, dtype, batch_size, *shape) for shape in _CEILING_SHAPES}


def highest_rate(candidates: Mapping[tuple, tuple[Callable, int]], seconds: Mapping[Any, float]) -> float:
    """Returns the operations per second of the fastest of `ceiling_candidates`, given the seconds of a run by shape."""
    return max(operations / seconds[shape] for shape, (_, operations) in candidates.items())


def _repeated_convolution(
    stack: ExitStack, dtype: tf.DType, batch_size: int, size: int, kernel_size: int, channels: int, filters: int
) -> tuple[Callable[[], object], int]:
    rng = np.random.default_rng(0)
    devices = tower_devices(1)
    with tf.Graph().as_default() as graph, tf.device(devices[0]):
        x = tf.constant(rng.normal(size=(batch_size, size, size, channels)), tf.float32)
        x = tf.Variable(tf.cast(x, dtype), use_resource=True, trainable=False)
        outputs = []
        for _ in range(_CALLS_PER_RUN):
            kernel = tf.constant(rng.normal(size=(kernel_size, kernel_size, channels, filters)), tf.float32)
            outputs.append(tf.nn.conv2d(x, tf.cast(kernel, dtype), 1, "SAME")[0, 0, 0, 0])
        initializer = tf.global_variables_initializer()
        flops = convolution_flops(graph)
    session = stack.enter_context(open_session(graph, devices))
    session.run(initializer)
    return lambda: session.run(outputs), flops
