"""Training steps for the other parts of the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.training_graph import train_graph
from model.training_options import TrainingOptions
from tools.benchmark.plain_network import plain_train_op, rewritten_to
from tools.runtime.devices import CPU, open_session, tower_devices
from tools.runtime.half_precision import avoid_faulty_amx
from tools.runtime.memory import peak_bytes_of_call

LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class StepPlan:
    """Network and batch of a step.

    Attributes:
        architecture: of the network; its weights are random.
        options: of the training.
        num_towers: number of towers that share the batch.
        batch_size: number of images per tower.
        crop_size: height and width of the images.
    """

    architecture: Architecture
    options: TrainingOptions
    num_towers: int
    batch_size: int
    crop_size: tuple[int, int]

    @property
    def total_batch_size(self) -> int:
        """Number of images of all towers."""
        return self.num_towers * self.batch_size


def random_arrays(plan: StepPlan) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of all towers, float32 [N, H, W, 3], less the mean, and their labels, int32 [N, H, W]."""
    rng = np.random.default_rng(0)
    shape = (plan.total_batch_size, *plan.crop_size)
    images = rng.uniform(-120, 130, (*shape, 3)).astype(np.float32)
    return images, rng.integers(0, plan.architecture.num_classes, shape, np.int32)


def random_batch(plan: StepPlan, devices: list[str]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Returns images and labels of every tower as constants of the graph, so that feeding them is not timed."""
    images, labels = [], []
    arrays = [np.split(array, plan.num_towers) for array in random_arrays(plan)]
    for device, tower_images, tower_labels in zip(devices, *arrays, strict=True):
        with tf.device(device):
            images.append(tf.constant(tower_images))
            labels.append(tf.constant(tower_labels))
    return images, labels


def open_step(stack: ExitStack, plan: StepPlan) -> Callable[[], object]:
    """Builds a step and initializes its variables; every call of the result runs one step."""
    if plan.options.float_type != "32":
        avoid_faulty_amx()
    devices = tower_devices(plan.num_towers)
    with tf.Graph().as_default() as graph:
        images, labels = random_batch(plan, devices)
        with tf.device(CPU):
            built = train_graph(images, labels, plan.architecture, plan.options)
        initializer = tf.global_variables_initializer()
        graph.finalize()
    session = stack.enter_context(open_session(graph, devices))
    session.run(initializer)
    fetches = [built.train_op, built.total_loss]
    return lambda: session.run(fetches, {built.learning_rate: LEARNING_RATE})


def open_plain_step(stack: ExitStack, style: str, plan: StepPlan) -> Callable[[], object]:
    """Builds a step as `open_step`, of the network in a style of `plain_network`."""
    devices = tower_devices(plan.num_towers)
    with tf.Graph().as_default() as graph:
        images, labels = random_batch(plan, devices)
        train_op = plain_train_op(style, plan.architecture, images, labels, LEARNING_RATE)
        initializer = tf.global_variables_initializer()
    config = rewritten_to(plan.options.float_type, plan.num_towers)
    session = stack.enter_context(tf.Session(graph=graph, config=config))
    session.run(initializer)
    return lambda: session.run(train_op)


def peak_bytes_of_step(plan: StepPlan) -> int:
    """Measures the peak memory of a step above the memory between steps. Call it in a new process."""
    with ExitStack() as stack:
        step = open_step(stack, plan)
        step()
        return peak_bytes_of_call(step)
