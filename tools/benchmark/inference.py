"""Measures the speed of prediction: the frozen network, other forms of it, and other engines."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from model.architecture import Architecture
from model.pspnet_mg import FLOAT_TYPES, forward_graph
from tools.benchmark import engines, flops
from tools.benchmark.plain_network import STYLES, PlainNetwork, rewritten_to
from tools.benchmark.timing import SHORT_NAMES, Row, interleaved_medians
from tools.prediction.frozen_weights import frozen_forward_graph
from tools.runtime.devices import open_session, tower_devices
from tools.runtime.flops import convolution_flops
from tools.runtime.half_precision import avoid_faulty_amx


@dataclass(frozen=True)
class InferencePlan:
    """Network and images of a measurement.

    Attributes:
        architecture: of the network; its weights are random.
        float_type: key of `pspnet_mg.FLOAT_TYPES`.
        crop_size: height and width of the images.
        batch_size: number of images per run.
    """

    architecture: Architecture
    float_type: str
    crop_size: tuple[int, int]
    batch_size: int

    @property
    def dtype(self) -> tf.DType:
        """The type of the computation."""
        return FLOAT_TYPES[self.float_type]

    def images(self) -> np.ndarray:
        """Returns random images, float32 [N, H, W, 3]."""
        shape = (self.batch_size, *self.crop_size, 3)
        return np.random.default_rng(0).uniform(-120, 130, shape).astype(np.float32)


def measure_inference(plan: InferencePlan, *, warm_up: int, repeats: int) -> Iterator[Row]:
    """Yields images per second in one precision, and our share of the ceiling of convolutions.

    `ours` is frozen; `variables` normalizes as in training; `reference` has the reference's operations; `openvino`
    runs the graph of `ours`; `pytorch` is eager. The last two are measured only if installed.

    Args:
        plan: network and images.
        warm_up, repeats: see `timing.interleaved_medians`.
    """
    if plan.float_type != "32":
        avoid_faulty_amx()
    kind = SHORT_NAMES[plan.float_type]
    with ExitStack() as stack:
        candidates, network_flops = _candidates(stack, plan)
        ceilings = flops.ceiling_candidates(stack, plan.dtype, plan.batch_size)
        runs: dict = {**candidates, **{shape: run for shape, (run, _) in ceilings.items()}}
        seconds = interleaved_medians(runs, warm_up=warm_up, repeats=repeats)
    for name in candidates:
        yield Row(f"inference.{kind}.{name}", plan.batch_size / seconds[name], "images/s")
    ceiling = flops.highest_rate(ceilings, seconds)
    yield Row(f"ceiling.{kind}.convolution", ceiling / 1e9, "GFLOP/s")
    yield Row(f"inference.{kind}.share_of_ceiling", network_flops / seconds["ours"] / ceiling, "of 1")


def _candidates(stack: ExitStack, plan: InferencePlan) -> tuple[dict[str, Callable[[], object]], int]:
    """Returns the runs to time by name, and the number of convolution operations of `ours`."""
    images = plan.images()
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    _, variables, prefix = _with_variables(stack, plan, images, folder)
    graph, ours = _frozen(stack, prefix, plan, images)
    candidates = {"ours": ours, "variables": variables, "reference": _reference(stack, plan, images)}
    if engines.is_installed("openvino"):
        candidates["openvino"] = engines.openvino_inference(graph, plan.float_type, images, folder)
    if engines.is_installed("torch"):
        from tools.benchmark.torch_pspnet import torch_inference

        candidates["pytorch"] = torch_inference(plan.architecture, plan.float_type, images)
    return candidates, convolution_flops(graph)


def frozen_run(stack: ExitStack, plan: InferencePlan, folder: str) -> tuple[tf.Graph, tf.Graph, Callable[[], object]]:
    """Returns the graphs of the frozen network and of the original network with variables, and a run of the frozen one.

    Args:
        stack: closes the session.
        plan: network and images.
        folder: for the checkpoint.
    """
    images = plan.images()
    with ExitStack() as first:
        variables, _, prefix = _with_variables(first, plan, images, folder)
    graph, run = _frozen(stack, prefix, plan, images)
    return graph, variables, run


def _with_variables(
    stack: ExitStack, plan: InferencePlan, images: np.ndarray, folder: str
) -> tuple[tf.Graph, Callable[[], object], str]:
    """Returns the graph of the network with random variables, a run of it, and the prefix of their checkpoint."""
    devices = tower_devices(1)
    with tf.Graph().as_default() as graph:
        with tf.device(devices[0]):
            fed = tf.placeholder(tf.float32, images.shape)
            [probabilities] = forward_graph([fed], plan.architecture, dtype=plan.dtype)
        saver, initializer = tf.train.Saver(), tf.global_variables_initializer()
        graph.finalize()
    session = stack.enter_context(open_session(graph, devices))
    session.run(initializer)
    with graph.as_default():
        prefix = saver.save(session, os.path.join(folder, "model.ckpt"), write_meta_graph=False)
    return graph, lambda: session.run(probabilities, {fed: images}), prefix


def _frozen(
    stack: ExitStack, prefix: str, plan: InferencePlan, images: np.ndarray
) -> tuple[tf.Graph, Callable[[], object]]:
    """Returns the graph of the frozen network of a checkpoint, and a run of it."""
    devices = tower_devices(1)
    with tf.Graph().as_default() as graph:
        with tf.device(devices[0]):
            fed = tf.placeholder(tf.float32, images.shape)
            [probabilities] = frozen_forward_graph([fed], plan.architecture, prefix, dtype=plan.dtype, advice="")
        graph.finalize()
    session = stack.enter_context(open_session(graph, devices, weights_are_constants=True))
    return graph, lambda: session.run(probabilities, {fed: images})


def _reference(stack: ExitStack, plan: InferencePlan, images: np.ndarray) -> Callable[[], object]:
    """Returns a run of the reference's operations; half precision uses TensorFlow's graph rewriter."""
    devices = tower_devices(1)
    with tf.Graph().as_default() as graph:
        with tf.device(devices[0]):
            fed = tf.placeholder(tf.float32, images.shape)
            network = PlainNetwork(STYLES["reference"], plan.architecture, is_training=False)
            probabilities = tf.nn.softmax(network.logits([fed])[0][0])
        initializer = tf.global_variables_initializer()
    session = stack.enter_context(tf.Session(graph=graph, config=rewritten_to(plan.float_type)))
    session.run(initializer)
    return lambda: session.run(probabilities, {fed: images})
