"""How fast windows become probabilities: the frozen network beside the one with variables it was made from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import tensorflow.compat.v1 as tf

from model.pspnet_mg import FLOAT_TYPES, Architecture, forward_graph
from tools import cluster
from tools.frozen_weights import frozen_forward_graph
from tools.half_precision import avoid_faulty_amx
from tools.timing import SHORT_NAMES, Row, interleaved_medians


def measure_inference(
    architecture: Architecture, *, float_type: str, crop_size: int, batch_size: int, warm_up: int, repeats: int
) -> list[Row]:
    """Images per second of one precision: `ours`, frozen, and `variables`, batch normalization as in training.

    Args:
        architecture: of the network, whose weights are random.
        float_type: key of `pspnet_mg.FLOAT_TYPES`.
        crop_size: height and width of the images.
        batch_size: images at a time.
        warm_up, repeats: see `timing.interleaved_medians`.
    """
    if float_type != "32":
        avoid_faulty_amx()
    dtype = FLOAT_TYPES[float_type]
    images = np.random.default_rng(0).uniform(-120, 130, (batch_size, crop_size, crop_size, 3)).astype(np.float32)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        variables, prefix = _with_variables(stack, architecture, dtype, images, folder)
        candidates = {"ours": _frozen(stack, prefix, architecture, dtype, images), "variables": variables}
        seconds = interleaved_medians(candidates, warm_up=warm_up, repeats=repeats)
    return [
        Row(f"inference.{SHORT_NAMES[float_type]}.{name}", batch_size / taken, "images/s")
        for name, taken in seconds.items()
    ]


def _with_variables(
    stack: ExitStack, architecture: Architecture, dtype: tf.DType, images: np.ndarray, folder: str
) -> tuple[Callable[[], object], str]:
    """A run of the network with random variables, and the prefix of the checkpoint they were saved to."""
    devices = cluster.tower_devices(1)
    with tf.Graph().as_default() as graph:
        with tf.device(devices[0]):
            fed = tf.placeholder(tf.float32, [None, *images.shape[1:]])
            [probabilities] = forward_graph([fed], architecture, dtype=dtype)
        saver, initializer = tf.train.Saver(), tf.global_variables_initializer()
        graph.finalize()
    session = stack.enter_context(cluster.open_session(graph, devices))
    session.run(initializer)
    with graph.as_default():
        prefix = saver.save(session, os.path.join(folder, "model.ckpt"), write_meta_graph=False)
    return lambda: session.run(probabilities, {fed: images}), prefix


def _frozen(
    stack: ExitStack, prefix: str, architecture: Architecture, dtype: tf.DType, images: np.ndarray
) -> Callable[[], object]:
    """A run of the frozen network of a checkpoint."""
    devices = cluster.tower_devices(1)
    with tf.Graph().as_default() as graph:
        with tf.device(devices[0]):
            fed = tf.placeholder(tf.float32, [None, *images.shape[1:]])
            [probabilities] = frozen_forward_graph([fed], architecture, prefix, dtype=dtype, advice="")
        graph.finalize()
    session = stack.enter_context(cluster.open_session(graph, devices, weights_are_constants=True))
    return lambda: session.run(probabilities, {fed: images})
