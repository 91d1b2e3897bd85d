"""Checkpoints of the reference implementation load directly, and the forward pass is the reference's.

The network below is written with TensorFlow's plain operations the way PSPNet-TF-Reproduce builds its own: atrous
convolutions, average pooling with windows that divide the features, and bilinear resizing on the legacy grid.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import get_dataset
from model import choices, pspnet_mg, resnet
from tests.differences import relative_difference
from tools.checkpoints.reading import restore
from tools.flags.predict import InferenceConfig
from tools.flags.train import TrainConfig
from tools.prediction.predictor import Predictor
from tools.prediction.selection import record_of_checkpoint
from tools.runs.chosen_checkpoint import choose_checkpoint
from tools.training.start import pretrained_checkpoint

NETWORK = "resnet_v1_50"
SMALL = choices.ResNet((2, 2, 2, 2), (64, 128, 256, 512), bottleneck=True)
CLASSES = 19
SIZE = 96  # a multiple of 48, as the reference wants it


class ReferenceNetwork:
    """The graph, with random weights and running statistics, and variables as the reference's training leaves them."""

    def __init__(self, three_convs: bool) -> None:
        self._rng = np.random.default_rng(0)
        self.images = tf.placeholder(tf.float32, [1, SIZE, SIZE, 3])
        with tf.variable_scope(NETWORK):
            x = self._stem(three_convs)
            for block, (depth, stride, rate) in enumerate(
                zip(SMALL.depths, (1, 2, 1, 1), (1, 1, 2, 4), strict=True), start=1
            ):
                for unit in range(1, SMALL.units[block - 1] + 1):
                    with tf.variable_scope(f"block{block}/unit_{unit}/bottleneck_v1"):
                        x = self._unit(x, depth, stride if unit == 1 else 1, rate)
            levels = [x] + [self._level(x, bins) for bins in (6, 3, 2, 1)]
            x = self._layer("block4/unit_3", tf.concat(levels, axis=3), 512, 3)
            with tf.variable_scope("logits"):
                x = self._convolution(x, CLASSES, 1) + self._variable("biases", self._rng.normal(size=CLASSES))
            self.logits = tf.image.resize_bilinear(x, [SIZE, SIZE])

    def _variable(self, name: str, value: np.ndarray) -> tf.Tensor:
        variable = tf.get_variable(name, initializer=value.astype(np.float32), use_resource=False)
        tf.get_variable(f"{name}/Momentum", initializer=np.zeros_like(value, np.float32), use_resource=False)
        return variable

    def _convolution(self, x: tf.Tensor, filters: int, size: int, stride: int = 1, rate: int = 1) -> tf.Tensor:
        shape = (size, size, x.shape.as_list()[3], filters)
        kernel = self._variable("weights", self._rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape))
        if rate > 1:
            return tf.nn.atrous_conv2d(x, kernel, rate, "SAME")
        if stride == 1:
            return tf.nn.conv2d(x, kernel, 1, "SAME")
        margin = [size // 2, size // 2]
        return tf.nn.conv2d(tf.pad(x, [[0, 0], margin, margin, [0, 0]]), kernel, stride, "VALID")

    def _normalization(self, x: tf.Tensor, scale: float) -> tf.Tensor:
        """`scale` is about the size of what comes in."""
        channels = x.shape.as_list()[3]

        def uniform(low: float, high: float) -> np.ndarray:
            return self._rng.uniform(low, high, channels)

        with tf.variable_scope("BatchNorm"):
            gamma, beta = self._variable("gamma", uniform(0.5, 1.5)), self._variable("beta", uniform(-0.5, 0.5))
            mean = self._variable("moving_mean", uniform(-0.5, 0.5) * scale)
            variance = self._variable("moving_variance", uniform(0.5, 1.5) * scale**2)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)

    def _layer(
        self, scope: str, x: tf.Tensor, filters: int, size: int, stride: int = 1, rate: int = 1, *, relu: bool = True,
        scale: float = 1.0,
    ) -> tf.Tensor:  # fmt: skip
        with tf.variable_scope(scope):
            x = self._normalization(self._convolution(x, filters, size, stride, rate), scale)
        return tf.nn.relu(x) if relu else x

    def _stem(self, three_convs: bool) -> tf.Tensor:
        if three_convs:
            x = self._layer("conv1_1", self.images, 64, 3, 2, scale=100)
            x = self._layer("conv1_3", self._layer("conv1_2", x, 64, 3), 128, 3)
        else:
            x = self._layer("conv1", self.images, 64, 7, 2, scale=100)
        return tf.nn.max_pool2d(x, 3, 2, "SAME")

    def _unit(self, x: tf.Tensor, depth: int, stride: int, rate: int) -> tf.Tensor:
        shortcut = x
        if x.shape.as_list()[3] != depth:
            shortcut = self._layer("shortcut", x, depth, 1, stride, relu=False, scale=2)
        x = self._layer("conv1", x, depth // 4, 1, scale=2)
        x = self._layer("conv2", x, depth // 4, 3, stride, rate)
        return tf.nn.relu(self._layer("conv3", x, depth, 1, relu=False) + shortcut)

    def _level(self, x: tf.Tensor, bins: int) -> tf.Tensor:
        size = SIZE // 8
        pooled = tf.nn.avg_pool2d(x, size // bins, size // bins, "SAME")
        pooled = self._layer(f"psp/pool{bins}", pooled, x.shape.as_list()[3] // 4, 1)
        return tf.image.resize_bilinear(pooled, [size, size])


@dataclass(frozen=True)
class Written:
    """The prefix of a reference's checkpoint, an image uint8 [H, W, 3] and the reference's logits [H, W, classes]."""

    prefix: str
    image: np.ndarray
    logits: np.ndarray


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["7x7", "three 3x3"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """ResNet-50 is replaced by one of a hundredth of its size meanwhile."""
    image = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    centred = image - np.asarray(get_dataset("Cityscapes").image_mean, np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        network = ReferenceNetwork(three_convs=request.param)
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path_factory.mktemp("reference") / "model.ckpt"), 30000)
        logits = session.run(network.logits, {network.images: centred[np.newaxis]})[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, SMALL)
        yield Written(prefix, image, logits)


def test_forward_pass_is_equal(record_property, written):
    record = record_of_checkpoint(written.prefix, InferenceConfig())
    assert record.architecture.resize_grid == "legacy"
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, None, None, 3])
        logits = pspnet_mg.pspnet([images], record.architecture, is_training=False).logits[0]
        restore(session, written.prefix, tf.train.Saver())
        centred = written.image - np.asarray(record.image_mean, np.float32)
        difference = relative_difference(session.run(logits, {images: centred[np.newaxis]})[0], written.logits)
    record_property("logits", difference)
    assert difference < 1e-4


def test_predicted_classes_are_equal(written):
    record = record_of_checkpoint(written.prefix, InferenceConfig(test_image_size=SIZE))
    with Predictor(written.prefix, record, mirror=False) as predictor:
        assert np.mean(predictor.labels(written.image) == written.logits.argmax(axis=2)) > 0.999


def test_any_of_its_files_and_its_folder_name_it(written):
    endings = ("", ".index", ".meta", ".data-00000-of-00001")
    for path in (*(written.prefix + ending for ending in endings), os.path.dirname(written.prefix)):
        assert choose_checkpoint(InferenceConfig(weights_ckpt=path)) == written.prefix
        assert pretrained_checkpoint(TrainConfig(batch_size=2, fine_tune_filename=path)) == written.prefix
