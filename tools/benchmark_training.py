"""How long a training step takes, and what synchronizing batch normalization over towers costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import tensorflow.compat.v1 as tf

from model.pspnet_mg import Architecture
from model.training_graph import TrainingOptions, train_graph
from tools import cluster
from tools.half_precision import avoid_faulty_amx
from tools.timing import SHORT_NAMES, Row, interleaved_medians


def measure_training(
    architecture: Architecture,
    *,
    float_types: Sequence[str],
    towers: Sequence[int],
    crop_size: int,
    total_batch_size: int,
    warm_up: int,
    repeats: int,
) -> list[Row]:
    """Images per second of each precision on one tower, seconds per step of the first on each number of towers.

    Args:
        architecture: of the network, whose weights are random.
        float_types: keys of `pspnet_mg.FLOAT_TYPES`.
        towers: numbers of towers that share the batch, 1 among them; those that do not divide it are left out.
        crop_size: height and width of the images.
        total_batch_size: images of one step over all towers.
        warm_up, repeats: see `timing.interleaved_medians`.
    """
    if set(float_types) - {"32"}:
        avoid_faulty_amx()
    dividing = [count for count in towers if total_batch_size % count == 0]
    with ExitStack() as stack:
        seconds = interleaved_medians(
            {
                (float_type, count): _step(stack, architecture, float_type, count, crop_size, total_batch_size)
                for float_type in float_types
                for count in (dividing if float_type == float_types[0] else [1])
            },
            warm_up=warm_up,
            repeats=repeats,
        )
    return [
        *(
            Row(f"training.{SHORT_NAMES[kind]}.ours", total_batch_size / seconds[kind, 1], "images/s")
            for kind in float_types
        ),
        *(Row(f"syncbn.towers{count}.seconds", seconds[float_types[0], count], "s") for count in dividing),
    ]


def _step(
    stack: ExitStack, architecture: Architecture, float_type: str, num_towers: int, crop_size: int, total: int
) -> Callable[[], object]:
    """A training step on random images that are constants of the graph, so that feeding them is not timed."""
    devices = cluster.tower_devices(num_towers)
    rng = np.random.default_rng(0)
    shape = (total // num_towers, crop_size, crop_size)
    with tf.Graph().as_default() as graph:
        images, labels = [], []
        for device in devices:
            with tf.device(device):
                images.append(tf.constant(rng.uniform(-120, 130, (*shape, 3)), tf.float32))
                labels.append(tf.constant(rng.integers(0, architecture.num_classes, shape), tf.int32))
        with tf.device(cluster.CPU):
            built = train_graph(images, labels, architecture, TrainingOptions(float_type=float_type))
        initializer = tf.global_variables_initializer()
        graph.finalize()
    session = stack.enter_context(cluster.open_session(graph, devices))
    session.run(initializer)
    fetches = [built.train_op, built.total_loss]
    return lambda: session.run(fetches, {built.learning_rate: 1e-4})
