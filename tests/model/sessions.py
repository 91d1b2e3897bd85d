"""Provides towers on logical CPU devices, and sessions that do not move operations to other devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

NUM_DEVICES = 8


def open_session(rewrite_graph: bool = True) -> tf.Session:
    """Opens a session on the default graph with eight CPU devices and hard placement.

    Args:
        rewrite_graph: whether Grappler optimizes the graph, which takes longer than a few small steps.
    """
    config = tf.ConfigProto(device_count={"CPU": NUM_DEVICES}, allow_soft_placement=False)
    config.graph_options.rewrite_options.disable_meta_optimizer = not rewrite_graph
    return tf.Session(config=config)


def run(fetches: Any, feed: dict | None = None) -> Any:
    """Initializes the variables of the default graph and runs `fetches` once."""
    with open_session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


def towers(
    arrays: Sequence[np.ndarray], dtype: tf.DType = tf.float32, known: bool = True
) -> tuple[list[tf.Tensor], dict[tf.Tensor, np.ndarray]]:
    """Creates a placeholder for array i on CPU device i; returns the tower list and the feed.

    Args:
        arrays: one per tower, at most eight.
        dtype: dtype of the tensors; placeholders are float32 and are cast if `dtype` is narrower.
        known: whether the static sizes of the tensors are known; that of the channels always is.
    """
    xs, feed = [], {}
    for index, array in enumerate(arrays):
        shape = array.shape if known else (None,) * (array.ndim - 1) + array.shape[-1:]
        with tf.device(f"/device:CPU:{index}"):
            fed = tf.placeholder(tf.int32 if array.dtype.kind == "i" else tf.float32, shape)
            xs.append(fed if array.dtype.kind == "i" else tf.cast(fed, dtype))
        feed[fed] = array
    return xs, feed


def random_arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Draws standard normal float32 arrays, the same in every call."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def device_of(tensor: tf.Tensor) -> int:
    """Returns the index of the CPU device of a tensor, 0 if it has no device."""
    spec = tf.DeviceSpec.from_string(tensor.device)
    assert spec.device_type in (None, "CPU")
    return spec.device_index or 0
