"""Compares every endpoint of the encoders with tf_slim's ResNet-v1, from a checkpoint that slim's graph wrote.

tf_slim's batch normalization needs a Keras layer that TensorFlow no longer includes; tf-keras has it. The normalization
that the tests compare with is therefore independent of this package.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tf_keras.src.legacy_tf_layers.normalization as keras_normalization
import tf_slim as slim
from tensorflow.python.layers import normalization as missing_normalization
from tf_slim.nets import resnet_v1 as slim_resnet_v1

from model import pspnet_mg
from model import utils_mg as layers
from model.architecture import Architecture
from tests.differences import relative_difference
from tests.model.sessions import open_session
from tests.model.training_step import initialize

# The two deeper networks differ only in their number of units: test only their dense output.
OUTPUT_STRIDES = {"resnet_v1_50": (8, 16, 32), "resnet_v1_101": (8,), "resnet_v1_152": (8,)}
# conv1; three layers and the sum of each unit; four shortcuts; four blocks.
NUM_ENDPOINTS = {
    "resnet_v1_50": 1 + 4 * 16 + 4 + 4,
    "resnet_v1_101": 1 + 4 * 33 + 4 + 4,
    "resnet_v1_152": 1 + 4 * 50 + 4 + 4,
}
IMAGE = np.random.default_rng(0).normal(0, 50, (1, 66, 49, 3)).astype(np.float32)


@dataclass(frozen=True)
class SlimNetwork:
    """A network of tf_slim: name, checkpoint, and endpoints by output stride and name."""

    name: str
    prefix: str
    endpoints: dict[int, dict[str, np.ndarray]]


def _slim_endpoints(network: str, prefix: str) -> dict[int, dict[str, np.ndarray]]:
    """Builds slim's graph at each output stride, draws and saves its variables, and runs it."""
    with tf.Graph().as_default():
        endpoints = {}
        for output_stride in OUTPUT_STRIDES[network]:
            with slim.arg_scope(slim_resnet_v1.resnet_arg_scope(weight_decay=0.0)):
                _, endpoints[output_stride] = getattr(slim_resnet_v1, network)(
                    tf.constant(IMAGE),
                    is_training=False,
                    global_pool=False,
                    output_stride=output_stride,
                    reuse=bool(endpoints),
                )
        with open_session(rewrite_graph=False) as session:
            initialize(session)
            tf.train.Saver(slim.get_model_variables()).save(session, prefix, write_meta_graph=False)
            return session.run(endpoints)


@contextmanager
def _working_slim() -> Iterator[None]:
    """Restores the layer that tf_slim's batch normalization expects in TensorFlow."""
    # Each layer looks up variables in a set; hashing is ten times faster without tensor equality.
    tf.disable_tensor_equality()
    try:
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`layer.apply` is deprecated")
            patch.setattr(missing_normalization, "normalization", keras_normalization, raising=False)
            yield
    finally:
        tf.enable_tensor_equality()


@pytest.fixture(params=list(OUTPUT_STRIDES))
def slim_network(request) -> Iterator[SlimNetwork]:
    with tempfile.TemporaryDirectory() as folder:
        prefix = str(Path(folder) / "slim.ckpt")
        with _working_slim():
            endpoints = _slim_endpoints(request.param, prefix)
        yield SlimNetwork(request.param, prefix, endpoints)


def _record_endpoints(patch: pytest.MonkeyPatch) -> dict[str, tf.Tensor]:
    """Records normalized and activated outputs by variable scope while a graph is built.

    A layer that adds the shortcut also has the output of the unit, whose scope is the one around it.
    """
    recorded = {}
    normalize, end = layers.batch_norm, layers.Ending.apply

    @slim.add_arg_scope
    def recorded_normalization(xs, **options):
        ys = normalize(xs, **options)
        recorded[tf.get_variable_scope().name] = ys[0]
        return ys

    def recorded_end(self, xs):
        ys = end(self, xs)
        scope = tf.get_variable_scope().name
        recorded[scope if self.added is None else scope.rpartition("/")[0]] = ys[0]
        return ys

    patch.setattr(layers, "batch_norm", recorded_normalization)
    patch.setattr(layers.Ending, "apply", recorded_end)
    return recorded


def _own_endpoints(network: SlimNetwork, output_stride: int, patch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    architecture = Architecture(network.name, 2, output_stride, stride_convention="slim")
    endpoints = _record_endpoints(patch)
    with tf.Graph().as_default():
        stages = pspnet_mg.pspnet([tf.constant(IMAGE)], architecture, is_training=False).endpoints
        is_new = pspnet_mg.in_scopes(network.name, pspnet_mg.new_layer_scopes(network.name))
        endpoints = {name: x for name, x in endpoints.items() if not is_new(f"{name}/")}
        endpoints |= {f"{network.name}/block{i}": stages[f"block{i}"][0] for i in range(1, 5)}
        with open_session(rewrite_graph=False) as session:
            tf.train.Saver([v for v in tf.model_variables() if not is_new(v.op.name)]).restore(session, network.prefix)
            return session.run(endpoints)


@pytest.mark.slow
def test_every_endpoint_is_that_of_slim(slim_network, monkeypatch, record_property):
    block4 = f"{slim_network.name}/block4"
    for output_stride, expected in slim_network.endpoints.items():
        with monkeypatch.context() as patch:
            endpoints = _own_endpoints(slim_network, output_stride, patch)
        assert len(expected) == NUM_ENDPOINTS[slim_network.name]
        assert set(endpoints) == set(expected)
        height, width = (-(-size // output_stride) for size in IMAGE.shape[1:3])
        assert endpoints[block4].shape == (1, height, width, 2048)
        differences = {name: relative_difference(endpoints[name], expected[name]) for name in expected}
        record_property(f"{slim_network.name}, every endpoint", max(differences.values()))
        assert max(differences.values()) < 2e-5, max(differences, key=differences.get)
        if 32 in slim_network.endpoints:
            step = 32 // output_stride
            difference = relative_difference(endpoints[block4][:, ::step, ::step], slim_network.endpoints[32][block4])
            record_property("block4, dense and subsampled, and slim's at nominal stride", difference)
            assert difference < 2e-5
