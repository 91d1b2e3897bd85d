"""Runs one training step of a small network from given values and returns every gradient."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import choices, training_graph
from model.architecture import Architecture
from model.training_options import TrainingOptions
from tests.model.hosts import Host
from tests.model.sessions import device_of, open_session, towers

CLASSES = 3
ARCHITECTURE = Architecture("resnet_v1_18", CLASSES)
OPTIONS = TrainingOptions(dropout=False)

# It has units with and without a convolution in the shortcut.
SMALL = choices.ResNet((1, 2, 1, 1), (8, 16, 24, 32), bottleneck=False)


def batch(*shapes: tuple[int, int, int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draws images float32 [N, H, W, 3] and labels int32 [N, H, W] with ignored pixels, per tower of `shapes`."""
    rng = np.random.default_rng(4)
    images = [rng.normal(0, 60, (*shape, 3)).astype(np.float32) for shape in shapes]
    labels = [rng.integers(0, CLASSES, shape).astype(np.int32) for shape in shapes]
    for index, y in enumerate(labels):
        y[rng.random(y.shape) < 0.1 + 0.2 * index] = 255
    return images, labels


def _values(name: str, shape: Sequence[int]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("/weights"):
        return rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape)
    if name.endswith(("/gamma", "/moving_variance")):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.1, shape)


def model_values() -> dict[str, np.ndarray]:
    """Returns a float32 value for every model variable of the default graph; it depends only on the name."""
    return {v.op.name: _values(v.op.name, v.shape.as_list()).astype(np.float32) for v in tf.model_variables()}


def initialize(session: tf.Session) -> dict[str, np.ndarray]:
    """Sets the model variables to `model_values`, initializes the others, and returns the values."""
    values = model_values()
    assign, feed = slim.assign_from_values(values)
    session.run(tf.global_variables_initializer())
    session.run(assign, feed)
    return values


@dataclass(frozen=True)
class Step:
    """The results of one step from `values`; gradients and running averages are by variable name.

    `devices` has, by type of convolution kernel, the device index of every operation of that type.
    """

    values: dict[str, np.ndarray]
    loss: float
    auxiliary_loss: float
    weight_decay: float
    total_loss: float
    gradients: dict[str, np.ndarray]
    averages: dict[str, np.ndarray]
    predictions: list[np.ndarray]
    devices: dict[str, list[int]]


def take_step(
    images: list[np.ndarray],
    labels: list[np.ndarray],
    options: TrainingOptions = OPTIONS,
    known: bool = True,
    architecture: Architecture = ARCHITECTURE,
    host: Host | None = None,
) -> Step:
    """Runs `train_op` once with rate 0 and momentum, so that the accumulators hold the gradients.

    With a host, the images are those of its towers, and the other hosts have to take the step at the same time.
    """
    opened = partial(open_session, rewrite_graph=False) if host is None else host.open_session
    group, building = (None, nullcontext()) if host is None else (host.group, host.building)
    with tf.Graph().as_default():
        with building:
            (xs, feed), (ys, more) = towers(images, known=known), towers(labels, known=known)
            graph = training_graph.train_graph(xs, ys, architecture, replace(options, optimizer="mom"), hosts=group)
        variables = {v.op.name: v for v in tf.global_variables()}
        accumulators = {
            name.removesuffix("/Momentum"): v for name, v in variables.items() if name.endswith("/Momentum")
        }
        averages = {v.op.name: v for v in tf.model_variables() if "/moving_" in v.op.name}
        with opened() as session:
            values = initialize(session)
            names = ("loss", "auxiliary_loss", "weight_decay", "total_loss", "predictions")
            fetches = {name: getattr(graph, name) for name in names}
            outputs, _ = session.run([fetches, graph.train_op], feed | more | {graph.learning_rate: 0.0})
            gradients, moved = session.run([accumulators, averages])
            assert session.run(graph.global_step) == 1
        devices: dict[str, list[int]] = {}
        for op in tf.get_default_graph().get_operations():
            if op.type.startswith("Conv2D"):
                devices.setdefault(op.type, []).append(device_of(op.outputs[0]))
    return Step(values=values, gradients=gradients, averages=moved, devices=devices, **outputs)


def require_same_values(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float) -> None:
    """Compares arrays by name, to a part of the largest value of all that are expected."""
    assert set(actual) == set(expected)
    largest = max(np.abs(value).max() for value in expected.values())
    assert largest > 0
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=tolerance * largest, err_msg=name)


def require_same_step(actual: Step, expected: Step) -> None:
    """Compares losses, and running averages and gradients to 1e-5 of the largest value."""
    for name in ("loss", "auxiliary_loss", "weight_decay", "total_loss"):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=1e-6)
    require_same_values(actual.averages, expected.averages, 1e-5)
    require_same_values(actual.gradients, expected.gradients, 1e-5)
